//! Debug registers: breakpoints on instructions, data and ports, general detect, the single-step trap and the resume
//! flag (Intel SDM volume 3, 18.2 and 18.3).

mod common;

use common::{CODE, DATA, HANDLERS, STRATEGIES, assemble, kernel_machine, run_to_handler};
use emu_min::{Cpu, Exit, Strategy};
use iced_x86::code_asm::*;

const DE: u64 = 1 << 3;
const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;
/// Conditions in DR6.
const BD: u64 = 1 << 13;
const BS: u64 = 1 << 14;
const CONDITIONS: u64 = 0xe00f;
/// R/W and LEN of breakpoint 0 in DR7, with L0.
const EXECUTE: u64 = 1;
const WRITE4: u64 = 1 | 1 << 16 | 3 << 18;
const WRITE8: u64 = 1 | 1 << 16 | 2 << 18;
const PORT1: u64 = 1 | 2 << 16;
const ACCESS2: u64 = 1 | 3 << 16 | 1 << 18;

/// Ring 0 with DR0 and DR7. The handler of #DB halts, and if run on returns with RF set.
fn armed(strategy: Strategy, code: &[u8], address: u64, control: u64) -> Cpu {
    let mut cpu = kernel_machine(strategy, code, 0);
    let handler = [0xf4, 0x81, 0x4c, 0x24, 0x10, 0, 0, 1, 0, 0x48, 0xcf]; // hlt; or dword [rsp+16], RF; iretq
    assert!(cpu.ram().write(HANDLERS + 16, &handler));
    let mut state = cpu.state();
    (state.dr[0], state.dr[5]) = (address, control | 0x400);
    cpu.set_state(&state);
    cpu
}

/// Runs to the handler of #DB; the address and RFLAGS that it returns to, and the conditions met.
fn run_to_trap(cpu: &mut Cpu) -> (u64, u64, u64) {
    let (vector, frame) = run_to_handler(cpu);
    assert_eq!(vector, 1);
    (frame[0], frame[2], cpu.state().dr[4] & CONDITIONS)
}

#[test]
fn an_instruction_breakpoint_is_a_fault_that_rf_lets_pass_once() {
    let code = assemble(|a| {
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.inc(eax)?;
        a.inc(eax)?; // the breakpoint
        a.jmp(top)
    });
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, CODE + 2, EXECUTE);
        for round in 0..3 {
            let (rip, rflags, met) = run_to_trap(&mut cpu);
            assert_eq!((rip, rflags & RF, met), (CODE + 2, 0, 1));
            assert_eq!(cpu.state().gprs[0], round * 2 + 1);
        }
    }
}

#[test]
fn data_breakpoints_trap_behind_the_access() {
    let write = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(rax, qword_ptr(rbx))?; // caches the page
        a.mov(qword_ptr(rbx), 7)?;
        a.hlt()
    });
    let read = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(qword_ptr(rbx + 64), 7)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    // Code, address, DR7, whether it traps.
    let cases = [
        (&write, DATA, WRITE8, true),
        (&write, DATA + 4, WRITE4, true),
        (&write, DATA + 6, WRITE4, true), // the low bits do not count
        (&write, DATA + 8, WRITE4, false),
        (&write, DATA, WRITE8 & !1, false),
        (&write, DATA, WRITE8 & !1 | 2, true), // G0
        (&read, DATA, WRITE8, false),
        (&read, DATA + 7, ACCESS2, true),
        (&read, DATA + 8, ACCESS2, false),
    ];
    for strategy in STRATEGIES {
        for (i, (code, address, control, traps)) in cases.into_iter().enumerate() {
            let mut cpu = armed(strategy, code, address, control);
            let end = CODE + code.len() as u64;
            if traps {
                let (rip, rflags, met) = run_to_trap(&mut cpu);
                // The first instruction that touches the address is the write; a read of it comes before.
                assert_eq!((rip, rflags & RF, met), (end - 1, 0, 1), "case {i}");
            } else {
                assert_eq!(cpu.run(), Exit::Halt);
                assert_eq!((cpu.state().rip, cpu.state().dr[4] & CONDITIONS), (end, 0), "case {i}");
            }
        }
    }
}

#[test]
fn a_breakpoint_set_by_the_guest_sees_pages_that_were_cached() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(qword_ptr(rbx), 1)?;
        a.mov(dr0, rbx)?;
        a.mov(eax, WRITE8 as u32)?;
        a.mov(dr7, rax)?;
        a.inc(qword_ptr(rbx))?;
        a.nop()
    });
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, 0, 0);
        let (rip, _, met) = run_to_trap(&mut cpu);
        assert_eq!((rip, met, cpu.ram().read_u64(DATA)), (CODE + code.len() as u64 - 1, 1, Some(2)));
        assert_eq!(cpu.state().dr[5], WRITE8 | 0x400);
    }
}

#[test]
fn a_repetition_traps_after_the_element_that_met_the_condition() {
    let code = assemble(|a| {
        a.mov(rdi, DATA)?;
        a.mov(ecx, 16)?;
        a.rep().stosb()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, DATA + 5, 1 | 1 << 16);
        let (rip, rflags, met) = run_to_trap(&mut cpu);
        let state = cpu.state();
        assert_eq!((rip, met), (CODE + code.len() as u64 - 3, 1));
        assert_eq!((state.gprs[1], state.gprs[7]), (10, DATA + 6));
        assert_eq!(rflags & RF, RF, "18.3.1.1: but for the last iteration");
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!((cpu.state().rip, cpu.state().gprs[1]), (CODE + code.len() as u64, 0));
        assert_eq!(cpu.state().rflags & RF, 0);
    }
}

#[test]
fn port_breakpoints_need_cr4_de() {
    let code = [0xe6, 0x80, 0x90, 0xe4, 0x81, 0x90, 0xf4]; // out 0x80, al; nop; in al, 0x81; nop; hlt
    for strategy in STRATEGIES {
        for enabled in [0, DE] {
            let mut cpu = armed(strategy, &code, 0x80, PORT1 | 1 << 18); // two ports
            let mut state = cpu.state();
            state.cr4 |= enabled;
            cpu.set_state(&state);
            assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0 });
            if enabled != 0 {
                let (rip, _, met) = run_to_trap(&mut cpu);
                assert_eq!((rip, met), (CODE + 2, 1));
            }
            assert_eq!(cpu.run(), Exit::IoIn { port: 0x81, size: 1 });
            cpu.complete_in(0x55);
            if enabled != 0 {
                let (rip, _, met) = run_to_trap(&mut cpu);
                assert_eq!((rip, met, cpu.state().gprs[0]), (CODE + 5, 1, 0x55));
            }
            assert_eq!(cpu.run(), Exit::Halt);
            assert_eq!(cpu.state().rip, CODE + 7);
        }
    }
}

#[test]
fn dr4_and_dr5_are_aliases_unless_cr4_de() {
    let code = [0x0f, 0x21, 0xe0, 0x0f, 0x21, 0xeb, 0xf4]; // mov rax, dr4; mov rbx, dr5; hlt
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, 0, 0);
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!((cpu.state().gprs[0], cpu.state().gprs[3]), (0xffff_0ff0, 0x400));
        let mut cpu = armed(strategy, &code, 0, 0);
        let mut state = cpu.state();
        state.cr4 |= DE;
        cpu.set_state(&state);
        assert_eq!(run_to_handler(&mut cpu).0, 6);
    }
}

#[test]
fn moves_to_debug_registers_have_their_faults() {
    let write = |register: u8| vec![0x0f, 0x23, 0xc0 | register << 3, 0xf4]; // mov drN, rax; hlt
    // Code, level, RAX, vector or none.
    let cases = [
        (write(7), 0, 1 << 32, Some(13)),
        (write(6), 0, 1 << 63, Some(13)),
        (write(3), 0, 1 << 63, None),
        (write(7), 0, 0xffff_0000, None),
        (write(0), 3, 0, Some(13)),
        (vec![0x44, 0x0f, 0x23, 0xc0, 0xf4], 0, 0, Some(6)), // mov dr8, rax
    ];
    for strategy in STRATEGIES {
        for (i, (code, cpl, value, fault)) in cases.iter().cloned().enumerate() {
            let mut cpu = kernel_machine(strategy, &code, cpl);
            let mut state = cpu.state();
            state.gprs[0] = value;
            cpu.set_state(&state);
            match fault {
                Some(vector) => assert_eq!(run_to_handler(&mut cpu).0, vector, "case {i}"),
                None => {
                    assert_eq!(cpu.run(), Exit::Halt);
                    assert_eq!(cpu.state().rip, CODE + code.len() as u64, "case {i}");
                }
            }
        }
    }
}

#[test]
fn general_detect_protects_the_debug_registers_but_from_the_handler() {
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &[0x0f, 0x21, 0xc0], 0, BD); // mov rax, dr0; GD is the bit of BD
        let (rip, rflags, met) = run_to_trap(&mut cpu);
        assert_eq!((rip, rflags & RF, met), (CODE, RF, BD));
        assert_eq!(cpu.state().dr[5], 0x400, "GD is clear in the handler");
    }
}

#[test]
fn one_exception_reports_a_step_and_a_breakpoint() {
    let code = assemble(|a| {
        a.mov(qword_ptr(rbx), 7)?;
        a.nop()
    });
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, DATA, WRITE8);
        let mut state = cpu.state();
        (state.gprs[3], state.rflags) = (DATA, state.rflags | TF);
        cpu.set_state(&state);
        let (rip, rflags, met) = run_to_trap(&mut cpu);
        assert_eq!((rip, rflags & TF, met), (CODE + code.len() as u64 - 1, TF, BS | 1));
        assert_eq!(cpu.counters().exceptions[1], 1);
    }
}

#[test]
fn loading_ss_delays_debug_exceptions_by_an_instruction() {
    // mov ss, [rbx], which meets a breakpoint; then inc eax or int 0x40.
    for strategy in STRATEGIES {
        for (next, trap_at) in [(&[0xff, 0xc0][..], CODE + 4), (&[0xcd, 0x40], HANDLERS + 0x40 * 16)] {
            let code = [&[0x8e, 0x13], next, &[0xff, 0xc0]].concat();
            let mut cpu = armed(strategy, &code, DATA, ACCESS2);
            assert!(cpu.ram().write(DATA, &[0x18, 0]));
            let mut state = cpu.state();
            (state.gprs[0], state.gprs[3]) = (0, DATA);
            // An instruction breakpoint at the next instruction is inhibited altogether.
            (state.dr[1], state.dr[5]) = (CODE + 2, state.dr[5] | 4);
            cpu.set_state(&state);
            let (rip, _, met) = run_to_trap(&mut cpu);
            assert_eq!((rip, met), (trap_at, 1));
        }
        // A single step of MOV SS itself is lost, and of what follows is not.
        let mut cpu = armed(strategy, &[0x8e, 0xd0, 0x90, 0x90], 0, 0);
        let mut state = cpu.state();
        (state.gprs[0], state.rflags) = (0x18, state.rflags | TF);
        cpu.set_state(&state);
        assert_eq!(run_to_trap(&mut cpu), (CODE + 3, TF | 2, BS));
    }
}

#[test]
fn stepping_goes_over_ports_and_wakes_from_hlt() {
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &[0xe6, 0x80, 0x90], 0, 0);
        let mut state = cpu.state();
        state.rflags |= TF;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::IoOut { port: 0x80, size: 1, value: 0 });
        assert_eq!(run_to_trap(&mut cpu).0, CODE + 2);
        let mut cpu = armed(strategy, &[0xf4, 0x90], 0, 0);
        cpu.set_state(&emu_min::State { rflags: 2 | TF, ..cpu.state() });
        assert_eq!(run_to_trap(&mut cpu).0, CODE + 1, "the handler's HLT is the first to halt");
    }
}

#[test]
fn stepping_over_syscall_asks_fmask() {
    let kernel = CODE + 0x100;
    let mut code = assemble(|a| {
        a.syscall()?;
        a.nop()
    });
    code.resize(0x100, 0x90);
    code.extend([0x90, 0x48, 0x0f, 0x07]); // nop; sysretq
    for strategy in STRATEGIES {
        for mask in [TF, 0] {
            let mut cpu = kernel_machine(strategy, &code, 3);
            let mut state = cpu.state();
            (state.msrs.star, state.msrs.lstar, state.msrs.fmask) = (0x0023_0010 << 32, kernel, mask);
            state.rflags |= TF;
            cpu.set_state(&state);
            let (vector, frame) = run_to_handler(&mut cpu);
            // Masked, the trap comes when SYSRET has restored TF: behind the SYSCALL.
            let (rip, cpl) = if mask == TF { (CODE + 2, 3) } else { (kernel, 0) };
            assert_eq!((vector, frame[0], frame[1] & 3), (1, rip, cpl));
        }
    }
}

#[test]
fn popf_clears_rf_and_iret_loads_it() {
    let code = assemble(|a| {
        a.push(0x10002)?;
        a.popfq()?;
        a.nop()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = armed(strategy, &code, CODE + code.len() as u64 - 2, EXECUTE);
        let (rip, rflags, _) = run_to_trap(&mut cpu);
        assert_eq!((rip, rflags & RF), (CODE + code.len() as u64 - 2, 0));
        // The handler returns with RF: no second fault.
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.counters().exceptions[1], 1);
    }
}
