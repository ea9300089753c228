//! One word on each of N pages, in a scattered order, again and again.
//!
//! What it shows: address translation. The words fit the caches, the translations do not fit the TLB; a virtual machine
//! walks two levels of page tables for a miss, an emulator walks in software.
#![no_std]
#![no_main]

use rt::{Checksum, PAGE_BYTES};

rt::program!(main, rt::sizes::TLB, laps);

type Page = [u64; PAGE_BYTES / 8];

/// Words of a cache line.
const LINE: usize = 8;

fn main([pages, rounds]: [u64; 2]) {
    if !pages.is_power_of_two() {
        rt::fail(rt::EXIT_USAGE, format_args!("tlb: pages is {pages}; give a power of two"));
    }
    let memory = rt::map::<Page>(pages as usize);
    let prepare = |memory: &mut [Page]| {
        for (number, page) in memory.iter_mut().enumerate() {
            page[word_of(number)] = number as u64 + 1;
        }
    };

    let timed = rt::laps(memory, prepare, |memory| {
        let mut sum = Checksum::new();
        for _ in 0..rounds {
            sum.add(visit(memory));
        }
        sum.value()
    });
    rt::finish(timed.value, timed.ticks);
}

/// The word used on a page: a different cache line from page to page, or all words would share one set of the cache.
fn word_of(page: usize) -> usize {
    page * LINE % (PAGE_BYTES / 8)
}

/// Adds up and increments the word of every page. The step is odd and the number of pages a power of two, so each is met.
#[inline(never)]
fn visit(memory: &mut [Page]) -> u64 {
    let mask = memory.len() - 1;
    let (mut at, mut sum) = (0, 0_u64);
    for _ in 0..memory.len() {
        let word = &mut memory[at][word_of(at)];
        sum = sum.wrapping_add(*word);
        *word += 1;
        at = (at + 0x9e5) & mask;
    }
    sum
}
