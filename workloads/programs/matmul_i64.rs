//! The product of two n x n matrices of 64-bit integers, rows in the inner loop.
//!
//! What it shows: the same work as `dense_mm` in integers and in an order that runs along cache lines, so the two
//! together tell the cost of floating point from the cost of memory.
#![no_std]
#![no_main]

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::MATMUL_I64, laps);

fn main([n]: [u64; 1]) {
    let n = n as usize;
    let (a, b, c) = (rt::map::<u64>(n * n), rt::map::<u64>(n * n), rt::map::<u64>(n * n));
    let mut random = Random::new(5);
    a.fill_with(|| random.bits());
    b.fill_with(|| random.bits());

    let timed = rt::laps(c, |c| c.fill(0), |c| multiply(n, a, b, c));
    rt::finish(Checksum::of(c.iter().copied()), timed.ticks);
}

/// C += A B modulo 2^64.
#[inline(never)]
fn multiply(n: usize, a: &[u64], b: &[u64], c: &mut [u64]) {
    for (a_row, c_row) in a.chunks_exact(n).zip(c.chunks_exact_mut(n)) {
        for (&factor, b_row) in a_row.iter().zip(b.chunks_exact(n)) {
            for (sum, &element) in c_row.iter_mut().zip(b_row) {
                *sum = sum.wrapping_add(factor.wrapping_mul(element));
            }
        }
    }
}
