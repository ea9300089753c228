//! Tests against the host: one instruction from the same random state on its own x87 unit and on a whole emulated CPU,
//! after which all registers, the environment, memory and the flags are compared.
//!
//! Behaviour that manuals leave undefined is the subject too, so the tests mean what they say on AMD processors, whose
//! choices the unit follows; elsewhere only the operations that manuals define are tried.

use iced_x86::CpuidFeature;

use super::{memory_form, register_form_exists};
use crate::Model;

mod emulator;
mod machine;
mod operands;
mod snapshot;

use emulator::Emulator;
use machine::Machine;
use operands::Random;
use snapshot::Snapshot;

/// Cases for each opcode.
const CASES: usize = 200;

/// Whether the emulated CPU has this extension.
fn offered(feature: CpuidFeature) -> bool {
    Model::default().features().has(feature)
}

/// All x87 opcodes that are instructions: with a register operand, and with the memory operand [RSI].
fn x87_instructions() -> Vec<Vec<u8>> {
    let registers = (0..8).flat_map(|escape| (0xc0..0x100).map(move |low| escape << 8 | low));
    let memory = (0..8).flat_map(|escape| (0..8).map(move |op| escape << 8 | op << 3 | 6));
    let truncates = |fop: u16| matches!((fop >> 8, fop >> 3 & 7), (3 | 5 | 7, 1)) && fop & 0xff < 0xc0;
    registers
        .filter(|fop| register_form_exists(*fop))
        .chain(memory.filter(|fop| memory_form(*fop).is_some() && (offered(CpuidFeature::SSE3) || !truncates(*fop))))
        .map(|fop| vec![0xd8 | (fop >> 8) as u8, fop as u8])
        .collect()
}

/// MMX instructions on MM1 and, in turn, MM2 and [RSI], with an immediate if they have one.
fn mmx_instructions() -> Vec<Vec<u8>> {
    let shifts = [0x71, 0x72, 0x73].into_iter().flat_map(|opcode| {
        let kinds: &[u8] = if opcode == 0x73 { &[2, 6] } else { &[2, 4, 6] };
        kinds.iter().flat_map(move |kind| [0, 7, 200].map(|count| vec![0x0f, opcode, 0xc1 | kind << 3, count]))
    });
    let two_operands = (0x60..=0x6b)
        .chain(0x74..=0x76)
        .chain(0xd1..=0xd5)
        .chain(0xd8..=0xdf)
        .chain(0xe0..=0xe5)
        .chain(0xe8..=0xef)
        .chain(0xf1..=0xf6)
        .chain(0xf8..=0xfe)
        .chain([0x6f, 0x7f])
        .flat_map(|opcode| [0xca, 0x0e].map(|modrm| vec![0x0f, opcode, modrm]));
    let others: [&[u8]; 27] = [
        &[0x0f, 0x77],
        &[0x0f, 0x6e, 0xc8],
        &[0x0f, 0x6e, 0x0e],
        &[0x48, 0x0f, 0x6e, 0xc8],
        &[0x48, 0x0f, 0x6e, 0x0e],
        &[0x0f, 0x7e, 0xc8],
        &[0x0f, 0x7e, 0x0e],
        &[0x48, 0x0f, 0x7e, 0xc8],
        &[0x48, 0x0f, 0x7e, 0x0e],
        &[0x0f, 0xe7, 0x0e],
        &[0x0f, 0x70, 0xca, 0x1b],
        &[0x0f, 0x70, 0x0e, 0xe4],
        &[0x0f, 0xc4, 0xc8, 0xfe],
        &[0x0f, 0xc4, 0x0e, 0x03],
        &[0x0f, 0xc5, 0xc1, 0x05],
        &[0x0f, 0xd7, 0xc1],
        &[0xf3, 0x0f, 0xd6, 0xca],
        &[0xf2, 0x0f, 0xd6, 0xca],
        &[0x0f, 0x2a, 0xca],
        &[0x0f, 0x2a, 0x0e],
        &[0x66, 0x0f, 0x2a, 0xca],
        &[0x66, 0x0f, 0x2a, 0x0e],
        &[0x0f, 0x2c, 0xca],
        &[0x0f, 0x2c, 0x0e],
        &[0x0f, 0x2d, 0xca],
        &[0x66, 0x0f, 0x2c, 0xca],
        &[0x66, 0x0f, 0x2d, 0x0e],
    ];
    let ssse3 = (0..=0x0b)
        .chain(0x1c..=0x1e)
        .flat_map(|opcode| [0xca, 0x0e].map(|modrm| vec![0x0f, 0x38, opcode, modrm]))
        .chain([0, 3, 8, 15, 16, 200].map(|count| vec![0x0f, 0x3a, 0x0f, 0xca, count]))
        .filter(|_| offered(CpuidFeature::SSSE3));
    let maskmovq = [vec![0x0f, 0xf7, 0xca]];
    shifts.chain(two_operands).chain(others.map(<[u8]>::to_vec)).chain(maskmovq).chain(ssse3).collect()
}

/// Runs `code` on both; the difference, if there is one, and the case, in words.
fn difference(machine: &Machine, emulator: &mut Emulator, start: &Snapshot, code: &[u8]) -> Option<String> {
    let emulated = emulator.run(start, code);
    // A switch to another thread in the middle may clear the pointers (AMD APM vol. 2, 11.4.4): once more, then.
    let attempt = || machine.run(start, code).differences(&emulated);
    let differences = (0..5).map(|_| attempt()).find(Vec::is_empty).unwrap_or_else(attempt);
    (!differences.is_empty()).then(|| format!("{code:02x?}: {}\n    of {}", differences.join(", "), start.brief()))
}

fn compare_all(instructions: &[Vec<u8>], cases: usize) {
    let machine = Machine::new();
    let mut emulator = Emulator::new();
    let mut random = Random::new(0x5eed);
    let failures: Vec<String> = instructions
        .iter()
        .filter_map(|code| (0..cases).find_map(|_| difference(&machine, &mut emulator, &random.snapshot(), code)))
        .collect();
    assert!(failures.is_empty(), "{} instructions differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_x87_instruction_does_what_the_host_does() {
    compare_all(&x87_instructions(), CASES);
}

#[test]
fn every_mmx_instruction_does_what_the_host_does() {
    compare_all(&mmx_instructions(), CASES);
}

#[test]
fn prefixes_and_address_forms_do_what_they_do_on_the_host() {
    let codes: [&[u8]; 12] = [
        &[0x66, 0xd9, 0x36], // 16-bit FNSTENV
        &[0x66, 0xd9, 0x26], // 16-bit FLDENV
        &[0x66, 0xdd, 0x36], // 16-bit FNSAVE
        &[0x66, 0xdd, 0x26], // 16-bit FRSTOR
        &[0x48, 0xdd, 0x36], // FNSAVE with REX.W
        &[0x66, 0xd8, 0xc1], // a redundant prefix
        &[0xf3, 0xd9, 0xe8],
        &[0xf2, 0x3e, 0xdc, 0x0e],
        &[0x2e, 0xd8, 0x46, 0x08],
        &[0x49, 0xd9, 0xc9],
        &[0x9b],
        &[0x9b, 0xd9, 0x3e], // FSTCW: two instructions
    ];
    compare_all(&codes.map(<[u8]>::to_vec), CASES);
}
