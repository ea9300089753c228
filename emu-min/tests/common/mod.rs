//! A bare machine for tests: a little RAM, identity-mapped page tables, code at a fixed address.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate and uses a part of it")]

use emu_min::{Config, Cpu, GuestRam, State, Strategy};

/// Bytes of RAM, all mapped to themselves, writable and executable by users.
pub const RAM: usize = 64 << 20;
/// Where [`machine`] puts the code.
pub const CODE: u64 = 0x10_0000;
/// Top of a stack.
pub const STACK: u64 = 0x30_0000;
/// Data that tests may use.
pub const DATA: u64 = 0x200_0000;
/// Page tables: PML4, PDPT, PD.
pub const TABLES: u64 = 0x1000;

/// Maps the first GiB to itself with 2 MiB pages.
pub fn identity_map(ram: &GuestRam) {
    assert!(ram.write_u64(TABLES, (TABLES + 0x1000) | 7));
    assert!(ram.write_u64(TABLES + 0x1000, (TABLES + 0x2000) | 7));
    for i in 0..512 {
        assert!(ram.write_u64(TABLES + 0x2000 + i * 8, (i << 21) | 0x87));
    }
}

/// A CPU in 64-bit mode at privilege level `cpl`, about to execute `code` at [`CODE`].
pub fn machine(strategy: Strategy, code: &[u8], cpl: u8) -> Cpu {
    let ram = GuestRam::allocate(RAM);
    identity_map(&ram);
    assert!(ram.write(CODE, code));
    let mut cpu = Cpu::new(ram, Config { strategy, ..Config::default() });
    cpu.set_state(&State::long_mode(CODE, STACK, TABLES, cpl));
    cpu
}
