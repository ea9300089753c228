//! Demand paging: map some pages, touch one word of each, unmap them, and again.
//!
//! What it shows: a page fault from the touch to the retry, with the kernel's work in between. Each page must arrive
//! zeroed, which is checked.
#![no_std]
#![no_main]

use rt::{Checksum, Mapping, PAGE_BYTES};

rt::program!(main, rt::sizes::PAGEFAULT, laps);

fn main([pages, rounds]: [u64; 2]) {
    // The first round grows the page tables, which later rounds use again.
    let warm = touch(pages as usize, 1);
    let timed = rt::laps(
        &mut (),
        |_| {},
        |_| (0..rounds).fold(0_u64, |sum, round| sum.wrapping_add(touch(pages as usize, round + 1))),
    );
    rt::finish(Checksum::of([warm, timed.value]), timed.ticks);
}

/// The sum of what the touched words hold after 1 is added to the first, 2 to the second and so on, each times `factor`.
#[inline(never)]
fn touch(pages: usize, factor: u64) -> u64 {
    let mut mapping = Mapping::pages(pages);
    let mut sum = 0_u64;
    for (number, page) in mapping.words().chunks_exact_mut(PAGE_BYTES / 8).enumerate() {
        // A word that is not zero at first spoils the sum.
        page[number % (PAGE_BYTES / 8)] += (number as u64 + 1) * factor;
        sum = sum.wrapping_add(page[number % (PAGE_BYTES / 8)]);
    }
    sum
}
