//! Time stamps cheap enough to take around every exit.
//!
//! The host's time-stamp counter costs about a third of `clock_gettime`. Its frequency is not needed beforehand: spans
//! are summed in ticks, and one pair of (ticks, clock) readings at either end of a run converts the sums.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::cpu::kvm::kvm_tsc_khz;

/// Reads the time-stamp counter.
#[inline]
pub(crate) fn ticks() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    ticks: u64,
}

impl Moment {
    /// Now; the clock is read first, so it is the one to take a timestamp from.
    pub(crate) fn now() -> Self {
        let at = Instant::now();
        Self { at, ticks: ticks() }
    }

    /// On the time-stamp counter.
    pub(crate) const fn ticks(self) -> u64 {
        self.ticks
    }

    /// Nanoseconds per tick between two moments; 1 if the counter stood still.
    pub(crate) fn ns_per_tick(self, later: Self) -> f64 {
        let ns = later.at.saturating_duration_since(self.at).as_nanos() as f64;
        match later.ticks.saturating_sub(self.ticks) {
            0 => 1.0,
            n => ns / n as f64,
        }
    }
}

/// Time for which the counter is watched: the clock's error of some 50 ns is then a few parts per million.
const CALIBRATION: Duration = Duration::from_millis(10);

/// Frequency of the host's time-stamp counter, kHz: KVM's word for it (1 ms), else measured (10 ms); found once per
/// process.
pub fn host_tsc_khz() -> u32 {
    static KHZ: OnceLock<u32> = OnceLock::new();
    *KHZ.get_or_init(|| kvm_tsc_khz().ok().filter(|&khz| khz > 0).unwrap_or_else(measure_khz))
}

fn measure_khz() -> u32 {
    let start = Moment::now();
    std::thread::sleep(CALIBRATION);
    (1e6 / start.ns_per_tick(Moment::now())).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_and_the_clock_agree() {
        let (known, measured) = (host_tsc_khz(), measure_khz());
        assert!((200_000..20_000_000).contains(&known), "{known} kHz");
        assert!(known.abs_diff(measured) < known / 100, "{known} kHz known, {measured} kHz measured");
    }
}
