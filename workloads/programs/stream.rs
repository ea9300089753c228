//! The four kernels of STREAM (McCalpin, 1995) over three arrays of doubles: copy, scale, add, triad.
//!
//! What it shows: bandwidth, and packed double arithmetic on the way: that of the level of the hierarchy that holds three
//! arrays, so for main memory ask for several times the last-level cache. The scale factor q solves q^2 + 2 q = 1, so
//! the first array comes back to its values after each pass, but for rounding, and any number of passes stays in range.
#![no_std]
#![no_main]

use rt::Checksum;

rt::program!(main, rt::sizes::STREAM, laps);

const Q: f64 = core::f64::consts::SQRT_2 - 1.0;

fn main([mib, passes]: [u64; 2]) {
    let len = (mib as usize) << 17;
    let (a, b, c) = (rt::map::<f64>(len), rt::map::<f64>(len), rt::map::<f64>(len));
    // A different value for each double of a KiB; whole KiB are equal, which keeps the filling cheap.
    let block: [f64; 128] = core::array::from_fn(|i| 1.0 + i as f64 / 128.0);
    let mut arrays = [a, b, c];
    let prepare = |[a, b, c]: &mut [&mut [f64]; 3]| {
        a.chunks_exact_mut(block.len()).for_each(|to| to.copy_from_slice(&block));
        b.fill(0.0);
        c.fill(0.0);
    };

    let timed = rt::laps(&mut arrays, prepare, |[a, b, c]| {
        for _ in 0..passes {
            copy(c, a);
            scale(b, c);
            add(c, a, b);
            triad(a, b, c);
        }
    });
    let [a, b, c] = arrays;
    rt::finish(Checksum::of([bits(a), bits(b), bits(c)]), timed.ticks);
}

#[inline(never)]
fn copy(to: &mut [f64], from: &[f64]) {
    to.copy_from_slice(from);
}

#[inline(never)]
fn scale(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to = Q * x);
}

#[inline(never)]
fn add(to: &mut [f64], x: &[f64], y: &[f64]) {
    to.iter_mut().zip(x).zip(y).for_each(|((to, x), y)| *to = x + y);
}

#[inline(never)]
fn triad(to: &mut [f64], x: &[f64], y: &[f64]) {
    to.iter_mut().zip(x).zip(y).for_each(|((to, x), y)| *to = x + Q * y);
}

/// The sum of all bit patterns: every element counts, and it costs one addition each.
fn bits(array: &[f64]) -> u64 {
    array.iter().fold(0, |sum: u64, x| sum.wrapping_add(x.to_bits()))
}
