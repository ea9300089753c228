//! Sleeps n times for some microseconds, and checks each time that it did not wake early, and at the end that the clock
//! went on at the right speed.
//!
//! What it shows: an idle guest halts, and the host does something else until the timer wakes it. On every engine it
//! takes as long as the time that it asks for, and the grain of the timer more.
#![no_std]
#![no_main]

use rt::syscall::{monotonic_ns, sleep_ns};
use rt::{Checksum, EXIT_USAGE, EXIT_WRONG};

rt::program!(main, rt::sizes::SLEEP, laps);

/// A sleep may take this much longer on a busy host, ns.
const GRACE_EACH: u64 = 100_000_000;
/// And all together this much, ns.
const GRACE: u64 = 1_000_000_000;

fn main([n, us]: [u64; 2]) {
    let asked = us * 1000;
    let timed = rt::laps(
        &mut (),
        |_| {},
        |_| {
            let begin = now();
            let mut last = begin;
            let mut good: u64 = 0;
            for _ in 0..n {
                if let Err(errno) = sleep_ns(asked) {
                    rt::fail(EXIT_USAGE, format_args!("sleep: the kernel cannot sleep (error {})", errno.0));
                }
                let next = now();
                good += u64::from(next >= last && next - last >= asked);
                last = next;
            }
            (good, last - begin)
        },
    );
    let (good, took) = timed.value;
    if good != n {
        rt::fail(EXIT_WRONG, format_args!("sleep: {} of {n} sleeps of {us} us ended early", n - good));
    }
    if took > n * (asked + GRACE_EACH) + GRACE {
        rt::fail(EXIT_WRONG, format_args!("sleep: {n} sleeps of {us} us took {} us", took / 1000));
    }
    rt::finish(Checksum::of([good, us]), timed.ticks);
}

fn now() -> u64 {
    monotonic_ns().unwrap_or_else(|errno| {
        rt::fail(EXIT_USAGE, format_args!("sleep: there is no clock (error {}); run it with evlab", errno.0))
    })
}
