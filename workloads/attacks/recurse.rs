//! Ring 3 recurses until its stack is used up.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::hint::black_box;

use common::escaped;

rt::program!(main, []);

fn main([]: [u64; 0]) {
    let depth = deeper(1);
    escaped(format_args!("the stack had no end, {depth}"));
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    let below = if depth == 0 { 0 } else { deeper(depth + 1) };
    below + black_box(frame)[(depth % 64) as usize]
}
