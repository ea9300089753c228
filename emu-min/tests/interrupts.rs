//! NMIs, the shadows of STI and MOV SS, and the order of events at an instruction boundary (Intel SDM volume 3, 7.7.1,
//! 7.8.3 and 7.9).

mod common;

use common::{CODE, HANDLERS, KERNEL_CS, STRATEGIES, assemble, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const NMI: u64 = 2;
const TF: u64 = 1 << 8;
const IF: u64 = 1 << 9;
const NMI_HANDLER: u64 = HANDLERS + NMI * 16;

/// Ring 0 with interrupts on or off; the NMI's handler halts, and if run on returns.
fn machine(strategy: Strategy, code: &[u8], rflags: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, 0);
    assert!(cpu.ram().write(NMI_HANDLER, &[0xf4, 0x48, 0xcf]));
    let mut state = cpu.state();
    (state.rflags, state.gprs[0]) = (2 | rflags, 0x18);
    cpu.set_state(&state);
    cpu
}

#[test]
fn an_nmi_needs_no_if_and_blocks_others_until_iret() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &[0x90, 0xf4], 0);
        cpu.inject_nmi();
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], frame[1]), (NMI, CODE, KERNEL_CS));
        assert!(cpu.state().nmi_blocked);
        // Two more while it is handled: one is remembered.
        cpu.inject_nmi();
        cpu.inject_nmi();
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (NMI, CODE), "right after IRET");
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!((cpu.state().rip, cpu.state().nmi_blocked), (CODE + 2, false));
        assert_eq!(cpu.counters().interrupt, 2);
    }
}

#[test]
fn a_faulting_iret_unblocks_nmis() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &[0x48, 0xcf], 0); // iretq
        let mut state = cpu.state();
        state.nmi_blocked = true;
        cpu.set_state(&state);
        assert!(cpu.ram().write_u64(state.gprs[4] + 8, 0)); // a null selector for CS
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], cpu.state().nmi_blocked), (13, 0, false));
    }
}

#[test]
fn mov_ss_holds_off_nmis_and_sti_does_not() {
    let mov_ss = assemble(|a| {
        a.mov(ss, eax)?;
        a.nop()?;
        a.nop()
    });
    let mov_ss_twice = assemble(|a| {
        a.mov(ss, eax)?;
        a.mov(ss, eax)?;
        a.nop()
    });
    let sti = assemble(|a| {
        a.sti()?;
        a.nop()?;
        a.nop()
    });
    for strategy in STRATEGIES {
        for (code, rip) in [(&mov_ss, CODE + 3), (&mov_ss_twice, CODE + 4), (&sti, CODE + 1)] {
            let mut cpu = machine(strategy, code, 0);
            cpu.set_instruction_budget(Some(1));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
            assert!(cpu.state().interrupt_shadow);
            assert_eq!(cpu.state().stack_shadow, code[0] == 0x8e);
            cpu.set_instruction_budget(None);
            cpu.inject_nmi();
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (NMI, rip), "{code:02x?}");
        }
    }
}

#[test]
fn shadows_survive_a_round_trip_of_the_state() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &[0x90, 0x90], IF);
        let mut state = cpu.state();
        state.stack_shadow = true;
        cpu.set_state(&state);
        assert!(cpu.state().interrupt_shadow && cpu.state().stack_shadow && !cpu.interrupts_enabled());
        cpu.inject_interrupt(0x40);
        cpu.inject_nmi();
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (NMI, CODE + 1));
    }
}

#[test]
fn traps_come_before_nmis_and_those_before_interrupts() {
    let code = assemble(|a| {
        a.mov(ss, eax)?;
        a.nop()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, TF | IF);
        cpu.set_instruction_budget(Some(1));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        cpu.set_instruction_budget(None);
        cpu.inject_nmi();
        cpu.inject_interrupt(0x40);
        // Behind the shadow the single-step trap is delivered, and the NMI at its handler's first instruction.
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (NMI, HANDLERS + 16));
        let debug_frame = frame[3];
        assert_eq!(cpu.ram().read_u64(debug_frame), Some(CODE + 3));
        assert_eq!(cpu.counters().interrupt, 1, "the gate of #DB cleared IF: the interrupt waits");
    }
}

#[test]
fn an_nmi_is_delivered_before_an_interrupt() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &[0xf4], IF);
        cpu.inject_interrupt(0x40);
        cpu.inject_nmi();
        assert_eq!(run_to_handler(&mut cpu).0, NMI);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (0x40, CODE), "IRET restored IF");
    }
}
