//! Why a run ends: ports, memory outside RAM, halting, stopping, budgets.

mod common;

use std::time::Duration;

use common::{CODE, DATA, RAM, STRATEGIES, assemble, kernel_machine, machine};
use emu_min::{Exit, Gpr};
use iced_x86::code_asm::*;

/// The first address behind RAM that the identity map reaches.
const OUTSIDE: u64 = RAM as u64;

#[test]
fn ports_leave_the_cpu_behind_the_instruction() {
    let code = assemble(|a| {
        a.mov(eax, 0x1122_3344)?;
        a.out(0xe9, al)?;
        a.mov(edx, 0x3f8)?;
        a.out(dx, eax)?;
        a.mov(rax, u64::MAX)?;
        a.in_(ax, dx)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::IoOut { port: 0xe9, size: 1, value: 0x44 });
        assert_eq!(cpu.state().rip, CODE + 7);
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x3f8, size: 4, value: 0x1122_3344 });
        assert_eq!(cpu.run(), Exit::IoIn { port: 0x3f8, size: 2 });
        cpu.complete_in(0xabcd_1234);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 0xffff_ffff_ffff_1234);
        assert_eq!(cpu.counters().device_io, 3);
        assert_eq!(cpu.counters().instructions, 7);
    }
}

#[test]
fn string_io_leaves_once_an_element() {
    let code = assemble(|a| {
        a.mov(rsi, DATA)?;
        a.mov(rdi, DATA + 0x100)?;
        a.mov(edx, 0x80)?;
        a.mov(ecx, 2)?;
        a.rep().outsw()?;
        a.mov(ecx, 3)?;
        a.rep().insb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write_u64(DATA, 0x4444_3333_2222_1111));
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 2, value: 0x1111 });
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 2, value: 0x2222 });
        for value in [0xa1, 0xa2, 0xa3] {
            assert_eq!(cpu.run(), Exit::IoIn { port: 0x80, size: 1 });
            cpu.complete_in(value);
        }
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!(cpu.ram().read_u64(DATA + 0x100), Some(0xa3_a2a1));
        assert_eq!(state.gprs[Gpr::Rsi as usize], DATA + 4);
        assert_eq!(state.gprs[Gpr::Rdi as usize], DATA + 0x103);
        assert_eq!(state.gprs[Gpr::Rcx as usize], 0);
    }
}

#[test]
fn memory_outside_ram_is_served_by_the_machine() {
    let code = assemble(|a| {
        a.mov(rbx, OUTSIDE)?;
        a.stc()?;
        a.adc(dword_ptr(rbx), 5)?;
        a.mov(rax, qword_ptr(rbx - 4))?; // half RAM, half not
        a.mov(word_ptr(rbx + 8), 0x1234)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write(OUTSIDE - 4, &[1, 2, 3, 4]));
        assert_eq!(cpu.run(), Exit::MmioRead { gpa: OUTSIDE, size: 4 });
        cpu.complete_mmio_read(0xffff_ffff_ffff_fffa);
        assert_eq!(cpu.run(), Exit::MmioWrite { gpa: OUTSIDE, size: 4, value: 0 });
        assert_eq!(cpu.run(), Exit::MmioRead { gpa: OUTSIDE, size: 4 });
        cpu.complete_mmio_read(0x0807_0605);
        assert_eq!(cpu.run(), Exit::MmioWrite { gpa: OUTSIDE + 8, size: 2, value: 0x1234 });
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!(state.gprs[0], 0x0807_0605_0403_0201);
        assert_eq!(state.rflags & 0x41, 0x41, "the sum wrapped to zero, once");
        assert_eq!(cpu.counters().instructions, 6);
        assert_eq!(cpu.counters().device_mmio, 4);
    }
}

#[test]
fn a_string_copy_into_a_device_goes_element_by_element() {
    let code = assemble(|a| {
        a.mov(rsi, DATA)?;
        a.mov(rdi, OUTSIDE)?;
        a.mov(ecx, 2)?;
        a.rep().movsd()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        assert!(cpu.ram().write_u64(DATA, 0x2222_2222_1111_1111));
        assert_eq!(cpu.run(), Exit::MmioWrite { gpa: OUTSIDE, size: 4, value: 0x1111_1111 });
        assert_eq!(cpu.run(), Exit::MmioWrite { gpa: OUTSIDE + 4, size: 4, value: 0x2222_2222 });
        assert_eq!(cpu.run(), Exit::Halt);
    }
}

#[test]
fn string_output_from_a_device_goes_element_by_element() {
    let code = assemble(|a| {
        a.mov(rsi, OUTSIDE)?;
        a.mov(edx, 0x80)?;
        a.mov(ecx, 3)?;
        a.rep().outsb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        for element in 0..3 {
            assert_eq!(cpu.run(), Exit::MmioRead { gpa: OUTSIDE + element, size: 1 }, "{strategy:?}");
            cpu.complete_mmio_read(0x40 + element);
            assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0x40 + element as u32 }, "{strategy:?}");
        }
        assert_eq!(cpu.run(), Exit::Halt, "{strategy:?}");
    }
}

#[test]
fn budgets_are_exact() {
    let code = assemble(|a| {
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        for _ in 0..5 {
            a.inc(rax)?;
        }
        a.jmp(top)
    });
    for strategy in STRATEGIES {
        for budget in [1, 5, 6, 7, 63, 64, 65, 1000, 100_001] {
            let mut cpu = machine(strategy, &code, 3);
            cpu.set_instruction_budget(Some(budget));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
            assert_eq!(cpu.counters().instructions, budget);
            assert_eq!(cpu.state().gprs[0], budget / 6 * 5 + (budget % 6).min(5));
            assert_eq!(cpu.run(), Exit::BudgetExhausted);
            assert_eq!(cpu.counters().instructions, budget);
        }
    }
}

#[test]
fn nothing_a_guest_does_keeps_it_from_stopping() {
    let endless = assemble(|a| {
        let mut top = a.create_label();
        a.cli()?;
        a.set_label(&mut top)?;
        a.jmp(top)
    });
    // More elements than anyone waits for; past the end of RAM each is an exit of its own.
    let repeated = assemble(|a| {
        a.mov(rcx, u64::MAX)?;
        a.xor(esi, esi)?;
        a.rep().lodsb()
    });
    // Each fault's handler faults again: the handler is an undefined instruction.
    let faulting = [0x0f, 0x0b];
    for strategy in STRATEGIES {
        for code in [&endless[..], &repeated, &faulting] {
            let mut cpu = kernel_machine(strategy, code, 0);
            if code == faulting {
                assert!(cpu.ram().write(common::HANDLERS + 6 * 16, &[0x48, 0xcf])); // iretq to the same
            }
            let stop = cpu.stop_handle();
            let stopper = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                stop.stop();
            });
            let mut exit = cpu.run();
            while let Exit::MmioRead { .. } = exit {
                cpu.complete_mmio_read(0);
                exit = cpu.run();
            }
            assert_eq!(exit, Exit::Stopped);
            stopper.join().unwrap();
        }
    }
}

#[test]
fn a_stopped_repetition_resumes() {
    let code = assemble(|a| {
        a.mov(rdi, DATA)?;
        a.mov(ecx, 1_000_000)?;
        a.mov(al, 0x5a)?;
        a.rep().stosb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let stop = cpu.stop_handle();
        cpu.set_instruction_budget(Some(3));
        assert_eq!(cpu.run(), Exit::BudgetExhausted);
        cpu.set_instruction_budget(None);
        stop.stop();
        assert_eq!(cpu.run(), Exit::Stopped);
        while cpu.run() != Exit::Halt {}
        let mut last = [0; 2];
        assert!(cpu.ram().read(DATA + 999_999, &mut last));
        assert_eq!(last, [0x5a, 0]);
        assert_eq!(cpu.state().gprs[Gpr::Rdi as usize], DATA + 1_000_000);
        assert_eq!(cpu.counters().instructions, 5);
    }
}
