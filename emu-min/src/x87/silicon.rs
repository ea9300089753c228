//! Tests of the unit against the host's: one instruction from the same random state, then all registers, the
//! environment, memory, AX and the flags are compared.
//!
//! Behaviour that manuals leave undefined is compared on AMD processors only, whose choices this unit follows.

use super::{MemoryForm, X87, memory_form, register_form_exists};
use crate::flags::Flags;
use crate::state::Fpu;

mod machine;
mod operands;

use machine::{Machine, Outcome};
use operands::Random;

/// Cases for each of the about 430 opcodes.
const CASES: usize = 20000;

/// Executes an instruction as the processor around the unit does.
fn emulate(unit: &mut X87, fop: u16, memory: &mut [u8; 128], flags: &mut Flags) -> Option<u16> {
    let operand = |memory: &[u8; 128], bytes: u8| {
        let mut value = [0; 16];
        value[..bytes.into()].copy_from_slice(&memory[..bytes.into()]);
        u128::from_le_bytes(value)
    };
    let mut store = |bytes: &[u8]| memory[..bytes.len()].copy_from_slice(bytes);
    if fop == 0x7e0 {
        return Some(unit.status());
    }
    if fop & 0xff >= 0xc0 {
        unit.execute_registers(fop, flags);
        return None;
    }
    match memory_form(fop).expect("only instructions are tried") {
        MemoryForm::Load(bytes) => unit.execute_load(fop, operand(memory, bytes)),
        MemoryForm::Store(bytes) => {
            let stored = unit.prepare_store(fop);
            if let Some(value) = stored.bytes {
                store(&value.to_le_bytes()[..bytes.into()]);
            }
            unit.commit(stored);
        }
        MemoryForm::LoadControl => unit.set_control(operand(memory, 2) as u16),
        MemoryForm::StoreControl => store(&unit.control().to_le_bytes()),
        MemoryForm::StoreStatus => store(&unit.status().to_le_bytes()),
        MemoryForm::LoadEnvironment => unit.load_environment(&memory[..28], true),
        MemoryForm::StoreEnvironment => {
            store(&unit.environment(true));
            unit.mask_all();
        }
        MemoryForm::Restore => unit.restore(&memory[..108], true),
        MemoryForm::Save => {
            store(&unit.image(true));
            unit.initialise();
        }
    }
    None
}

/// All opcodes that are instructions: with a register operand, and with the memory operand [RSI].
fn opcodes() -> Vec<u16> {
    let registers = (0..8).flat_map(|escape| (0xc0..0x100).map(move |low| escape << 8 | low));
    let memory = (0..8).flat_map(|escape| (0..8).map(move |op| escape << 8 | op << 3 | 6));
    registers
        .filter(|fop| register_form_exists(*fop))
        .chain(memory.filter(|fop| memory_form(*fop).is_some()))
        .collect()
}

/// Runs one case on both; the difference, if there is one, and the case, in words.
fn difference(machine: &Machine, random: &mut Random, fop: u16) -> Option<String> {
    let start = random.state();
    let mut memory = random.memory();
    let rflags = random.flags();
    let case = format!("{start:x?}, operand {:02x?}, flags {rflags:x}", &memory[..10]);
    let silicon = machine.run(&start, &[0xd8 | (fop >> 8) as u8, fop as u8], memory, rflags);
    let mut unit = X87::from_state(&start);
    let mut flags = Flags::from_rflags(rflags);
    let ax = emulate(&mut unit, fop, &mut memory, &mut flags).unwrap_or(0);
    let fpu = unit.state();
    let emulated = Outcome { fpu, tag_word: unit.tag_word(), memory, rflags: flags.to_rflags(), ax };
    let differences = silicon.without_pointers(fop).differences(&emulated.without_pointers(fop));
    (!differences.is_empty()).then(|| {
        format!("{:02x} {:02x}: {}\n    of {case}", 0xd8 | fop >> 8, fop & 0xff, differences.join(", "))
    })
}

#[test]
fn every_instruction_does_what_the_host_does() {
    let machine = Machine::new();
    let mut random = Random::new(0x5eed);
    let failures: Vec<String> = opcodes()
        .into_iter()
        .filter_map(|fop| (0..CASES).find_map(|_| difference(&machine, &mut random, fop)))
        .collect();
    assert!(failures.is_empty(), "{} opcodes differ:\n{}", failures.len(), failures.join("\n"));
}
