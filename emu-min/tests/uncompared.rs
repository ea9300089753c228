//! Instructions whose answers the oracle cannot compare, for they differ each time: what is defined of them.

mod common;

use common::{STRATEGIES, assemble, kernel_machine, run_to_handler};
use emu_min::Exit;
use iced_x86::code_asm::*;

const GP: u64 = 13;
/// CR4: time stamps, and performance counters in ring 3.
const TSD: u64 = 1 << 2;
const PCE: u64 = 1 << 8;

#[test]
fn time_stamps_go_forward_and_clear_the_upper_halves() {
    let code = assemble(|a| {
        a.mov(rax, -1_i64)?;
        a.mov(rdx, -1_i64)?;
        a.rdtsc()?;
        a.mov(r8, rax)?;
        a.mov(r9, rdx)?;
        a.mov(rcx, -1_i64)?;
        a.rdtscp()?;
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 0);
        let mut state = cpu.state();
        state.msrs.tsc_aux = 0x1234;
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        let gprs = cpu.state().gprs;
        // EDX:EAX of the second, then of the first.
        let [second, first] = [[gprs[2], gprs[0]], [gprs[9], gprs[8]]].map(|[high, low]| {
            assert!(high >> 32 == 0 && low >> 32 == 0, "{high:#x} {low:#x}");
            high << 32 | low
        });
        assert!(second > first);
        assert_eq!(gprs[1], 0x1234);
    }
}

#[test]
fn control_bits_keep_ring_3_from_time_stamps_and_counters() {
    let time = [&[0x0f, 0x31][..], &[0x0f, 0x01, 0xf9]];
    let counter = [0x0f, 0x33];
    for strategy in STRATEGIES {
        for code in time {
            let mut cpu = kernel_machine(strategy, code, 3);
            let mut state = cpu.state();
            state.cr4 |= TSD;
            cpu.set_state(&state);
            assert_eq!(run_to_handler(&mut cpu).0, GP);
        }
        let mut cpu = kernel_machine(strategy, &counter, 3);
        let mut state = cpu.state();
        state.cr4 &= !PCE;
        cpu.set_state(&state);
        assert_eq!(run_to_handler(&mut cpu).0, GP);
    }
}
