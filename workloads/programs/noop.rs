//! The empty region of interest.
//!
//! What it shows: the price of measuring. Whatever an engine reports here (two marker writes, two reads of the
//! time-stamp counter) is part of every other workload's time too.
#![no_std]
#![no_main]

rt::program!(main, rt::sizes::NOOP, laps);

fn main([]: [u64; 0]) {
    let timed = rt::laps(&mut (), |_| {}, |_| ());
    rt::finish(rt::Checksum::new().value(), timed.ticks);
}
