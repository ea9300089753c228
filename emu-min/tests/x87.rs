//! The x87 unit and MMX as parts of the processor: when their exceptions arrive, what turns them off, and what their
//! instructions leave behind when they fault.

mod common;

use common::{CODE, DATA, STRATEGIES, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Gpr, State};

const NE: u64 = 1 << 5;
const TS: u64 = 1 << 3;
const EM: u64 = 1 << 2;
const MP: u64 = 1 << 1;
const UD: u64 = 6;
const NM: u64 = 7;
const PF: u64 = 14;
const MF: u64 = 16;
const HLT: u8 = 0xf4;
/// The end of RAM, after which nothing is mapped.
const UNMAPPED: u64 = common::RAM as u64;

/// A division of one by zero with that exception unmasked (RSI points to 0x37b).
const DIVIDE_BY_ZERO: [u8; 11] = [0xdb, 0xe3, 0xd9, 0x2e, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x90];

/// Runs `code` and a HLT on each strategy: the vector of the exception, if there was one, RIP where it was or 0, and
/// the CPU.
fn run(code: &[u8], change: impl Fn(&mut State)) -> Vec<(Option<u64>, u64, Cpu)> {
    STRATEGIES
        .into_iter()
        .map(|strategy| {
            let mut cpu = kernel_machine(strategy, &[code, &[HLT]].concat(), 0);
            assert!(cpu.ram().write_u64(DATA, 0x37b));
            assert!(cpu.ram().write_u64(common::TABLES + 0x2000 + (UNMAPPED >> 21) * 8, 0));
            let mut state = cpu.state();
            state.cr0 |= NE;
            state.gprs[Gpr::Rsi as usize] = DATA;
            change(&mut state);
            cpu.set_state(&state);
            if code_ended(&mut cpu, code.len()) {
                return (None, 0, cpu);
            }
            let mut again = cpu;
            let (vector, frame) = handler(&mut again);
            (Some(vector), frame, again)
        })
        .collect()
}

/// Runs to a HLT; true if it is the one after the code.
fn code_ended(cpu: &mut Cpu, length: usize) -> bool {
    assert_eq!(cpu.run(), Exit::Halt);
    cpu.state().rip == CODE + length as u64 + 1
}

/// Vector and saved RIP of the handler whose HLT was just executed.
fn handler(cpu: &mut Cpu) -> (u64, u64) {
    let state = cpu.state();
    let vector = (state.rip - 1 - common::HANDLERS) / 16;
    let at = state.gprs[Gpr::Rsp as usize] + if vector == PF { 8 } else { 0 };
    (vector, cpu.ram().read_u64(at).unwrap())
}

fn outcome(code: &[u8], change: impl Fn(&mut State)) -> (Option<u64>, u64) {
    let ends: Vec<_> = run(code, change).into_iter().map(|(vector, rip, _)| (vector, rip)).collect();
    assert_eq!(ends[0], ends[1], "both strategies");
    ends[0]
}

#[test]
fn an_unmasked_exception_arrives_at_the_next_waiting_instruction() {
    let nothing = |_: &mut State| {};
    let end = CODE + DIVIDE_BY_ZERO.len() as u64;
    assert_eq!(outcome(&DIVIDE_BY_ZERO, nothing), (None, 0), "nothing waits");
    for waiting in
        [&[0x9b][..], &[0xd9, 0xe8], &[0xd8, 0x06], &[0xdd, 0x1e], &[0xd9, 0x2e], &[0x0f, 0x77], &[0x0f, 0x6f, 0x0e]]
    {
        let code = [&DIVIDE_BY_ZERO[..], waiting].concat();
        assert_eq!(outcome(&code, nothing), (Some(MF), end), "{waiting:02x?}");
        assert_eq!(outcome(&code, |s| s.cr0 &= !NE), (None, 0), "{waiting:02x?} without CR0.NE");
    }
    // FNSTSW, FNSTCW, FNCLEX, FNINIT, FNSTENV, FNSAVE, FXSAVE
    for not in [
        &[0xdf, 0xe0][..],
        &[0xd9, 0x3e],
        &[0xdb, 0xe2],
        &[0xdb, 0xe3],
        &[0xd9, 0x36],
        &[0xdd, 0x36],
        &[0x0f, 0xae, 0x06],
    ] {
        assert_eq!(outcome(&[&DIVIDE_BY_ZERO[..], not].concat(), nothing), (None, 0), "{not:02x?}");
    }
    let cleared = [&DIVIDE_BY_ZERO[..], &[0xdb, 0xe2, 0x9b]].concat();
    assert_eq!(outcome(&cleared, nothing), (None, 0));
    let masked = [&DIVIDE_BY_ZERO[..], &[0xd9, 0x36, 0x9b]].concat();
    assert_eq!(outcome(&masked, nothing), (None, 0), "FNSTENV masks everything");
}

#[test]
fn control_bits_turn_the_unit_off() {
    for x87 in [&[0xd9, 0xe8][..], &[0xd9, 0x06], &[0xdb, 0xe3], &[0xdf, 0xe0], &[0xd9, 0x3e], &[0xdd, 0x26]] {
        assert_eq!(outcome(x87, |s| s.cr0 |= TS), (Some(NM), CODE), "{x87:02x?}");
        assert_eq!(outcome(x87, |s| s.cr0 |= EM), (Some(NM), CODE), "{x87:02x?}");
    }
    for mmx in [&[0x0f, 0x77][..], &[0x0f, 0x6f, 0x0e], &[0x0f, 0xfc, 0xc1]] {
        assert_eq!(outcome(mmx, |s| s.cr0 |= TS), (Some(NM), CODE), "{mmx:02x?}");
        assert_eq!(outcome(mmx, |s| s.cr0 |= EM), (Some(UD), CODE), "{mmx:02x?}");
    }
    assert_eq!(outcome(&[0x9b], |s| s.cr0 |= TS | MP), (Some(NM), CODE));
    assert_eq!(outcome(&[0x9b], |s| s.cr0 = (s.cr0 | TS) & !MP), (None, 0));
    assert_eq!(outcome(&[0x9b], |s| s.cr0 |= EM), (None, 0));
}

#[test]
fn encodings_that_are_no_instruction_raise_ud() {
    for code in [
        &[0xd9, 0x0e][..],
        &[0xd9, 0xd1],
        &[0xd9, 0xe2],
        &[0xda, 0xe8],
        &[0xdb, 0x26],
        &[0xdd, 0xf0],
        &[0xdf, 0xe1],
        &[0xf0, 0xd8, 0x06],
    ] {
        assert_eq!(outcome(code, |_| {}), (Some(UD), CODE), "{code:02x?}");
    }
}

#[test]
fn a_fault_of_memory_leaves_the_unit_as_it_was() {
    // FSTP m80, FISTP m64, FLD m64, FNSAVE, MMX's load and store over the end of what is mapped.
    let codes: [&[u8]; 6] =
        [&[0xdb, 0x3f], &[0xdf, 0x3f], &[0xdd, 0x07], &[0xdd, 0x37], &[0x0f, 0x6f, 0x0f], &[0x0f, 0x7f, 0x0f]];
    for code in codes {
        let ends = run(code, |s| {
            s.gprs[Gpr::Rdi as usize] = UNMAPPED - 4;
            s.fpu.ftw = 0x18;
            s.fpu.fsw = 3 << 11;
            s.fpu.st[0] = 0x3fff_8000_0000_0000_0000;
            s.fpu.fip = 0x1234;
        });
        for (vector, rip, cpu) in ends {
            assert_eq!((vector, rip), (Some(PF), CODE), "{code:02x?}");
            let fpu = cpu.state().fpu;
            assert_eq!((fpu.ftw, fpu.fsw, fpu.fip), (0x18, 3 << 11, 0x1234), "{code:02x?}");
            assert_eq!(cpu.ram().read_u64(UNMAPPED - 8), Some(0), "{code:02x?} stored a part");
        }
    }
}

#[test]
fn the_environment_names_the_instruction_and_its_operand() {
    // FADD [RSI + 8] with an unmasked denormal, then FXSAVE.
    let denormal = [0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0x2e, 0xdc, 0x46, 0x08, 0x48, 0x0f, 0xae, 0x46, 0x40];
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[&denormal[..], &[HLT]].concat(), 0);
        assert!(cpu.ram().write_u64(DATA, 0x37d) && cpu.ram().write_u64(DATA + 8, 1));
        let mut state = cpu.state();
        state.gprs[Gpr::Rsi as usize] = DATA;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        let word = |at: u64| cpu.ram().read_u64(DATA + 0x40 + at).unwrap();
        assert_eq!(word(0) >> 48, 0x446, "opcode DC 46");
        assert_eq!(word(8), CODE + 6);
        assert_eq!(word(16), DATA + 8);
        assert_eq!(word(0) >> 16 & 0xffff, 0xb882);
    }
}

#[test]
fn cpuid_tells_of_fpu_and_mmx() {
    for (_, _, cpu) in run(&[0xb8, 1, 0, 0, 0, 0x0f, 0xa2], |_| {}) {
        let edx = cpu.state().gprs[Gpr::Rdx as usize];
        assert_eq!(edx & (1 | 1 << 23), 1 | 1 << 23);
    }
}

#[test]
fn a_handler_of_mf_sees_the_frame_of_the_waiting_instruction() {
    let code = [&DIVIDE_BY_ZERO[..], &[0x9b, HLT]].concat();
    let mut cpu = kernel_machine(STRATEGIES[0], &code, 0);
    assert!(cpu.ram().write_u64(DATA, 0x37b));
    let mut state = cpu.state();
    state.cr0 |= NE;
    state.gprs[Gpr::Rsi as usize] = DATA;
    cpu.set_state(&state);
    let (vector, frame) = run_to_handler(&mut cpu);
    assert_eq!((vector, frame[0]), (MF, CODE + DIVIDE_BY_ZERO.len() as u64));
}
