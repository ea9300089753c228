//! The studio's random reads: the sum of `reads` words at random places in an array of so many MiB.
//!
//! What it shows: cache and TLB misses. The reads do not depend on each other, so a processor overlaps them; an emulator
//! looks up its own translation for each. The studio ran it with 64 MiB.
#![no_std]
#![no_main]

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::RANDOM_ACCESS, laps);

/// One cache line, of which the first word holds a value: filling the others would cost an emulator more than the reads.
type CacheLine = [u64; 8];

fn main([mib, reads]: [u64; 2]) {
    let lines = rt::map::<CacheLine>((mib as usize) << 14);
    let mut value = 0_u64;
    for line in lines.iter_mut() {
        value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
        line[0] = value;
    }

    let timed = rt::laps(lines, |_| {}, |lines| read(lines, reads));
    rt::finish(Checksum::of([timed.value]), timed.ticks);
}

#[inline(never)]
fn read(lines: &[CacheLine], reads: u64) -> u64 {
    let mut random = Random::new(2);
    let mut sum = 0_u64;
    for _ in 0..reads {
        // The upper half of a product: a number below the length from 64 random bits, without a division.
        let at = (u128::from(random.bits()) * lines.len() as u128) >> 64;
        sum = sum.wrapping_add(lines[at as usize][0]);
    }
    sum
}
