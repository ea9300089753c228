//! Guest RAM between two stretches of host memory that nobody may touch.

use std::ptr::NonNull;

use emu_min::GuestRam;

/// Bytes on each side.
const MARGIN: usize = 4096;
/// What they hold.
const CANARY: u8 = 0xa5;

/// An allocation with guest RAM in its middle.
pub(crate) struct Guarded {
    base: NonNull<u8>,
    len: usize,
}

fn layout(len: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(len + 2 * MARGIN, 4096).expect("a small size")
}

impl Guarded {
    /// `len` bytes of zeroed RAM.
    pub(crate) fn new(len: usize) -> Self {
        // SAFETY: the layout has a non-zero size.
        let base = unsafe { std::alloc::alloc_zeroed(layout(len)) };
        let base = NonNull::new(base).expect("memory for guest RAM");
        let guarded = Self { base, len };
        for margin in guarded.margins() {
            // SAFETY: both margins lie in the allocation.
            unsafe { margin.write_bytes(CANARY, MARGIN) };
        }
        guarded
    }

    fn margins(&self) -> [*mut u8; 2] {
        // SAFETY: both lie in the allocation of `len + 2 * MARGIN` bytes.
        unsafe { [self.base.as_ptr(), self.base.as_ptr().add(MARGIN + self.len)] }
    }

    /// The RAM. It must not be used after `self` is dropped.
    ///
    /// # Safety
    /// The value and its clones are dropped before `self`.
    pub(crate) unsafe fn ram(&self) -> GuestRam {
        // SAFETY: the region is valid while `self` lives, as the caller promises it is needed; no references into it exist.
        unsafe { GuestRam::from_raw(self.base.add(MARGIN), self.len) }
    }

    /// Panics if anything beside the RAM was written.
    pub(crate) fn check(&self) {
        for margin in self.margins() {
            let mut bytes = [0; MARGIN];
            // SAFETY: the margin is MARGIN bytes of the allocation.
            unsafe { margin.copy_to_nonoverlapping(bytes.as_mut_ptr(), MARGIN) };
            assert!(bytes == [CANARY; MARGIN], "host memory beside the guest's RAM was written");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), layout(self.len)) };
    }
}
