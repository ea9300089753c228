//! The studio's matrix product: C = A B for n x n doubles, by the textbook triple loop.
//!
//! What it shows: scalar double arithmetic, which emulators without host floating point do in software, and a walk down
//! the columns of B that misses the caches once they are too small for it. The studio ran it with n = 512.
#![no_std]
#![no_main]

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::DENSE_MM, laps);

fn main([n]: [u64; 1]) {
    let n = n as usize;
    let (a, b, c) = (rt::map::<f64>(n * n), rt::map::<f64>(n * n), rt::map::<f64>(n * n));
    let mut random = Random::new(1);
    a.fill_with(|| random.unit());
    b.fill_with(|| random.unit());

    let timed = rt::laps(c, |c| c.fill(0.0), |c| multiply(n, a, b, c));
    rt::finish(Checksum::of(c.iter().map(|x| x.to_bits())), timed.ticks);
}

#[inline(never)]
fn multiply(n: usize, a: &[f64], b: &[f64], c: &mut [f64]) {
    for (row, out) in a.chunks_exact(n).zip(c.chunks_exact_mut(n)) {
        for (j, element) in out.iter_mut().enumerate() {
            let column = b[j..].iter().step_by(n);
            *element = row.iter().zip(column).fold(0.0, |sum, (x, y)| sum + x * y);
        }
    }
}
