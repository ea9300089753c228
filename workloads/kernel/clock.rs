//! What time it is: the time-stamp counter, whose frequency the command line says.

use crate::global::Global;
use crate::timer;

const NS_PER_MS: u64 = 1_000_000;
pub const NS_PER_S: u64 = 1_000_000_000;

/// Frequency of the counter; 0: unknown.
static KHZ: Global<u64> = Global::new(0);
/// What is to be added to the time since the counter was 0 to get the time since 1970, ns.
static REALTIME_OFFSET: Global<u64> = Global::new(0);

/// A clock of Linux.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Counts from 1970 if the kernel was told what time it is, else with the counter.
    Realtime,
    /// Counts with the counter.
    Monotonic,
}

impl Clock {
    /// The clock of this number.
    pub fn of(number: u64) -> Option<Self> {
        match number {
            0 | 5 | 11 => Some(Self::Realtime), // and CLOCK_REALTIME_COARSE, CLOCK_TAI
            1..=10 => Some(Self::Monotonic),
            _ => None,
        }
    }

    fn offset(self) -> u64 {
        if self == Self::Realtime { REALTIME_OFFSET.read() } else { 0 }
    }
}

/// Set the counter's frequency, kHz, and the time now, ns since 1970; 0: unknown.
pub fn set(khz: u64, realtime: u64) {
    KHZ.write(khz);
    if realtime != 0 {
        REALTIME_OFFSET.write(realtime.wrapping_sub(since_zero()));
    }
}

/// Whether there is a clock at all.
pub fn is_known() -> bool {
    KHZ.read() != 0
}

/// The time on a clock, ns.
pub fn read(clock: Clock) -> u64 {
    since_zero().wrapping_add(clock.offset())
}

fn since_zero() -> u64 {
    let (ticks, khz) = (timer::now(), KHZ.read());
    if khz == 0 {
        return 0;
    }
    // ticks / kHz = milliseconds; the remainder is below kHz, so neither product overflows.
    (ticks / khz) * NS_PER_MS + ticks % khz * NS_PER_MS / khz
}

/// The value of the counter that many ns from now; the end of time if that is later.
pub fn counter_after(ns: u64) -> u64 {
    let khz = KHZ.read();
    let whole = (ns / NS_PER_MS).saturating_mul(khz);
    // A remainder of ns is a remainder of a tick more: the sleep is never too short.
    whole.saturating_add(ns % NS_PER_MS * khz / NS_PER_MS + 1).saturating_add(timer::now())
}
