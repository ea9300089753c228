//! The string instructions (rep movsb, rep movsq, rep stosb, repne scasb, repe cmpsb) and two byte loops, over buffers
//! of so many bytes.
//!
//! What it shows: one instruction that stands for thousands of memory accesses. A processor moves them in bulk; an
//! emulator that takes them one element at a time loses a factor of a hundred here and nowhere else.
#![no_std]
#![no_main]

use core::arch::asm;

use rt::{Checksum, Random};

rt::program!(main, rt::sizes::STRINGS, laps);

/// The byte that ends a buffer; no other byte of it has this value.
const LAST: u8 = 0xff;

fn main([bytes, rounds]: [u64; 2]) {
    let words = (bytes / 8) as usize;
    let mut buffers = [rt::map::<[u8; 8]>(words), rt::map(words), rt::map(words)];
    let prepare = |buffers: &mut [&mut [[u8; 8]]; 3]| buffers.iter_mut().for_each(|buffer| buffer.fill([0; 8]));

    let timed = rt::laps(&mut buffers, prepare, |buffers| {
        let [a, b, c] = buffers.each_mut().map(|buffer| buffer.as_flattened_mut());
        let mut random = Random::new(7);
        let mut sum = Checksum::new();
        for _ in 0..rounds {
            round(a, b, c, random.bits(), &mut sum);
        }
        sum.value()
    });
    rt::finish(timed.value, timed.ticks);
}

#[inline(never)]
fn round(a: &mut [u8], b: &mut [u8], c: &mut [u8], random: u64, sum: &mut Checksum) {
    let last = a.len() - 1;
    // A fill that cannot be LAST, and a place before the end where the two copies will differ.
    let (fill, place) = (random as u8 & 0x7f, (random >> 8) as usize % last);
    store_bytes(a, fill);
    a[last] = LAST;
    move_bytes(b, a);
    move_quadwords(c, b);
    c[place] = fill ^ 1;
    sum.add(scan(c, LAST) as u64);
    sum.add(compare(a, c) as u64);
    sum.add(hash(c));
    sum.add(length(b) as u64);
}

/// Fills with `rep stosb`.
fn store_bytes(to: &mut [u8], byte: u8) {
    // SAFETY: the count is the length of `to`; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rdi") to.as_mut_ptr() => _, inout("rcx") to.len() => _, in("al") byte,
            options(nostack, preserves_flags));
    }
}

/// Copies with `rep movsb`; both have one length.
fn move_bytes(to: &mut [u8], from: &[u8]) {
    let count = to.len().min(from.len());
    // SAFETY: the count is within both slices; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rdi") to.as_mut_ptr() => _, inout("rsi") from.as_ptr() => _, inout("rcx") count => _,
            options(nostack, preserves_flags));
    }
}

/// Copies whole quadwords with `rep movsq`; both have one length.
fn move_quadwords(to: &mut [u8], from: &[u8]) {
    let count = to.len().min(from.len()) / 8;
    // SAFETY: eight times the count is within both slices; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsq", inout("rdi") to.as_mut_ptr() => _, inout("rsi") from.as_ptr() => _, inout("rcx") count => _,
            options(nostack, preserves_flags));
    }
}

/// The place of the first such byte, found with `repne scasb`; the last place if there is none.
fn scan(bytes: &[u8], byte: u8) -> usize {
    let left: usize;
    // SAFETY: the count is the length of the slice; the direction flag is clear by the ABI.
    unsafe {
        asm!("repne scasb", inout("rdi") bytes.as_ptr() => _, inout("rcx") bytes.len() => left, in("al") byte,
            options(nostack, readonly));
    }
    bytes.len() - left - 1
}

/// The place of the first difference, found with `repe cmpsb`; the last place if there is none.
fn compare(a: &[u8], b: &[u8]) -> usize {
    let count = a.len().min(b.len());
    let left: usize;
    // SAFETY: the count is within both slices; the direction flag is clear by the ABI.
    unsafe {
        asm!("repe cmpsb", inout("rdi") b.as_ptr() => _, inout("rsi") a.as_ptr() => _, inout("rcx") count => left,
            options(nostack, readonly));
    }
    count - left - 1
}

/// Bernstein's hash: every byte waits for the one before.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(5381, |hash, &byte| hash.wrapping_mul(33) ^ u64::from(byte))
}

/// The bytes before the first LAST, as a loop.
fn length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == LAST).unwrap_or(bytes.len())
}
