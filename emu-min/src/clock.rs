//! The time-stamp counter: the host's, or one that counts the guest's own instructions.

use crate::core::Core;

/// What the time-stamp counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// What the host's counts: time passes in the guest as it does outside.
    #[default]
    Host,
    /// Instructions that the guest has retired, one tick each, and what [`Cpu::skip_time`](crate::Cpu::skip_time) added: the
    /// guest sees the same time in every run, on every host.
    Instructions,
}

impl Core {
    /// The guest's time-stamp counter; `done` is how many instructions of the current block came before this one, which
    /// `icount` does not hold yet.
    pub(crate) fn tsc(&self, done: u8) -> u64 {
        let ticks = match self.clock {
            // SAFETY: RDTSC exists on every x86-64 processor and has no other effect.
            Clock::Host => unsafe { core::arch::x86_64::_rdtsc() },
            Clock::Instructions => self.icount.wrapping_add(u64::from(done)),
        };
        ticks.wrapping_add(self.tsc_offset)
    }
}
