//! Pointer chasing: one chain through all of so many MiB, each link in a cache line of its own.
//!
//! What it shows: memory latency, with nothing to overlap: each load waits for the one before. Where memory is that slow,
//! even an emulator keeps up.
#![no_std]
#![no_main]

use core::cell::Cell;

use rt::{Checksum, Zeroable};

rt::program!(main, rt::sizes::CHASE, laps);

/// Four cache lines, of which one is used: fewer links to build for the same footprint.
#[repr(align(256))]
struct Link(Cell<Option<&'static Link>>);

// SAFETY: a zeroed link is one without a successor, its alignment divides that of a page, and it drops nothing.
unsafe impl Zeroable for Link {}

fn main([mib, steps]: [u64; 2]) {
    if !mib.is_power_of_two() {
        rt::fail(rt::EXIT_USAGE, format_args!("chase: mib is {mib}; give a power of two"));
    }
    let links: &'static [Link] = rt::map((mib as usize) << 12);
    build(links);

    let timed = rt::laps(&mut (), |_| {}, |_| follow(&links[0], steps));
    let place = links.iter().position(|link| core::ptr::eq(link, timed.value)).unwrap_or(links.len());
    rt::finish(Checksum::of([place as u64]), timed.ticks);
}

/// Chains the links in the order of a linear congruential generator, which visits each of 2^k once when its increment is
/// odd and its multiplier is 1 modulo 4 (Hull and Dobell, 1962): a shuffle without a table.
#[inline(never)]
fn build(links: &'static [Link]) {
    let mask = links.len() - 1;
    for (at, link) in links.iter().enumerate() {
        let next = at.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f) & mask;
        link.0.set(Some(&links[next]));
    }
}

#[inline(never)]
fn follow(first: &'static Link, steps: u64) -> &'static Link {
    let mut link = first;
    for _ in 0..steps {
        match link.0.get() {
            Some(next) => link = next,
            None => break,
        }
    }
    link
}
