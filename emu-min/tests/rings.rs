//! Instructions and time by ring: exact at every way from one to the other.

mod common;

use common::{HANDLERS, STRATEGIES, assemble, kernel_machine, set_gate};
use emu_min::Exit;
use iced_x86::code_asm::*;

const ROUNDS: u32 = 200;

fn now() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Runs `rounds` of: three instructions and a way into the kernel in ring 3, and in ring 0 `nop; iretq`.
fn run(entry: &[u8], vector: u64, user_in_round: u64, kernel_in_round: u64, handler: &[u8]) {
    for strategy in STRATEGIES {
        let code = assemble(|a| {
            let mut top = a.create_label();
            a.mov(ecx, ROUNDS)?;
            a.set_label(&mut top)?;
            a.nop()?;
            a.db(entry)?;
            a.dec(ecx)?;
            a.jnz(top)?;
            a.mov(edx, 1)?;
            a.hlt() // #GP
        });
        let mut cpu = kernel_machine(strategy, &code, 3);
        set_gate(&cpu, vector, 0, 3);
        assert!(cpu.ram().write(HANDLERS + vector * 16, handler));
        let start = now();
        let before = cpu.rings(start);
        assert_eq!(cpu.run(), Exit::Halt);
        let end = now();
        let rings = cpu.rings(end);
        let rounds = u64::from(ROUNDS);
        // MOV, the rounds, MOV; and the HLT of the handler of #GP.
        assert_eq!(rings.user.instructions, 2 + rounds * user_in_round, "{strategy:?}");
        assert_eq!(rings.kernel.instructions, rounds * kernel_in_round + 1, "{strategy:?}");
        let counters = cpu.counters();
        assert_eq!(counters.instructions, rings.user.instructions + rings.kernel.instructions, "{strategy:?}");
        assert_eq!(counters.user_instructions, rings.user.instructions, "{strategy:?}");
        let spent = |r: &emu_min::Rings| r.user.ticks + r.kernel.ticks + r.translating;
        assert_eq!(spent(&rings) - spent(&before), end - start, "{strategy:?}: nothing is lost or counted twice");
        assert!(rings.user.ticks > 0 && rings.kernel.ticks > before.kernel.ticks, "{strategy:?}");
    }
}

#[test]
fn a_software_interrupt_belongs_to_the_ring_that_it_leaves() {
    // nop; iretq
    run(&[0xcd, 0x80], 0x80, 4, 2, &[0x90, 0x48, 0xcf]);
}

#[test]
fn a_faulting_instruction_retires_in_no_ring() {
    // ud2, which the handler steps over: add qword [rsp], 2; iretq
    run(&[0x0f, 0x0b], 6, 3, 2, &[0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xcf]);
}

#[test]
fn system_calls_are_told_apart_too() {
    for strategy in STRATEGIES {
        // Ring 3: mov; nop; syscall; ... and back by sysretq, to a loop.
        let code = assemble(|a| {
            let mut top = a.create_label();
            a.mov(ebx, ROUNDS)?;
            a.set_label(&mut top)?;
            a.nop()?;
            a.syscall()?;
            a.dec(ebx)?;
            a.jnz(top)?;
            a.hlt()
        });
        let mut cpu = kernel_machine(strategy, &code, 3);
        let entry = HANDLERS + 0x200 * 16;
        // nop; nop; sysretq
        assert!(cpu.ram().write(entry, &[0x90, 0x90, 0x48, 0x0f, 0x07]));
        let mut state = cpu.state();
        state.efer |= 1;
        (state.msrs.star, state.msrs.lstar) = (0x0023_0010_0000_0000, entry);
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        let rings = cpu.rings(now());
        let rounds = u64::from(ROUNDS);
        assert_eq!(rings.user.instructions, 1 + rounds * 4, "{strategy:?}");
        assert_eq!(rings.kernel.instructions, rounds * 3 + 1, "{strategy:?}");
    }
}

#[test]
fn time_elsewhere_is_nobodys() {
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &[0xf4], 0);
        let start = now();
        let before = cpu.rings(start);
        assert_eq!(cpu.run(), Exit::Halt);
        let left = now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let back = now();
        cpu.away(back - left);
        let rings = cpu.rings(back);
        let spent = |r: &emu_min::Rings| r.user.ticks + r.kernel.ticks + r.translating;
        assert_eq!(spent(&rings) - spent(&before), left - start);
    }
}
