//! Vector instructions where the oracle does not reach: devices, single faults in the middle, and what the system turns
//! off.

mod common;

use common::{CODE, DATA, RAM, STRATEGIES, TABLES, assemble, kernel_machine, machine, run_to_handler};
use emu_min::{Cpu, Exit, Model};
use iced_x86::code_asm::*;

/// The first address behind RAM that the identity map reaches.
const OUTSIDE: u64 = RAM as u64;
const UD: u64 = 6;
const NM: u64 = 7;
const PF: u64 = 14;
const CR0_TS: u64 = 1 << 3;
const CR4_OSXSAVE: u64 = 1 << 18;

fn skips() -> bool {
    let skips = Model::highest() < Model::V3;
    if skips {
        eprintln!("skipped: this host has no model v3");
    }
    skips
}

/// Turns AVX on, with these values in YMM0 (destination), YMM1 (indices) and YMM2 (mask).
fn prepare(cpu: &mut Cpu, values: [[u128; 2]; 3]) {
    let mut state = cpu.state();
    state.cr4 |= CR4_OSXSAVE;
    state.xcr0 = 7;
    for (i, [low, high]) in values.into_iter().enumerate() {
        (state.xmm[i], state.ymm_high[i]) = (low, high);
    }
    cpu.set_state(&state);
}

/// Doublewords, the first in the lowest bits.
fn doublewords(values: [u32; 4]) -> u128 {
    values.iter().rev().fold(0, |sum, &value| sum << 32 | u128::from(value))
}

#[test]
fn a_gather_reads_a_device_once_for_each_element() {
    if skips() {
        return;
    }
    let code = assemble(|a| {
        a.mov(rsi, OUTSIDE)?;
        a.db(&[0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8e])?; // vpgatherdd xmm0, [rsi + xmm1 * 4], xmm2
        a.hlt()
    });
    for strategy in STRATEGIES {
        let mut cpu = machine(strategy, &code, 0);
        let before = [doublewords([1, 2, 3, 4]), 5];
        let to_ram = (DATA.wrapping_sub(OUTSIDE) as i64 / 4) as u32;
        prepare(
            &mut cpu,
            [before, [doublewords([0, to_ram, 1, 2]), 0], [doublewords([1 << 31, u32::MAX, u32::MAX, 0]), 9]],
        );
        assert!(cpu.ram().write_u64(DATA, 0x77));
        assert_eq!(cpu.run(), Exit::MmioRead { gpa: OUTSIDE, size: 4 });
        // Nothing is complete before all is, so that the instruction can start again.
        assert_eq!(cpu.state().xmm[0], before[0]);
        cpu.complete_mmio_read(0x10);
        assert_eq!(cpu.run(), Exit::MmioRead { gpa: OUTSIDE + 4, size: 4 });
        cpu.complete_mmio_read(0x20);
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!((state.xmm[0], state.ymm_high[0]), (doublewords([0x10, 0x77, 0x20, 4]), 0));
        assert_eq!((state.xmm[2], state.ymm_high[2]), (0, 0));
    }
}

#[test]
fn a_gather_that_faults_goes_on_where_it_was() {
    if skips() {
        return;
    }
    let code = assemble(|a| {
        a.mov(rsi, DATA)?;
        a.db(&[0xc4, 0xe2, 0xed, 0x91, 0x04, 0x0e])?; // vpgatherqq ymm0, [rsi + ymm1], ymm2
        a.hlt()
    });
    let absent = TABLES + 0x2000 + ((DATA + 0x20_0000) >> 21) * 8;
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        let ones = u128::MAX;
        prepare(&mut cpu, [[3, 4], [8 | 0x20_0000 << 64, 0], [ones, ones]]);
        assert!(cpu.ram().write_u64(DATA + 8, 0x11) && cpu.ram().write_u64(DATA, 0x33));
        assert!(cpu.ram().write_u64(DATA + 0x20_0000, 0x22));
        let entry = cpu.ram().read_u64(absent).unwrap();
        assert!(cpu.ram().write_u64(absent, 0));
        let (vector, frame) = run_to_handler(&mut cpu);
        assert_eq!((vector, frame[1], cpu.state().cr2), (PF, CODE + 10, DATA + 0x20_0000));
        let state = cpu.state();
        assert_eq!((state.xmm[0], state.ymm_high[0]), (0x11, 4));
        assert_eq!((state.xmm[2], state.ymm_high[2]), (ones << 64, ones));
        // The handler maps the page and returns.
        assert!(cpu.ram().write_u64(absent, entry));
        let mut state = state;
        state.rip = frame[1];
        cpu.set_state(&state);
        assert_eq!(cpu.run(), Exit::Halt);
        let state = cpu.state();
        assert_eq!((state.xmm[0], state.ymm_high[0]), (0x11 | 0x22 << 64, 0x33 | 0x33 << 64));
    }
}

#[test]
fn a_masked_store_that_faults_stores_nothing() {
    if skips() {
        return;
    }
    let code = assemble(|a| {
        a.mov(rsi, DATA + 0x20_0000 - 8)?;
        a.vpmaskmovq(ptr(rsi), xmm2, xmm0)?;
        a.hlt()
    });
    let absent = TABLES + 0x2000 + ((DATA + 0x20_0000) >> 21) * 8;
    for strategy in STRATEGIES {
        let mut cpu = kernel_machine(strategy, &code, 3);
        prepare(&mut cpu, [[1 | 2 << 64, 0], [0; 2], [u128::MAX, 0]]);
        assert!(cpu.ram().write_u64(absent, 0) && cpu.ram().write_u64(DATA + 0x1f_fff8, 0x55));
        assert_eq!(run_to_handler(&mut cpu).0, PF);
        assert_eq!(cpu.ram().read_u64(DATA + 0x1f_fff8), Some(0x55));
        // Without the element that faults, the other is stored.
        let mut cpu = kernel_machine(strategy, &code, 0);
        prepare(&mut cpu, [[1 | 2 << 64, 0], [0; 2], [u128::from(u64::MAX), 0]]);
        assert!(cpu.ram().write_u64(absent, 0));
        assert_eq!(cpu.run(), Exit::Halt);
        assert_eq!(cpu.ram().read_u64(DATA + 0x1f_fff8), Some(1));
    }
}

#[test]
fn the_system_turns_vector_instructions_off() {
    if skips() {
        return;
    }
    let vex = assemble(|a| a.vpaddd(xmm0, xmm1, xmm2));
    let legacy = assemble(|a| a.pabsd(xmm0, xmm1));
    for strategy in STRATEGIES {
        let raised = |code: &[u8], change: fn(&mut emu_min::State)| {
            let mut cpu = kernel_machine(strategy, code, 3);
            prepare(&mut cpu, [[0; 2]; 3]);
            let mut state = cpu.state();
            change(&mut state);
            cpu.set_state(&state);
            run_to_handler(&mut cpu).0
        };
        for code in [&vex, &legacy] {
            assert_eq!(raised(code, |state| state.cr0 |= CR0_TS), NM);
        }
        assert_eq!(raised(&vex, |state| state.cr4 &= !CR4_OSXSAVE), UD);
        assert_eq!(raised(&vex, |state| state.xcr0 = 3), UD);
        assert_eq!(raised(&legacy, |state| state.cr4 &= !0x200), UD);
    }
}
