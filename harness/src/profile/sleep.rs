//! How long a program asks to sleep: by the calls of `nanosleep` that it makes.

use emu_min::Sight;

/// `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// The number of `nanosleep` (Linux, x86-64), passed in RAX.
const NANOSLEEP: u64 = 35;
const RAX: usize = 0;
const NS_PER_S: u64 = 1_000_000_000;

/// Calls, and the nanoseconds that they ask for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sleeps {
    pub(super) calls: u64,
    pub(super) asked_ns: u64,
}

impl Sleeps {
    /// A way into the kernel, maybe such a call.
    pub(super) fn see(&mut self, sight: &Sight<'_>) {
        if !sight.ring3 || sight.bits != 64 || sight.registers[RAX] != NANOSLEEP || !sight.code.starts_with(&SYSCALL) {
            return;
        }
        // RDI points to seconds and nanoseconds (nanosleep(2)); the kernel refuses a call whose structure cannot be read.
        let mut time = [[0; 8]; 2];
        if sight.memory.read(sight.registers[super::DESTINATION], time.as_flattened_mut()) < 16 {
            return;
        }
        let [seconds, ns] = time.map(u64::from_le_bytes);
        self.calls += 1;
        self.asked_ns = self.asked_ns.saturating_add(seconds.saturating_mul(NS_PER_S).saturating_add(ns));
    }
}
