//! Clocks: when this process was started, and how fast the time-stamp counter runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The environment variable in which a parent tells a run's process when it started it: [`monotonic_ns`] just before
/// the spawn, in decimal. Engines that live in the run's own process count start-up from there.
pub const SPAWNED_AT_ENV: &str = "EVLAB_SPAWNED_AT_NS";

/// A start longer ago than this is not believed.
const OLDEST_START: Duration = Duration::from_secs(600);

/// `CLOCK_MONOTONIC`, nanoseconds. All processes of a host share it.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A moment of the past as [`monotonic_ns`] would have told it then.
pub(super) fn monotonic_at(then: Instant) -> u64 {
    let ago = u64::try_from(then.elapsed().as_nanos()).unwrap_or(u64::MAX);
    monotonic_ns().saturating_sub(ago)
}

/// When this process was started, by its parent's word; without it, now. The word holds for the first run only.
pub(super) fn process_start() -> Instant {
    static USED: AtomicBool = AtomicBool::new(false);
    let now = Instant::now();
    if USED.swap(true, Ordering::Relaxed) {
        return now;
    }
    std::env::var(SPAWNED_AT_ENV)
        .ok()
        .and_then(|word| since_start(&word, monotonic_ns()))
        .and_then(|age| now.checked_sub(age))
        .unwrap_or(now)
}

/// How long ago the start was that `word` states, if that is believable.
fn since_start(word: &str, now_ns: u64) -> Option<Duration> {
    let start: u64 = word.parse().ok()?;
    now_ns.checked_sub(start).map(Duration::from_nanos).filter(|&age| age <= OLDEST_START)
}

/// Measures the frequency of the time-stamp counter over the length of a run.
///
/// `rdtsc` counts at a constant rate on every x86-64 CPU of the last decade (invariant TSC); the rate is measured since
/// neither CPUID nor Linux states it everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TscClock {
    /// The host's counter, measured since then.
    Host(Sample),
    /// A counter of known frequency, Hz.
    Known(f64),
}

/// The counter at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    tsc: u64,
    at: Instant,
}

impl TscClock {
    /// Shortest time over which the frequency is measured: the error of both samples, about 50 ns, stays below 15 ppm.
    const SPAN: Duration = Duration::from_millis(4);

    /// Starts to measure.
    pub(crate) fn start() -> Self {
        Self::Host(Sample::take())
    }

    /// The counter of a guest whose own time passes: one tick for each instruction, which takes so many nanoseconds.
    pub(crate) fn of_guest_time(instruction_ns: u32) -> Self {
        Self::Known(1e9 / f64::from(instruction_ns.max(1)))
    }

    /// The frequency, Hz. Waits where less than 4 ms have passed since the start.
    pub(crate) fn hz(&self) -> f64 {
        let begin = match self {
            Self::Host(begin) => begin,
            Self::Known(hz) => return *hz,
        };
        // Parking is a wait that threads need anyway, so that the sandbox needs no rule for sleeping.
        while let Some(rest) = Self::SPAN.checked_sub(begin.at.elapsed()).filter(|rest| !rest.is_zero()) {
            std::thread::park_timeout(rest);
        }
        let end = Sample::take();
        let ticks = end.tsc.saturating_sub(begin.tsc);
        ticks as f64 / end.at.duration_since(begin.at).as_secs_f64()
    }
}

impl Sample {
    /// Reads both clocks as close together as three attempts allow.
    fn take() -> Self {
        let attempt = || {
            let before = Instant::now();
            let tsc = read_tsc();
            let gap = before.elapsed();
            (gap, Self { tsc, at: before + gap / 2 })
        };
        let (mut gap, mut best) = attempt();
        for _ in 0..2 {
            let (next_gap, next) = attempt();
            if next_gap < gap {
                (gap, best) = (next_gap, next);
            }
        }
        best
    }
}

/// Reads the time-stamp counter.
fn read_tsc() -> u64 {
    // SAFETY: every x86-64 CPU has `rdtsc`, and Linux lets programs execute it unless a process forbade it for itself.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Converts ticks of a counter that runs at `hz` into nanoseconds.
pub(super) fn ticks_to_ns(ticks: u64, hz: f64) -> Option<u64> {
    (hz > 0.0).then(|| (ticks as f64 * 1e9 / hz).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_believed_if_it_is_recent_and_past() {
        let now = 1_000_000_000_000;
        assert_eq!(since_start("999999999990", now), Some(Duration::from_nanos(10)));
        assert_eq!(since_start("1000000000001", now), None, "in the future");
        assert_eq!(since_start("1000", now), None, "longer ago than a run can have been prepared");
        assert_eq!(since_start("soon", now), None);
        assert_eq!(since_start("", now), None);
    }

    #[test]
    fn the_counter_and_the_clock_agree() {
        let clock = TscClock::start();
        let first = clock.hz();
        let second = clock.hz();
        assert!(first > 1e8 && first < 1e11, "{first}");
        assert!((first / second - 1.0).abs() < 0.01, "{first} {second}");
    }

    #[test]
    fn ticks_become_nanoseconds() {
        assert_eq!(ticks_to_ns(3_000, 3e9), Some(1_000));
        assert_eq!(ticks_to_ns(1, 0.0), None);
    }

    #[test]
    fn a_moment_keeps_its_place_on_the_shared_clock() {
        let (before, then, after) = (monotonic_ns(), Instant::now(), monotonic_ns());
        std::thread::sleep(Duration::from_millis(5));
        let told = monotonic_at(then);
        let slack = 1_000_000;
        assert!(told + slack >= before && told <= after + slack, "{before} {told} {after}");
    }

    #[test]
    fn monotonic_time_does_not_run_backwards() {
        let before = monotonic_ns();
        assert!(before > 0 && monotonic_ns() >= before);
    }
}
