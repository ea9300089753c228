//! Fibonacci numbers by double recursion.
//!
//! What it shows: calls and returns. A processor predicts returns; an emulator must find the block to return to.
#![no_std]
#![no_main]

use core::hint::black_box;

use rt::Checksum;

rt::program!(main, rt::sizes::FIB, laps);

fn main([n, rounds]: [u64; 2]) {
    let timed = rt::laps(
        &mut (),
        |_| {},
        |_| {
            let mut sum = Checksum::new();
            for _ in 0..rounds {
                sum.add(fib(black_box(n)));
            }
            sum.value()
        },
    );
    rt::finish(timed.value, timed.ticks);
}

#[inline(never)]
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    // Opaque, or the compiler turns one of the two calls into a loop.
    let previous = black_box(fib(n - 1));
    previous + fib(n - 2)
}
