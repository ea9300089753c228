//! What keeps the supervisor from user pages (SMAP, SMEP) and users from system registers (UMIP): Intel SDM volume 3,
//! 5.6.1 and 2.5.

mod common;

use common::{CODE, DATA, GDT, IST1, STACK, STRATEGIES, TABLES, assemble, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;
const UMIP: u64 = 1 << 11;
const AC: u64 = 1 << 18;
const PF: u64 = 14;

/// Ring 0 with `cr4` bits set; code, stacks and tables are the supervisor's, DATA is a user page.
fn kernel(strategy: Strategy, code: &[u8], enabled: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, 0);
    for i in 0..2 {
        assert!(cpu.ram().write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x83));
    }
    let mut state = cpu.state();
    state.cr4 |= enabled;
    cpu.set_state(&state);
    cpu
}

#[test]
fn ac_lets_the_supervisor_at_user_pages() {
    let read = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.stac()?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx + 8), rax)?;
        a.clac()?;
        a.mov(rcx, qword_ptr(rbx))
    });
    let write = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.stac()?;
        a.mov(qword_ptr(rbx + 8), 7)?;
        a.clac()?;
        a.mov(qword_ptr(rbx + 8), 9)
    });
    for strategy in STRATEGIES {
        for (code, error) in [(&read, 1), (&write, 3)] {
            let mut cpu = kernel(strategy, code, SMAP);
            assert!(cpu.ram().write_u64(DATA, 7));
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0]), (PF, error), "{strategy:?}");
            assert!(frame[1] > CODE + 10, "the access with AC went through");
            assert_eq!(cpu.ram().read_u64(DATA + 8), Some(7));
            assert_eq!(cpu.state().cr2, DATA + if error == 3 { 8 } else { 0 });
        }
    }
}

#[test]
fn without_smap_or_for_supervisor_pages_ac_means_nothing() {
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rsp))?;
        a.push(rax)?;
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel(strategy, &code, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().rip, CODE + code.len() as u64);
        let mut cpu = kernel(strategy, &code, SMAP);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], cpu.state().cr2), (PF, 1, DATA), "the stack is the supervisor's");
        assert_eq!(frame[4], STACK - 8);
    }
}

#[test]
fn ac_does_not_lift_smap_for_the_processors_own_accesses() {
    let code = assemble(|a| {
        a.stac()?;
        a.mov(eax, 0x18)?;
        a.mov(ds, eax)
    });
    for strategy in STRATEGIES {
        for (enabled, table) in [(SMAP, DATA), (0, DATA), (SMAP, GDT)] {
            let mut cpu = kernel(strategy, &[code.as_slice(), &[0xf4]].concat(), enabled);
            let ram = cpu.ram().clone();
            for i in 0..10 {
                assert!(ram.write_u64(DATA + i * 8, ram.read_u64(GDT + i * 8).unwrap()));
            }
            // The #PF handler's code segment lies in the table too: only the IDT gate of #DF leads anywhere.
            let mut state = cpu.state();
            state.gdtr.base = table;
            cpu.set_state(&state);
            if (enabled, table) == (SMAP, DATA) {
                assert_eq!(cpu.run(), Exit::TripleFault, "no handler can be entered");
                assert_eq!((cpu.state().cr2, cpu.state().rip), (DATA + 0x10, CODE + 8));
            } else {
                assert_eq!(cpu.run(), Exit::Halt);
                assert_eq!(cpu.state().ds.selector, 0x18);
            }
        }
    }
}

#[test]
fn a_users_access_is_not_the_supervisors() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.int3()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[], 3);
        for i in 0..2 {
            assert!(cpu.ram().write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x83));
        }
        assert!(cpu.ram().write(DATA + 0x1000, &code) && cpu.ram().write_u64(DATA, 5));
        common::set_gate(&cpu, 3, 1, 3);
        let mut state = cpu.state();
        (state.rip, state.cr4) = (DATA + 0x1000, state.cr4 | SMAP | SMEP);
        cpu.set_state(&state);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], cpu.state().gprs[0]), (3, DATA + 0x1000 + code.len() as u64, 5));
        assert_eq!(cpu.state().gprs[4], IST1 - 40);
    }
}

#[test]
fn smep_keeps_the_supervisor_from_executing_user_pages() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.jmp(rbx)
    });
    for strategy in STRATEGIES {
        for enabled in [SMEP, 0] {
            let mut cpu = kernel(strategy, &code, enabled);
            assert!(cpu.ram().write(DATA, &[0xf4]));
            if enabled == 0 {
                assert_eq!(cpu.run(), Exit::Halt);
                assert_eq!(cpu.state().rip, DATA + 1);
                continue;
            }
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!((vector, frame[0], frame[1], cpu.state().cr2), (PF, 0x11, DATA, DATA));
        }
    }
}

#[test]
fn stac_and_clac_are_the_supervisors() {
    for strategy in STRATEGIES {
        for (last, ac) in [(0xcb, AC), (0xca, 0)] {
            let code = [0x0f, 0x01, last, 0xf4];
            let mut cpu = kernel_machine(strategy, &code, 0);
            let mut state = cpu.state();
            state.rflags ^= AC ^ ac;
            cpu.set_state(&state);
            assert_eq!(cpu.run(), Exit::Halt);
            assert_eq!(cpu.state().rflags & AC, ac);
            let mut cpu = kernel_machine(strategy, &code, 3);
            assert_eq!(run_to_handler(&mut cpu).0, 6);
        }
    }
}

#[test]
fn umip_hides_system_registers_from_users() {
    let forms: [&[u8]; 5] = [
        &[0x0f, 0x01, 0x03], // sgdt [rbx]
        &[0x0f, 0x01, 0x0b], // sidt [rbx]
        &[0x0f, 0x00, 0xc0], // sldt eax
        &[0x0f, 0x00, 0xc8], // str eax
        &[0x0f, 0x01, 0xe0], // smsw eax
    ];
    for strategy in STRATEGIES {
        for form in forms {
            for (enabled, cpl) in [(UMIP, 3), (UMIP, 0), (0, 3)] {
                let code = [form, &[0x0f, 0x0b]].concat(); // ud2
                let mut cpu = kernel_machine(strategy, &code, cpl);
                let mut state = cpu.state();
                (state.cr4, state.gprs[3]) = (state.cr4 | enabled, DATA);
                cpu.set_state(&state);
                let (vector, frame) = run_to_handler(&mut cpu);
                if cpl == 3 && enabled != 0 {
                    assert_eq!((vector, frame[0], frame[1]), (13, 0, CODE), "{form:02x?}");
                } else {
                    assert_eq!((vector, frame[0]), (6, CODE + 3), "{form:02x?}");
                }
            }
        }
    }
}

#[test]
fn the_supervisor_reaches_the_last_bytes_of_a_page() {
    let code = assemble(|a| {
        a.mov(rbx, DATA + 0xff8)?;
        a.mov(rax, 0x1122_3344_5566_7788_u64)?;
        a.mov(qword_ptr(rbx), rax)?;
        a.mov(cl, byte_ptr(rbx + 7))?;
        a.mov(byte_ptr(rbx + 7), 0x99_i32)?;
        a.mov(dx, word_ptr(rbx + 6))?;
        a.hlt()
    });
    for (strategy, smap) in STRATEGIES.into_iter().flat_map(|strategy| [(strategy, 0), (strategy, SMAP)]) {
        let mut cpu = kernel_machine(strategy, &code, 0);
        // All pages are the supervisor's.
        for i in 0..512 {
            assert!(cpu.ram().write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x83));
        }
        let mut state = cpu.state();
        state.cr4 |= smap;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        let gprs = cpu.state().gprs;
        assert_eq!((gprs[1] & 0xff, gprs[2] & 0xffff), (0x11, 0x9922), "{strategy:?} {smap:x}");
    }
}

#[test]
fn what_a_user_has_looked_up_is_no_answer_for_the_supervisor() {
    let user = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx + 16), rax)?;
        a.syscall()
    });
    let supervisor = assemble(|a| {
        a.mov(rdx, qword_ptr(rbx))?;
        a.mov(rsi, qword_ptr(rbx + 8))?;
        a.mov(qword_ptr(rbx + 16), rsi)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &supervisor, 3);
        assert!(cpu.ram().write(DATA + 0x1000, &user));
        for (i, value) in [0x1111_1111_1111_1111, 0x2222_2222_2222_2222].into_iter().enumerate() {
            assert!(cpu.ram().write_u64(DATA + 8 * i as u64, value));
        }
        let mut state = cpu.state();
        state.rip = DATA + 0x1000;
        state.efer |= 1;
        (state.msrs.lstar, state.msrs.star) = (CODE, 0x0023_0010_0000_0000);
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt, "{strategy:?}");
        let gprs = cpu.state().gprs;
        assert_eq!((gprs[2], gprs[6]), (0x1111_1111_1111_1111, 0x2222_2222_2222_2222), "{strategy:?}");
        assert_eq!(cpu.ram().read_u64(DATA + 16), Some(0x2222_2222_2222_2222), "{strategy:?}");
    }
}
