//! What goes wrong while an event is delivered: error codes with their EXT and IDT bits, stacks of the TSS and IST, and
//! the classes that make a double fault (Intel SDM volume 3, 7.13 to 7.15).

mod common;

use common::{
    CODE, HANDLERS, IDT, IST1, KERNEL_CS, RSP0, STACK, STRATEGIES, TSS, assemble, kernel_machine, run_to_handler,
    set_gate,
};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const UD2: [u8; 2] = [0x0f, 0x0b];
const HOLE: u64 = 1 << 47;
const UD: u64 = 6;
const DF: u64 = 8;
const TS: u64 = 10;
const NP: u64 = 11;
const SS: u64 = 12;
const GP: u64 = 13;
const PF: u64 = 14;

/// The gate of a vector, with other bits.
fn change_gate(cpu: &Cpu, vector: u64, change: impl Fn(u64) -> u64) {
    let address = IDT + vector * 16;
    let old = cpu.ram().read_u64(address).unwrap();
    assert!(cpu.ram().write_u64(address, change(old)));
}

/// Gates that must work use the stack of IST 1.
fn rescue(cpu: &Cpu) {
    for vector in [DF, TS, NP, SS, GP, PF] {
        set_gate(cpu, vector, 1, 0);
    }
}

/// A machine at a level whose interrupt 0x40 is delivered: an `int`, or from outside.
fn interrupted(strategy: Strategy, cpl: u8, external: bool) -> Cpu {
    let mut cpu = kernel_machine(strategy, if external { &[0x90] } else { &[0xcd, 0x40] }, cpl);
    rescue(&cpu);
    set_gate(&cpu, 0x40, 0, 3);
    let mut state = cpu.state();
    state.rflags |= 0x200;
    cpu.set_state(&state);
    if external {
        cpu.inject_interrupt(0x40);
    }
    cpu
}

#[test]
fn faults_in_gates_name_the_vector_or_the_selector() {
    type Change = fn(u64) -> u64;
    // What is wrong with the gate, vector, error code but for EXT.
    let cases: [(Change, u64, u64); 7] = [
        (|gate| gate & !(1 << 47), NP, 0x40 * 8 + 2),
        (|gate| gate & !(0x1f << 40), GP, 0x40 * 8 + 2),
        (|gate| gate & !(0xffff << 16), GP, 0),
        (|gate| gate & !(0xffff << 16) | 0x18 << 16, GP, 0x18), // data
        (|gate| gate & !(0xffff << 16) | 0x20 << 16, GP, 0x20), // 32-bit code
        (|gate| gate & !(0xffff << 16) | 0x100 << 16, GP, 0x100), // beyond the GDT
        (|gate| gate & !(0xffff << 16) | 0x3b << 16, GP, 0x38), // an empty descriptor; RPL is not part of the code
    ];
    for strategy in STRATEGIES {
        for external in [false, true] {
            for (i, (change, expected, error)) in cases.into_iter().enumerate() {
                let mut cpu = interrupted(strategy, 0, external);
                change_gate(&cpu, 0x40, change);
                let (vector, frame) = run_to_handler(&mut cpu);
                assert_eq!((vector, frame[0]), (expected, error + u64::from(external)), "case {i}");
                assert_eq!(frame[1], CODE);
            }
            // Beyond the IDT.
            let mut cpu = interrupted(strategy, 0, external);
            let mut state = cpu.state();
            state.idtr.limit = 0x3ff;
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (GP, 0x40 * 8 + 2 + u64::from(external)));
        }
    }
}

#[test]
fn a_gate_of_a_lower_level_stops_int_alone() {
    for strategy in STRATEGIES {
        for external in [false, true] {
            let mut cpu = interrupted(strategy, 3, external);
            set_gate(&cpu, 0x40, 0, 0);
            let (vector, frame) = run_to_handler(&mut cpu);
            if external {
                assert_eq!((vector, frame[0]), (0x40, CODE));
            } else {
                assert_eq!((vector, frame[0]), (GP, 0x40 * 8 + 2));
            }
        }
    }
}

#[test]
fn stacks_of_the_tss_are_checked() {
    for strategy in STRATEGIES {
        for external in [false, true] {
            let ext = u64::from(external);
            // RSP0 and IST 2 in the hole; then both beyond the TSS's limit.
            for (ist, slot) in [(0, TSS + 4), (2, TSS + 44)] {
                let mut cpu = interrupted(strategy, 3, external);
                assert!(cpu.ram().write_u64(slot, HOLE));
                set_gate(&cpu, 0x40, ist, 3);
                let (vector, frame) = run_to_handler(&mut cpu);
                assert_eq!((vector, frame[0]), (SS, ext), "IST {ist}");
                assert_eq!(cpu.state().gprs[4], IST1 - 48);
            }
            let mut cpu = interrupted(strategy, 3, external);
            set_gate(&cpu, 0x40, 2, 3);
            let mut state = cpu.state();
            state.tr.limit = 44 + 6;
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (TS, 0x40 + ext));
            // Pushes that reach the hole: the stack begins right above it.
            let mut cpu = interrupted(strategy, 3, external);
            assert!(cpu.ram().write_u64(TSS + 4, 0xffff_8000_0000_0000));
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (SS, ext));
        }
        // The handler's address.
        let mut cpu = interrupted(strategy, 0, false);
        assert!(cpu.ram().write_u64(IDT + 0x40 * 16 + 8, 0x8000));
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (GP, 0));
    }
}

#[test]
fn the_ist_is_used_at_every_level_and_aligned() {
    for strategy in STRATEGIES {
        for cpl in [0, 3] {
            let mut cpu = kernel_machine(strategy, &UD2, cpl);
            set_gate(&cpu, UD, 7, 0);
            assert!(cpu.ram().write_u64(TSS + 28 + 7 * 8, IST1 + 0x10f));
            let (vector, _) = run_to_handler(&mut cpu);
            assert_eq!((vector, cpu.state().gprs[4]), (UD, IST1 + 0x100 - 40));
        }
    }
}

#[test]
fn classes_decide_about_the_double_fault() {
    // First fault by vector, what is wrong with its gate, what arrives.
    let absent: fn(u64) -> u64 = |gate| gate & !(1 << 47);
    let page_fault = assemble(|a| a.mov(rax, qword_ptr(0xffff_ffff_c000_0000_u64)));
    let divide = vec![0x31, 0xc9, 0xf7, 0xf1]; // xor ecx, ecx; div ecx
    let cases = [
        (UD2.to_vec(), UD, NP, 6 * 8 + 3), // benign, then contributory: serially
        (divide, 0, DF, 0),                // contributory twice
        (page_fault, PF, DF, 0),           // page fault, then contributory
        (vec![0xcc], 3, NP, 3 * 8 + 2),    // a software interrupt is benign
    ];
    for strategy in STRATEGIES {
        for (code, first, expected, error) in &cases {
            let mut cpu = kernel_machine(strategy, code, 0);
            rescue(&cpu);
            change_gate(&cpu, *first, absent);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (*expected, *error), "after vector {first}");
            assert_eq!((frame[2], frame[4]), (KERNEL_CS, STACK));
        }
    }
}

#[test]
fn a_contributory_fault_then_a_page_fault_is_serial_and_two_page_faults_are_not() {
    for strategy in STRATEGIES {
        for (cause, expected) in [(GP, PF), (PF, DF)] {
            let code = if cause == GP { vec![0xf4] } else { vec![0xa1, 0, 0, 0, 0xc0, 0xff, 0xff, 0xff, 0xff] };
            let mut cpu = kernel_machine(strategy, &code, 3);
            rescue(&cpu);
            // The cause's own gate takes the stack of RSP0, which is not mapped.
            set_gate(&cpu, cause, 0, 0);
            assert!(cpu.ram().write_u64(TSS + 4, 0xffff_ffff_8000_0000));
            if cause == GP {
                let (vector, frame) = run_to_handler(&mut cpu);
                assert_eq!((vector, frame[0]), (expected, 2), "a supervisor's write to a page that is not there");
                assert_eq!(cpu.state().cr2, 0xffff_ffff_8000_0000 - 8);
            } else {
                let (vector, frame) = run_to_handler(&mut cpu);
                assert_eq!((vector, frame[0], frame[1]), (expected, 0, CODE));
            }
        }
    }
}

#[test]
fn a_fault_in_the_double_fault_shuts_down() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0xf4], 3);
        for vector in [GP, NP, DF] {
            change_gate(&cpu, vector, |gate| gate & !(1 << 47));
        }
        assert_eq!(cpu.run(), Exit::TripleFault);
        assert_eq!((cpu.state().rip, cpu.state().cs.selector & 3), (CODE, 3));
        // A benign fault instead of one in it: #UD with a broken gate is no double fault.
        let mut cpu = kernel_machine(strategy, &UD2, 3);
        change_gate(&cpu, UD, |gate| gate & !(1 << 47));
        assert_eq!(run_to_handler(&mut cpu).0, NP);
    }
}

#[test]
fn entering_a_handler_marks_its_code_segment_accessed() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &UD2, 3);
        assert!(cpu.ram().write_u64(common::GDT + KERNEL_CS, 0x00af_9a00_0000_ffff));
        assert_eq!(run_to_handler(&mut cpu).0, UD);
        assert_eq!(cpu.ram().read_u64(common::GDT + KERNEL_CS), Some(0x00af_9b00_0000_ffff));
        assert_eq!((cpu.state().rip, cpu.state().gprs[4]), (HANDLERS + UD * 16 + 1, RSP0 - 40));
    }
}

#[test]
fn privilege_and_validity_are_checked_in_order() {
    // Code, level, CR4, vector.
    let cases: [(&[u8], u8, u64, u64); 7] = [
        (&[0x0f, 0x20, 0xc8], 3, 0, UD), // mov rax, cr1: invalid before privileged
        (&[0x0f, 0x20, 0xc0], 3, 0, GP), // mov rax, cr0
        (&[0x0f, 0x33], 3, 0, GP),       // rdpmc
        (&[0x0f, 0x33], 0, 1 << 8, GP),  // no such counter
        (&[0x0f, 0x01, 0xf8], 3, 0, GP), // swapgs
        (&[0x0f, 0x06], 3, 0, GP),       // clts
        (&[0x0f, 0x01, 0xf0], 3, 0, GP), // lmsw ax
    ];
    for strategy in STRATEGIES {
        for (code, cpl, control, expected) in cases {
            let mut cpu = kernel_machine(strategy, code, cpl);
            let mut state = cpu.state();
            state.cr4 |= control;
            cpu.set_state(&state);
            assert_eq!(run_to_handler(&mut cpu).0, expected, "{code:02x?} at {cpl}");
        }
    }
}

#[test]
fn lmsw_sets_pe_but_never_clears_it() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0x0f, 0x01, 0xf0, 0x0f, 0x06, 0xf4], 0); // lmsw ax; clts; hlt
        let mut state = cpu.state();
        state.gprs[0] = 0xffff_fffe & !4; // neither PE nor EM
        cpu.set_state(&state);
        cpu.set_instruction_budget(Some(1));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        assert_eq!(cpu.state().cr0, 0x8001_001b, "MP and TS set, PE kept, the rest as it was");
        cpu.set_instruction_budget(None);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().cr0, 0x8001_0013);
    }
}
