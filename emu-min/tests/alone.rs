//! Instructions that the interpreter executes amid translated code: the code goes on behind them, unless they changed what
//! it was made for.

mod common;

use common::{CODE, DATA, RAM, STRATEGIES, assemble, kernel_machine, machine, run_to_handler};
use emu_min::{Cpu, Exit, State, Strategy};
use iced_x86::code_asm::*;

fn run(strategy: Strategy, code: &[u8]) -> (State, Cpu) {
    let mut cpu = machine(strategy, code, 0);
    assert_eq!(cpu.run(), Exit::Halt);
    (cpu.state(), cpu)
}

#[test]
fn flags_and_registers_go_through() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(rbx, DATA)?;
        a.mov(ecx, 200)?;
        a.set_label(&mut again)?;
        a.add(rsi, qword_ptr(rbx))?;
        a.lahf()?;
        a.adc(rdi, 0x1234_5678)?;
        a.fld1()?;
        a.fstp(qword_ptr(rbx + 8))?;
        a.pushfq()?;
        a.pop(rdx)?;
        a.mov(qword_ptr(rbx), rdi)?;
        a.mov(r8, rdi)?;
        a.and(r8d, 0x3ff)?;
        a.bts(qword_ptr(rbx + 64), r8)?;
        a.rcl(rsi, 3)?;
        a.xlatb()?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    let (expected, _) = run(Strategy::Naive, &code);
    for strategy in STRATEGIES {
        let (state, cpu) = run(strategy, &code);
        assert_eq!(state, expected, "{strategy:?}");
        assert_eq!(cpu.counters().instructions, 2 + 200 * 15 + 1);
        if let Some(translation) = cpu.counters().translation {
            assert!(translation.steps >= 200 * 4, "{translation:?}");
            assert!(translation.instructions >= 200 * 8, "{translation:?}");
            assert!(translation.entries < 100, "the code goes on: {translation:?}");
        }
    }
}

#[test]
fn one_that_changes_the_code_behind_it_is_seen() {
    // BTS with a bit offset in a register sets a bit in the immediate of the instruction behind it.
    let code = assemble(|a| {
        let (mut again, mut changed) = (a.create_label(), a.create_label());
        a.lea(rbx, qword_ptr(changed))?;
        a.mov(ecx, 8)?;
        a.set_label(&mut again)?;
        a.lea(rax, qword_ptr(rcx + 7))?;
        a.bts(dword_ptr(rbx), eax)?;
        a.set_label(&mut changed)?;
        a.mov(edx, 0)?;
        a.add(rsi, rdx)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let (state, _) = run(strategy, &code);
        // Bits 7 to 0 of the immediate, which begins one byte behind the opcode, are set one after another.
        let sum = (1..=8).map(|n| 0x100 - (0x100 >> n)).sum::<u64>();
        assert_eq!((state.gprs[6], state.gprs[2]), (sum, 0xff), "{strategy:?}");
    }
}

#[test]
fn one_that_faults_is_precise() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(edx, 1)?;
        a.bts(qword_ptr(rbx), rdx)?;
        a.add(edx, 1)?;
        a.mov(rbx, RAM as u64 - 8)?;
        a.shl(rbx, 8)?;
        a.lahf()?;
        a.bts(qword_ptr(rbx), rdx)?;
        a.mov(edx, 7)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let (vector, _) = run_to_handler(&mut cpu);
        assert_eq!((vector, cpu.state().gprs[2]), (14, 2), "{strategy:?}");
        assert_eq!(cpu.ram().read_u64(DATA), Some(2));
    }
}

#[test]
fn one_that_sets_the_direction_is_minded() {
    let code = assemble(|a| {
        a.mov(rdi, DATA + 64)?;
        a.mov(eax, 5)?;
        a.std()?;
        a.stosq()?;
        a.mov(ecx, 2)?;
        a.rep().stosq()?;
        a.cld()?;
        a.mov(ecx, 3)?;
        a.rep().stosq()?;
        a.stosq()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let (state, cpu) = run(strategy, &code);
        let written: Vec<_> = (0..12).map(|i| cpu.ram().read_u64(DATA + i * 8).unwrap() / 5).collect();
        assert_eq!(written, [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0], "{strategy:?}");
        assert_eq!(state.gprs[7], DATA + 72);
        assert_eq!(state.rip, CODE + code.len() as u64);
    }
}
