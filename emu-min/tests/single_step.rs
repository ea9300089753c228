//! One instruction or one event at a time.

mod common;

use common::{CODE, DATA, HANDLERS, KERNEL_CS, STRATEGIES, assemble, kernel_machine, machine, set_gate};
use emu_min::{Cpu, Event, EventSource, Exit};
use iced_x86::code_asm::*;

const IF: u64 = 1 << 9;

fn sum() -> Vec<u8> {
    assemble(|a| {
        let mut top = a.create_label();
        a.mov(ecx, 100)?;
        a.xor(eax, eax)?;
        a.mov(rsi, DATA)?;
        a.lea(rdi, qword_ptr(rsi + 0x800))?;
        a.set_label(&mut top)?;
        a.add(eax, ecx)?;
        a.mov(dword_ptr(rsi + rcx * 4), eax)?;
        a.push(rax)?;
        a.pop(rbx)?;
        a.dec(ecx)?;
        a.jne(top)?;
        a.mov(ecx, 64)?;
        a.rep().movsb()?;
        a.movdqu(xmm0, xmmword_ptr(rsi))?;
        a.hlt()
    })
}

/// Steps until the machine must act; how many steps that took.
fn step_out(cpu: &mut Cpu) -> (Exit, u64) {
    let mut steps = 1;
    loop {
        match cpu.single_step() {
            Some(exit) => return (exit, steps),
            None => steps += 1,
        }
        assert!(steps < 10_000);
    }
}

#[test]
fn steps_end_where_a_run_ends() {
    for strategy in STRATEGIES {
        let mut run = machine(strategy, &sum(), 0);
        assert_eq!(run.run(), Exit::Halt);
        let mut stepped = machine(strategy, &sum(), 0);
        let (exit, steps) = step_out(&mut stepped);
        assert_eq!((exit, steps, stepped.instructions()), (Exit::Halt, run.instructions(), run.instructions()));
        assert_eq!(stepped.state(), run.state(), "{strategy:?}");
        assert_eq!(stepped.delivery(), None);
    }
}

#[test]
fn runs_and_steps_mix() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &sum(), 0);
        let mut whole = machine(strategy, &sum(), 0);
        assert_eq!(whole.run(), Exit::Halt);
        for round in 0..20 {
            cpu.set_instruction_budget(Some(round));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
            cpu.set_instruction_budget(None);
            let (rip, before) = (cpu.rip(), cpu.instructions());
            assert_eq!(cpu.single_step(), None);
            assert_eq!(cpu.instructions(), before + 1);
            assert!(cpu.rip() != rip && cpu.rip() == cpu.linear_rip());
        }
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state(), whole.state(), "{strategy:?}");
        assert_eq!(cpu.instructions(), whole.instructions());
    }
}

#[test]
fn an_exception_is_a_step_that_says_what_was_delivered() {
    let code = assemble(|a| {
        a.nop()?;
        a.mov(rax, qword_ptr(0x7000_0000_u64))
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        assert_eq!((cpu.single_step(), cpu.delivery(), cpu.ring(), cpu.code_bits()), (None, None, 3, 64));
        let walks = cpu.page_walks();
        assert_eq!(cpu.single_step(), None);
        let delivery = cpu.delivery().expect("a page fault");
        assert_eq!((delivery.source, delivery.rip), (EventSource::Fault, CODE + 1));
        assert_eq!(delivery.events(), [Event { vector: 14, error: Some(4) }]);
        assert_eq!((cpu.rip(), cpu.ring(), cpu.state().cr2), (HANDLERS + 14 * 16, 0, 0x7000_0000));
        assert_eq!(cpu.instructions(), 1);
        assert!(cpu.page_walks() > walks);
        assert_eq!(cpu.single_step(), Some(Exit::Halt));
        assert_eq!(cpu.delivery(), None);
    }
}

#[test]
fn interrupts_and_software_interrupts_are_steps() {
    let code = assemble(|a| {
        a.nop()?;
        a.int(0x80)
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        set_gate(&cpu, 0x21, 0, 0);
        let mut state = cpu.state();
        state.rflags |= IF;
        cpu.set_state(&state);
        assert_eq!(cpu.single_step(), None);
        cpu.inject_interrupt(0x21);
        assert_eq!(cpu.single_step(), None);
        let delivery = cpu.delivery().expect("the interrupt");
        assert_eq!((delivery.source, delivery.rip), (EventSource::External, CODE + 1));
        assert_eq!(delivery.events(), [Event { vector: 0x21, error: None }]);
        assert_eq!((cpu.rip(), cpu.instructions()), (HANDLERS + 0x21 * 16, 1), "no instruction of the handler yet");
        let mut state = cpu.state();
        state.rip = CODE + 1;
        cpu.set_state(&state);
        assert_eq!(cpu.single_step(), None);
        let delivery = cpu.delivery().expect("int 0x80");
        assert_eq!((delivery.source, delivery.rip), (EventSource::Software, CODE + 3));
        assert_eq!((cpu.rip(), cpu.instructions()), (HANDLERS + 0x80 * 16, 2));
    }
}

#[test]
fn a_triple_fault_says_what_led_to_it() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0x0f, 0x0b], 0); // ud2
        let mut state = cpu.state();
        state.idtr.limit = 0;
        cpu.set_state(&state);
        assert_eq!(cpu.single_step(), Some(Exit::TripleFault));
        let vectors: Vec<u8> = cpu.delivery().expect("a fault").events().iter().map(|event| event.vector).collect();
        assert_eq!(vectors, [6, 13, 8], "{strategy:?}");
        assert_eq!((cpu.rip(), u64::from(cpu.state().cs.selector)), (CODE, KERNEL_CS));
    }
}

#[test]
fn a_budget_and_a_stop_end_steps_too() {
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &sum(), 0);
        cpu.set_instruction_budget(Some(2));
        assert_eq!([cpu.single_step(), cpu.single_step()], [None, None]);
        assert_eq!(cpu.single_step(), Some(Exit::BudgetExhausted));
        cpu.set_instruction_budget(None);
        cpu.stop_handle().stop();
        assert_eq!((cpu.single_step(), cpu.instructions()), (Some(Exit::Stopped), 2));
        assert_eq!((cpu.single_step(), cpu.instructions()), (None, 3));
    }
}
