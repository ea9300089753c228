//! Time that is taken from the program: it does nothing but read the time-stamp counter, and every reading that comes much
//! later than they usually do is time that somebody else had.

use core::arch::x86_64::_rdtsc;
use core::fmt::Write;

use rt::{Line, Timed};

/// Ticks of one unit of watching.
const WINDOW: u64 = 1 << 21;
/// A gap of so many usual ones is no longer the loop's own.
const FACTOR: u64 = 16;

/// Watches for so many windows; prints how many ticks were lost.
pub(crate) fn watch(windows: u64) -> Timed<()> {
    let usual = usual_gap();
    let timed = rt::roi(|| {
        let mut lost = 0;
        let mut last = now();
        let end = last.wrapping_add(windows.saturating_mul(WINDOW));
        while last < end {
            let next = now();
            let gap = next.wrapping_sub(last);
            if gap > FACTOR * usual {
                lost += gap - usual;
            }
            last = next;
        }
        lost
    });
    let mut line = Line::new();
    // A line never fails.
    let _ = writeln!(line, "lost {}", timed.value);
    line.write_to(rt::syscall::STDOUT);
    Timed { value: (), ticks: timed.ticks }
}

/// The median of the gaps between readings, of a few hundred.
fn usual_gap() -> u64 {
    let mut gaps = [0; 255];
    let mut last = now();
    // Twice: once for code that must be translated first.
    for _ in 0..2 {
        for gap in &mut gaps {
            let next = now();
            *gap = next.wrapping_sub(last);
            last = next;
        }
        last = now();
    }
    gaps.sort_unstable();
    gaps[gaps.len() / 2].max(1)
}

fn now() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC.
    unsafe { _rdtsc() }
}
