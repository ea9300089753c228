//! No guest outlives its budget, even one that retires no instruction.

mod common;

use std::time::Duration;

use common::{CODE, DATA, HANDLERS, STRATEGIES, assemble, kernel_machine, set_gate};
use emu_min::{Cpu, Exit};
use iced_x86::code_asm::*;

/// Runs, but not for ever if the budget is not kept.
fn run(cpu: &mut Cpu) -> Exit {
    let stop = cpu.stop_handle();
    let (done, waits) = std::sync::mpsc::channel();
    let watchdog = std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(20)).is_err() {
            stop.stop();
        }
    });
    let exit = cpu.run();
    let _ = done.send(());
    let _ = watchdog.join();
    exit
}

#[test]
fn a_handler_that_faults_at_once_uses_up_the_budget() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0x0f, 0x0b], 3);
        // #UD on a stack of its own, again and again.
        set_gate(&cpu, 6, 1, 0);
        assert!(cpu.ram().write(HANDLERS + 6 * 16, &[0x0f, 0x0b]));
        cpu.set_instruction_budget(Some(1000));
        assert_eq!(run(&mut cpu), Exit::BudgetExhausted);
        let counters = cpu.counters();
        assert_eq!((counters.instructions, counters.exceptions[6]), (0, 1000));
    }
}

#[test]
fn a_breakpoint_on_its_own_handler_uses_up_the_budget() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0x90; 8], 0);
        set_gate(&cpu, 1, 1, 0);
        let mut state = cpu.state();
        state.dr[0] = CODE;
        state.dr[1] = HANDLERS + 16;
        state.dr[5] = 5; // DR7: both enabled for execution
        cpu.set_state(&state);
        cpu.set_instruction_budget(Some(1000));
        assert_eq!(run(&mut cpu), Exit::BudgetExhausted);
        assert_eq!(cpu.counters().instructions, 0);
    }
}

#[test]
fn an_endless_repetition_uses_up_the_budget_at_the_same_element() {
    let code = assemble(|a| {
        a.mov(rcx, -1_i64)?;
        a.rep().lodsb()?;
        a.hlt()
    });
    let mut ends = Vec::new();
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let mut state = cpu.state();
        state.gprs[6] = DATA;
        cpu.set_state(&state);
        cpu.set_instruction_budget(Some(100));
        assert_eq!(run(&mut cpu), Exit::BudgetExhausted);
        // Running on without a new budget changes nothing.
        assert_eq!(run(&mut cpu), Exit::BudgetExhausted);
        let state = cpu.state();
        assert_eq!(state.gprs[6] - DATA, u64::MAX - state.gprs[1]);
        assert_eq!(cpu.counters().instructions, 1);
        cpu.set_instruction_budget(Some(10));
        assert_eq!(run(&mut cpu), Exit::BudgetExhausted);
        assert!(cpu.state().gprs[6] > state.gprs[6]);
        ends.push(state);
    }
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].gprs[6] - DATA, 99 * 4096);
}
