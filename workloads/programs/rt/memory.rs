//! Memory for a program's data: anonymous mappings of 4 KiB pages, zero until written.

use core::cell::Cell;

use crate::{EXIT_USAGE, fail, syscall};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// A type of which all-zero bytes are a value, and that needs no more than page alignment.
///
/// # Safety
/// Both must hold; dropping a value must do nothing.
pub unsafe trait Zeroable {}

// SAFETY: zero bytes are the number zero.
unsafe impl Zeroable for u8 {}
// SAFETY: zero bytes are the number zero.
unsafe impl Zeroable for u64 {}
// SAFETY: zero bytes are the number zero.
unsafe impl Zeroable for i64 {}
// SAFETY: zero bytes are the number 0.0.
unsafe impl Zeroable for f64 {}
// SAFETY: an array holds nothing but its elements.
unsafe impl<T: Zeroable, const N: usize> Zeroable for [T; N] {}
// SAFETY: a cell has the layout of its content.
unsafe impl<T: Zeroable> Zeroable for Cell<T> {}
// SAFETY: the null pointer is None (guaranteed for references).
unsafe impl<T> Zeroable for Option<&T> {}

/// Maps room for `count` values. A program that gets no memory ends with a sentence and exit code 2.
pub fn map<T: Zeroable>(count: usize) -> &'static mut [T] {
    map_at(0, count)
}

/// As [`map`], but at a fixed address, which must be that of a page that holds nothing else; 0 means anywhere.
pub fn map_at<T: Zeroable>(address: usize, count: usize) -> &'static mut [T] {
    let bytes = count.saturating_mul(size_of::<T>()).max(1);
    // SAFETY: programs are linked at 4 MiB and above, and what calls with an address stays below that.
    match unsafe { syscall::map(address, bytes) } {
        // SAFETY: the mapping is new, writable, page-aligned, zero and large enough, and is never unmapped.
        Ok(at) => unsafe { core::slice::from_raw_parts_mut(at.cast(), count) },
        Err(errno) => {
            let (mib, errno) = (bytes.div_ceil(1 << 20), errno.0);
            fail(EXIT_USAGE, format_args!("no {mib} MiB of memory (error {errno}): give a smaller size or more RAM"))
        }
    }
}

/// Zeroed words that are unmapped when dropped.
pub struct Mapping {
    words: *mut u64,
    count: usize,
}

impl Mapping {
    /// Maps this many pages. A program that gets no memory ends with a sentence and exit code 2.
    pub fn pages(pages: usize) -> Self {
        let words = map::<u64>(pages.saturating_mul(PAGE_BYTES / size_of::<u64>()));
        Self { words: words.as_mut_ptr(), count: words.len() }
    }

    /// Its words.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping lives as long as `self`, which alone knows it.
        unsafe { core::slice::from_raw_parts_mut(self.words, self.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: no reference outlives `self`. The address and the length are those of the mapping, so it cannot fail.
        let _ = unsafe { syscall::unmap(self.words.cast(), self.count * size_of::<u64>()) };
    }
}
