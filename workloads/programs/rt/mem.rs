//! The memory functions that compiled code calls, by their C names.
//!
//! Loops over 16-byte registers rather than `rep movsb`: an engine that emulates string instructions element by element
//! would spend more on a copy than on the work. (`strings` measures the string instructions.)

use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_set1_epi8, _mm_storeu_si128};

const VECTOR: usize = size_of::<__m128i>();

/// # Safety
/// As C's `memcpy`: `n` bytes each, not overlapping.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: every access lies within the n bytes.
    unsafe { copy_up(to, from, n) };
    to
}

/// # Safety
/// As C's `memmove`: `n` bytes each.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: copying upwards reads every byte before it writes over it.
        unsafe { copy_up(to, from, n) };
    } else {
        let mut left = n;
        while left > 0 {
            left -= 1;
            // SAFETY: left < n; copying downwards reads every byte before it writes over it.
            unsafe { *to.add(left) = *from.add(left) };
        }
    }
    to
}

/// # Safety
/// As [`memmove`], where `to` does not lie within the source.
#[inline(always)]
unsafe fn copy_up(to: *mut u8, from: *const u8, n: usize) {
    let mut done = 0;
    while n - done >= VECTOR {
        // SAFETY: done + VECTOR <= n.
        unsafe { _mm_storeu_si128(to.add(done).cast(), _mm_loadu_si128(from.add(done).cast())) };
        done += VECTOR;
    }
    while done < n {
        // SAFETY: done < n.
        unsafe { *to.add(done) = *from.add(done) };
        done += 1;
    }
}

/// # Safety
/// As C's `memset`: `n` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    let mut done = 0;
    // SAFETY: SSE2 is part of x86-64.
    let vector = unsafe { _mm_set1_epi8(byte as i8) };
    while n - done >= VECTOR {
        // SAFETY: done + VECTOR <= n.
        unsafe { _mm_storeu_si128(to.add(done).cast(), vector) };
        done += VECTOR;
    }
    while done < n {
        // SAFETY: done < n.
        unsafe { *to.add(done) = byte as u8 };
        done += 1;
    }
    to
}

/// # Safety
/// As C's `memcmp`: `n` bytes each.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    while i < n {
        // SAFETY: i < n.
        let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}
