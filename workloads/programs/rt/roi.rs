//! The region of interest (ROI): the part of a run that is timed.

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::fmt::Write;
use core::hint::black_box;

use crate::console::Line;
use crate::syscall;

/// The value of some work and the time it took.
pub struct Timed<T> {
    /// What the work yielded.
    pub value: T,
    /// Ticks of the time-stamp counter between its begin and its end.
    pub ticks: u64,
}

/// Runs the work between the markers `B` and `E`, the time-stamp counter read just inside them.
///
/// The markers go to descriptor 3; where it is not open (a plain run in a shell) they go nowhere.
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
