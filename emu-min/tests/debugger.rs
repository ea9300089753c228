//! A debugger outside the guest: breakpoints, watchpoints and single steps, on every strategy.

mod common;

use common::{CODE, DATA, HANDLERS, STRATEGIES, assemble, kernel_machine, set_gate};
use emu_min::{Cpu, DebugStop, Exit, Trigger, Watchpoint};
use iced_x86::code_asm::*;

const STEP: Exit = Exit::Debug(DebugStop::Step);

fn at(trigger: Trigger, address: u64, size: u64) -> Watchpoint {
    Watchpoint { trigger, address, size }
}

fn met(point: Watchpoint) -> Exit {
    Exit::Debug(DebugStop::Met(point))
}

/// Steps once and yields RIP.
fn step(cpu: &mut Cpu) -> u64 {
    assert_eq!(cpu.run(), STEP);
    cpu.state().rip
}

#[test]
fn a_breakpoint_stops_before_its_instruction_every_time() {
    let code = assemble(|a| {
        let mut top = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut top)?;
        a.inc(rax)?; // the breakpoint
        a.dec(ecx)?;
        a.jnz(top)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let point = at(Trigger::Execute, CODE + 5, 1);
        for round in 0..3 {
            cpu.set_watchpoints(&[point, at(Trigger::Execute, CODE + 0x800, 1)]);
            assert_eq!(cpu.run(), met(point));
            assert_eq!(cpu.run(), met(point), "whoever runs on at it meets it again");
            let state = cpu.state();
            assert_eq!((state.rip, state.gprs[0], state.dr[4], state.dr[5]), (CODE + 5, round, 0xffff_0ff0, 0x400));
            cpu.set_watchpoints(&[]);
            cpu.set_stepping(true);
            assert_eq!(step(&mut cpu), CODE + 8);
            cpu.set_stepping(false);
        }
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!((cpu.state().gprs[0], cpu.instructions()), (3, 11), "a stop executes nothing");
    }
}

#[test]
fn a_watchpoint_stops_behind_the_access_that_it_waits_for() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?; // 5 or 10 bytes
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), 7)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    let end = CODE + code.len() as u64;
    let (first_read, write, second_read) = (end - 11, end - 4, end - 1);
    for strategy in STRATEGIES {
        for (trigger, stops) in [
            (Trigger::Read, &[first_read, second_read][..]),
            (Trigger::Write, &[write]),
            (Trigger::Access, &[first_read, write, second_read]),
            (Trigger::Execute, &[]),
        ] {
            let mut cpu = kernel_machine(strategy, &code, 0);
            let point = at(trigger, DATA + 6, 2);
            cpu.set_watchpoints(&[at(Trigger::Access, DATA + 8, 8), point]);
            for stop in stops {
                assert_eq!(cpu.run(), met(point), "{trigger:?}");
                assert_eq!(cpu.state().rip, *stop, "{trigger:?}");
            }
            assert_eq!(cpu.run(), Exit::Halt, "{trigger:?}");
        }
    }
}

#[test]
fn a_page_that_was_cached_is_watched_too() {
    let code = assemble(|a| {
        let mut top = a.create_label();
        a.mov(rbx, DATA)?;
        a.set_label(&mut top)?;
        a.inc(qword_ptr(rbx))?;
        a.out(0x80, al)?;
        a.jmp(top)
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let out = Exit::IoOut { port: 0x80, size: 1, value: 0 };
        for _ in 0..3 {
            assert_eq!(cpu.run(), out);
        }
        let point = at(Trigger::Write, DATA, 8);
        cpu.set_watchpoints(&[point]);
        assert_eq!(cpu.run(), met(point));
        assert_eq!(cpu.ram().read_u64(DATA), Some(4));
        cpu.set_watchpoints(&[]);
        assert_eq!((cpu.run(), cpu.run()), (out, out));
    }
}

#[test]
fn a_step_goes_where_the_processor_goes() {
    let kernel = CODE + 0x100;
    let mut code = assemble(|a| {
        a.syscall()?;
        a.mov(eax, dword_ptr(rbx))?; // #PF
        a.nop()
    });
    code.resize(0x100, 0x90);
    code.extend([0x90, 0x48, 0x0f, 0x07]); // nop; sysretq
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        set_gate(&cpu, 14, 0, 0);
        let mut state = cpu.state();
        (state.msrs.star, state.msrs.lstar, state.msrs.fmask) = (0x0023_0010 << 32, kernel, 0x700);
        state.gprs[3] = 0x40_0000_0000; // not mapped
        cpu.set_state(&state);
        cpu.set_stepping(true);
        let mut place = || (step(&mut cpu), cpu.state().cs.selector & 3, cpu.state().rflags & 0x100);
        assert_eq!(place(), (kernel, 0, 0));
        assert_eq!(place(), (kernel + 1, 0, 0));
        assert_eq!(place(), (CODE + 2, 3, 0), "no trap flag is seen");
        assert_eq!(place(), (HANDLERS + 14 * 16, 0, 0));
        cpu.set_stepping(false);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.counters().exceptions[1], 0);
    }
}

#[test]
fn a_repetition_is_stepped_element_by_element_and_counts_once() {
    let code = assemble(|a| {
        a.mov(rdi, DATA)?;
        a.mov(ecx, 4)?;
        a.rep().stosb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        cpu.set_stepping(true);
        step(&mut cpu);
        let rep = step(&mut cpu);
        for left in [3, 2, 1] {
            assert_eq!((step(&mut cpu), cpu.state().gprs[1]), (rep, left));
        }
        assert_eq!((step(&mut cpu), cpu.instructions()), (rep + 2, 3));
        cpu.set_stepping(false);
        assert_eq!(cpu.run(), Exit::Halt);
    }
}

#[test]
fn a_step_over_a_port_ends_after_the_machine_has_served_it() {
    let code = [0xe4, 0x81, 0xe6, 0x80, 0xf4]; // in al, 0x81; out 0x80, al; hlt
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        cpu.set_stepping(true);
        assert_eq!(cpu.run(), Exit::IoIn { port: 0x81, size: 1 });
        cpu.complete_in(0x5a);
        assert_eq!((step(&mut cpu), cpu.state().gprs[0]), (CODE + 2, 0x5a));
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0x5a });
        assert_eq!(step(&mut cpu), CODE + 4);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(step(&mut cpu), CODE + 5);
    }
}

#[test]
fn an_interrupt_waits_while_a_debugger_steps() {
    let code = assemble(|a| {
        a.nop()?;
        a.nop()?;
        a.nop()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let mut state = cpu.state();
        state.rflags |= 0x200;
        cpu.set_state(&state);
        cpu.set_stepping(true);
        cpu.inject_interrupt(0x20);
        assert_eq!((step(&mut cpu), step(&mut cpu)), (CODE + 1, CODE + 2));
        cpu.set_stepping(false);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().rip, HANDLERS + 0x20 * 16 + 1);
    }
}

#[test]
fn a_stop_finds_a_guest_that_is_watched() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0xeb, 0xfe], 0);
        cpu.set_watchpoints(&[at(Trigger::Execute, CODE + 0x100, 1)]);
        cpu.stop_handle().stop();
        assert_eq!(cpu.run(), Exit::Stopped);
    }
}

#[test]
fn guest_and_debugger_hear_of_the_same_store() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(byte_ptr(rbx), 7)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let mut state = cpu.state();
        // DR7: breakpoint 0 waits for writes of one byte.
        (state.dr[0], state.dr[5]) = (DATA, 0x1_0401);
        cpu.set_state(&state);
        let point = at(Trigger::Write, DATA, 1);
        cpu.set_watchpoints(&[point]);
        assert_eq!(cpu.run(), met(point));
        assert_eq!((cpu.state().rip, cpu.state().dr[4] & 15), (HANDLERS + 16, 1), "the guest's handler is next");
    }
}

#[test]
fn a_stop_that_waits_can_be_taken_and_goes_with_its_watchpoint() {
    let code = assemble(|a| {
        a.in_(al, 0x81)?;
        a.mov(rsi, DATA)?;
        a.mov(edx, 0x80)?;
        a.outsb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        cpu.set_stepping(true);
        assert_eq!(cpu.run(), Exit::IoIn { port: 0x81, size: 1 });
        cpu.complete_in(0);
        assert_eq!((cpu.take_debug_stop(), cpu.take_debug_stop()), (Some(DebugStop::Step), None));
        cpu.set_stepping(false);
        let point = at(Trigger::Read, DATA, 1);
        cpu.set_watchpoints(&[point]);
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0 });
        cpu.set_watchpoints(&[]);
        assert_eq!(cpu.run(), Exit::Halt, "nobody waits for it any more");
    }
}
