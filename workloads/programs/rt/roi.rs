//! The region of interest (ROI): the part of a run that is timed, once or in laps.

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::fmt::Write;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::console::Line;
use crate::{map, syscall};

/// The value of some work and the time it took.
pub struct Timed<T> {
    /// What the work yielded.
    pub value: T,
    /// Ticks of the time-stamp counter between its begin and its end.
    pub ticks: u64,
}

/// How many laps the command line asks for; 0 where it does not speak of them.
static LAPS: AtomicU64 = AtomicU64::new(0);

/// Sets the number of laps.
pub(crate) fn ask_for_laps(laps: u64) {
    LAPS.store(laps, Ordering::Relaxed);
}

/// Runs the work between the markers `B` and `E`, the time-stamp counter read just inside them.
///
/// The markers go to descriptor 3; where it is not open (a plain run in a shell) they go nowhere. This is for work that
/// cannot be done again in the same process.
#[inline]
pub fn roi<T>(work: impl FnOnce() -> T) -> Timed<T> {
    // Opaque on both sides, or the compiler may move work out of the region, or drop it.
    let work = black_box(work);
    syscall::write(syscall::MARKERS, b"B");
    let begin = ticks();
    let value = black_box(work());
    let end = ticks();
    syscall::write(syscall::MARKERS, b"E");
    Timed { value, ticks: end.wrapping_sub(begin) }
}

/// Prepares the state, runs the work on it as [`roi`] does, and again for every further lap that the command line asks for
/// (`laps=K`, [`crate::sizes::LAPS`]). `prepare` must bring the state to where the first lap found it.
///
/// `B` comes before the first lap and `E` after the last, so the ticks of the region hold the preparations in between;
/// those of a lap hold the work alone. If laps were asked for, they are printed once the region has ended.
#[inline]
pub fn laps<S: ?Sized, T>(state: &mut S, prepare: impl Fn(&mut S), work: impl Fn(&mut S) -> T) -> Timed<T> {
    let asked = LAPS.load(Ordering::Relaxed);
    let times: &mut [u64] = if asked == 0 { &mut [] } else { map(asked as usize) };
    // Its pages are there before the first lap.
    times.fill(0);
    prepare(state);
    syscall::write(syscall::MARKERS, b"B");
    let mut last = lap(state, &work);
    let begin = last.begin;
    if let Some((first, others)) = times.split_first_mut() {
        *first = last.ticks();
        for time in others {
            prepare(state);
            last = lap(state, &work);
            *time = last.ticks();
        }
    }
    syscall::write(syscall::MARKERS, b"E");
    for ticks in times {
        let mut line = Line::new();
        // A line never fails.
        let _ = writeln!(line, "lap {ticks}");
        line.write_to(syscall::STDOUT);
    }
    Timed { value: last.value, ticks: last.end.wrapping_sub(begin) }
}

/// One lap.
struct Lap<T> {
    value: T,
    begin: u64,
    end: u64,
}

impl<T> Lap<T> {
    const fn ticks(&self) -> u64 {
        self.end.wrapping_sub(self.begin)
    }
}

/// Runs the work once. Never inlined: all laps must run the same copy of its code, or the second would be as cold as the
/// first.
#[inline(never)]
fn lap<S: ?Sized, T>(state: &mut S, work: &impl Fn(&mut S) -> T) -> Lap<T> {
    // Opaque on both sides, or the compiler may move work out of the region, or drop it.
    let (work, state) = (black_box(work), black_box(state));
    let begin = ticks();
    let value = black_box(work(state));
    Lap { value, begin, end: ticks() }
}

/// The time-stamp counter, read after every earlier instruction has ended and before any later one begins.
#[inline(always)]
fn ticks() -> u64 {
    // SAFETY: lfence and rdtsc need SSE2 and a TSC, which every x86-64 CPU has.
    unsafe {
        _mm_lfence();
        let now = _rdtsc();
        _mm_lfence();
        now
    }
}

/// Prints the two lines that end a run well: the checksum of the work and the ticks it took.
pub fn finish(checksum: u64, ticks: u64) {
    let mut line = Line::new();
    // A line never fails.
    let _ = writeln!(line, "result {checksum:016x}");
    line.write_to(syscall::STDOUT);
    let mut line = Line::new();
    let _ = writeln!(line, "ticks {ticks}");
    line.write_to(syscall::STDOUT);
}
