//! Exceptions and interrupts: vectors, error codes, stack frames, nesting, privilege changes.

mod common;

use common::{
    CODE, DATA, HANDLERS, IST1, KERNEL_CS, RSP0, STACK, STRATEGIES, TABLES, USER_CS, USER_DS, assemble, kernel_machine,
    run_to_handler, set_gate,
};
use emu_min::Exit;
use iced_x86::code_asm::*;

/// A page of its own, so that a test can change its rights: the 2 MiB page at DATA.
const DATA_PDE: u64 = TABLES + 0x2000 + (DATA >> 21) * 8;

const PF: u64 = 14;
const GP: u64 = 13;

#[test]
fn page_faults_carry_cr2_and_the_exact_error_code() {
    let read = assemble(|a| {
        a.mov(rbx, DATA + 0x123)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    let write = assemble(|a| {
        a.mov(rbx, DATA + 0x123)?;
        a.add(qword_ptr(rbx), 1)
    });
    let jump = assemble(|a| {
        a.mov(rbx, DATA + 0x123)?;
        a.jmp(rbx)
    });
    let frame = DATA;
    // Code, privilege, page-directory entry, error code (None: no fault at the access).
    let cases: [(&[u8], u8, u64, Option<u64>); 14] = [
        (&read, 0, 0, Some(0)),
        (&read, 3, 0, Some(4)),
        (&write, 0, 0, Some(2)),
        (&write, 3, 0, Some(6)),
        (&read, 3, frame | 0x83, Some(5)),
        (&write, 3, frame | 0x83, Some(7)),
        (&write, 3, frame | 0x85, Some(7)),
        (&write, 0, frame | 0x81, Some(3)), // CR0.WP
        (&read, 3, frame | 0x85, None),
        (&read, 0, frame | 0x81, None),
        (&jump, 3, frame | 0x87 | 1 << 63, Some(0x15)),
        (&jump, 0, frame | 0x83 | 1 << 63, Some(0x11)),
        (&jump, 3, 0, Some(0x14)),
        (&read, 0, frame | 0x83 | 1 << 50, Some(9)), // a reserved bit
    ];
    for strategy in STRATEGIES {
        for (code, cpl, entry, error) in cases {
            let mut cpu = kernel_machine(strategy, code, cpl);
            assert!(cpu.ram().write_u64(DATA_PDE, entry));
            let Some(error) = error else {
                assert_eq!(cpu.run(), Exit::Halt);
                assert_eq!(cpu.counters().exceptions[PF as usize], 0, "{entry:x} at {cpl}");
                continue;
            };
            let (vector, frame) = run_to_handler(&mut cpu);
            let state = cpu.state();
            assert_eq!((vector, frame[0], state.cr2), (PF, error, DATA + 0x123), "{entry:x} at {cpl}");
            assert_eq!(frame[1], if code == jump { DATA + 0x123 } else { CODE + 10 });
            assert_eq!(frame[2] & 3, u64::from(cpl));
            assert_eq!(frame[4], STACK);
            assert_eq!(state.gprs[0], 0, "a faulting load changes nothing");
        }
    }
}

#[test]
fn accessed_and_dirty_bits_follow_use() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()?;
        a.mov(qword_ptr(rbx), rax)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        assert_eq!(cpu.ram().read_u64(DATA_PDE).unwrap() & 0x60, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.ram().read_u64(DATA_PDE).unwrap() & 0x60, 0x20);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.ram().read_u64(DATA_PDE).unwrap() & 0x60, 0x60);
    }
}

#[test]
fn a_page_crossing_store_that_faults_changes_nothing() {
    let code = assemble(|a| {
        a.mov(rbx, DATA + 0x20_0000 - 4)?;
        a.mov(rax, u64::MAX)?;
        a.mov(qword_ptr(rbx), rax)
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        assert!(cpu.ram().write_u64(DATA_PDE + 8, 0));
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], cpu.state().cr2), (PF, 6, DATA + 0x20_0000));
        assert_eq!(cpu.ram().read_u64(DATA + 0x20_0000 - 8), Some(0));
    }
}

#[test]
fn instruction_faults_have_their_vectors() {
    let cases: [(&[u8], u64, Option<u64>); 9] = [
        (&[0x31, 0xc9, 0xf7, 0xf1], 0, None), // xor ecx, ecx; div ecx
        (&[0x0f, 0x0b], 6, None),             // ud2
        (&[0xc5, 0xf8, 0x58, 0xc0], 6, None), // vaddps: AVX is not on
        (&[0xf4], GP, Some(0)),               // hlt in ring 3
        (&[0x0f, 0x20, 0xc0], GP, Some(0)),   // mov rax, cr0
        (&[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8a, 0], GP, Some(0)), // mov al, [0x8000...]: not canonical
        (&[0xe6, 0x80], GP, Some(0)),         // out 0x80, al
        (&[0xcd, 0x80], GP, Some(0x80 * 8 + 2)), // int 0x80 through a DPL-0 gate
        (&[0x0f, 0x28, 0x04, 0x25, 1, 0, 0, 2], GP, Some(0)), // movaps xmm0, [0x2000001]
    ];
    for strategy in STRATEGIES {
        for (code, expected, error) in cases {
            let mut cpu = kernel_machine(strategy, code, 3);
            let (vector, frame) = run_to_handler(&mut cpu);
            assert_eq!(vector, expected, "{code:02x?}");
            if let Some(error) = error {
                assert_eq!(frame[0], error, "{code:02x?}");
            }
            let rip = frame[usize::from(error.is_some())];
            assert!((CODE..CODE + code.len() as u64).contains(&rip), "{code:02x?}: {rip:x}");
            assert_eq!(cpu.state().gprs[4], RSP0 - 40 - 8 * u64::from(error.is_some()));
        }
    }
}

#[test]
fn undefined_instructions_are_counted_by_name() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0x0f, 0xc7, 0xf0], 3);
        run_to_handler(&mut cpu);
        let counters = cpu.counters();
        assert_eq!(counters.undefined.get("rdrand"), Some(&1));
        assert!(counters.iter().any(|(name, n)| name == "exception.ud" && n == 1));
    }
}

#[test]
fn double_and_triple_faults() {
    for strategy in STRATEGIES {
        // #GP whose gate is not present gives #NP: both contributory, so #DF, on its own stack.
        let mut cpu = kernel_machine(strategy, &[0xf4], 3);
        assert!(cpu.ram().write_u64(common::IDT + GP * 16, 0x0000_0e00_0010_0000));
        set_gate(&cpu, 8, 1, 0);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], frame[1]), (8, 0, CODE));
        assert_eq!(cpu.state().gprs[4], IST1 - 48);
        // Without an IDT at all there is no way out.
        let mut cpu = kernel_machine(strategy, &[0xf4], 3);
        let mut state = cpu.state();
        state.idtr.limit = 0;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::TripleFault);
        assert_eq!(cpu.state().rip, CODE);
    }
}

#[test]
fn software_interrupts_return_behind_the_instruction() {
    for strategy in STRATEGIES {
        for (code, vector) in [(&[0xcc][..], 3), (&[0xcd, 0x80], 0x80)] {
            let mut cpu = kernel_machine(strategy, code, 3);
            set_gate(&cpu, vector, 0, 3);
            let (seen, frame) = run_to_handler(&mut cpu);
            assert_eq!((seen, frame[0]), (vector, CODE + code.len() as u64));
            assert_eq!([frame[1], frame[4]], [USER_CS, USER_DS]);
            // The handler's HLT counts too.
            assert_eq!(cpu.counters().instructions, 2);
        }
    }
}

#[test]
fn iretq_returns_to_the_interrupted_program() {
    let code = assemble(|a| {
        a.mov(rax, 7_u64)?;
        a.int3()?;
        a.add(rax, 1)?;
        a.ud2()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        set_gate(&cpu, 3, 0, 3);
        assert!(cpu.ram().write(HANDLERS + 3 * 16, &[0x48, 0xcf])); // iretq
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!(vector, 6);
        assert_eq!((cpu.state().gprs[0], frame[3]), (8, STACK));
    }
}

#[test]
fn interrupts_wait_for_if_and_for_the_sti_shadow() {
    let code = assemble(|a| {
        a.cli()?;
        a.nop()?;
        a.sti()?;
        a.inc(rax)?; // in the shadow
        a.inc(rax)?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        assert!(!cpu.interrupts_enabled());
        cpu.inject_interrupt(0x40);
        cpu.request_irq_window(true);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0]), (0x40, CODE + 6), "after sti and one inc");
        assert_eq!(cpu.state().gprs[0], 1);
        assert_eq!(cpu.state().rflags & 0x200, 0);
        assert_eq!(cpu.counters().interrupt, 1);
        // The window is still wanted: IRET opens it.
        assert!(cpu.ram().write(HANDLERS + 0x40 * 16 + 1, &[0x48, 0xcf]));
        cpu.flush_code();
        assert_eq!(cpu.run(), Exit::IrqWindow);
        assert_eq!(cpu.state().rip, CODE + 6);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.state().gprs[0], 2);
    }
}

#[test]
fn the_trap_flag_steps_one_instruction() {
    let code = assemble(|a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), 0x100)?;
        a.popfq()?;
        a.inc(rax)?;
        a.inc(rax)
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, cpu.state().gprs[0]), (1, 1));
        assert_eq!(frame[2] & 0x100, 0x100);
        assert_eq!(cpu.state().rflags & 0x100, 0);
        assert_eq!(cpu.state().dr[4] & 1 << 14, 1 << 14);
    }
}

#[test]
fn the_io_bitmap_opens_single_ports() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0xe6, 0x80, 0xe7, 0x80], 3); // out 0x80, al; out 0x80, eax
        assert!(cpu.ram().write(common::TSS + 104 + 0x10, &[0xfe]));
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0 });
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[1]), (GP, CODE + 2), "four ports need four bits");
    }
}

#[test]
fn syscall_and_sysret_switch_privilege_and_flags() {
    let kernel = CODE + 0x100;
    let mut code = assemble(|a| {
        a.stc()?;
        a.syscall()?;
        a.ud2()
    });
    code.resize(0x100, 0x90);
    code.extend(assemble(|a| {
        a.mov(rbx, cs)?;
        a.pushfq()?;
        a.pop(rbp)?;
        a.swapgs()?;
        a.sysretq()
    }));
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        let mut state = cpu.state();
        state.msrs.star = 0x0023_0010 << 32;
        state.msrs.lstar = kernel;
        state.msrs.fmask = 0x201;
        state.msrs.kernel_gs_base = 0x1234_5000;
        state.rflags |= 0x200;
        cpu.set_state(&state);
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[0], frame[1], frame[4]), (6, CODE + 3, USER_CS, USER_DS));
        let state = cpu.state();
        assert_eq!(state.gprs[3], KERNEL_CS);
        assert_eq!(state.gprs[5] & 0x201, 0, "masked by FMASK");
        assert_eq!(frame[2] & 0x201, 0x201, "restored from R11");
        assert_eq!((state.gs.base, state.msrs.kernel_gs_base), (0x1234_5000, 0));
        assert_eq!(state.gprs[1], CODE + 3);
    }
}
