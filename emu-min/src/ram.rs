//! Guest-physical memory: one contiguous region of host memory that is guest-physical `[0, len)`.
//!
//! No Rust reference into the region ever exists; it is only read and written through raw pointers, after a bounds
//! check here or under a translation cached by the [soft TLB](crate::tlb) that was made from a checked address.

use std::ptr::NonNull;
use std::sync::Arc;

const PAGE: usize = 4096;

/// Guest RAM, guest-physical addresses `[0, len)`. Clones share the memory.
#[derive(Clone, Debug)]
pub struct GuestRam {
    base: NonNull<u8>,
    len: usize,
    _owner: Option<Arc<Owned>>,
}

// SAFETY: the region is plain memory, valid for the life of the value (promised to `from_raw`, or owned); moving the
// handle to another thread moves no thread-bound state.
unsafe impl Send for GuestRam {}

#[derive(Debug)]
struct Owned {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

// SAFETY: the allocation is reached only through `GuestRam`; this handle merely frees it.
unsafe impl Send for Owned {}
// SAFETY: as above; there is no method that takes `&self`.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed once, here.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl GuestRam {
    /// Uses `len` bytes of host memory at `base` as guest RAM.
    ///
    /// # Safety
    /// The region must stay valid for reads and writes while this value or a clone of it lives, and no Rust reference
    /// into it may exist while a CPU runs on it.
    pub unsafe fn from_raw(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len, _owner: None }
    }

    /// Allocates `len` bytes (at least one page) of zeroed guest RAM that lives as long as the last clone.
    pub fn allocate(len: usize) -> Self {
        let len = len.max(4096);
        // A modest alignment lets the allocator hand out untouched zero pages instead of writing zeros; the RAM begins at
        // the first page boundary.
        let Ok(layout) = std::alloc::Layout::from_size_align(len.saturating_add(PAGE), 16) else {
            panic!("guest RAM of {len} bytes exceeds the host's address space")
        };
        // SAFETY: the layout has a non-zero size.
        let ptr = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(ptr) else { std::alloc::handle_alloc_error(layout) };
        let to_page = (start.as_ptr() as usize).wrapping_neg() % PAGE;
        // SAFETY: the allocation is a page longer than `len`, so the first page boundary and `len` bytes lie in it.
        let base = unsafe { start.add(to_page) };
        Self { base, len, _owner: Some(Arc::new(Owned { base: start, layout })) }
    }

    /// Whether pages of the guest begin at page boundaries of the host, so that what is aligned there is aligned here.
    pub(crate) fn is_page_aligned(&self) -> bool {
        (self.base.as_ptr() as usize).is_multiple_of(PAGE)
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether there is no RAM at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `[gpa, gpa + size)` lies in RAM.
    #[inline(always)]
    pub fn contains(&self, gpa: u64, size: u64) -> bool {
        gpa.checked_add(size).is_some_and(|end| end <= self.len as u64)
    }

    /// Host address of a guest-physical address, for the TLB; only valid to use where [`Self::contains`] holds.
    #[inline(always)]
    pub(crate) fn host(&self, gpa: u64) -> *mut u8 {
        self.base.as_ptr().wrapping_add(gpa as usize)
    }

    /// Copies from RAM; `false` (and `out` untouched) if the range is not all RAM.
    #[must_use]
    pub fn read(&self, gpa: u64, out: &mut [u8]) -> bool {
        if !self.contains(gpa, out.len() as u64) {
            return false;
        }
        // SAFETY: the range was checked to lie in the region; `out` is host memory outside it.
        unsafe { std::ptr::copy_nonoverlapping(self.host(gpa), out.as_mut_ptr(), out.len()) };
        true
    }

    /// Copies into RAM; `false` (and RAM untouched) if the range is not all RAM.
    ///
    /// A CPU that has decoded code from the range must be told: [`crate::Cpu::flush_code`].
    #[must_use]
    pub fn write(&self, gpa: u64, data: &[u8]) -> bool {
        if !self.contains(gpa, data.len() as u64) {
            return false;
        }
        // SAFETY: the range was checked to lie in the region; `data` is host memory outside it.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.host(gpa), data.len()) };
        true
    }

    /// Reads a little-endian quadword, if all of it is RAM.
    #[inline]
    pub fn read_u64(&self, gpa: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// Writes a little-endian quadword; `false` if not all of it is RAM.
    #[must_use]
    pub fn write_u64(&self, gpa: u64, value: u64) -> bool {
        self.write(gpa, &value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_outside_ram_are_refused() {
        let ram = GuestRam::allocate(8192);
        assert!(ram.write_u64(8184, 7));
        assert_eq!(ram.read_u64(8184), Some(7));
        assert!(!ram.write_u64(8185, 7));
        assert_eq!(ram.read_u64(u64::MAX - 3), None);
        assert!(!ram.read(8192, &mut [0]));
    }
}
