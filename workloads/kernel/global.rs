//! A global variable of a kernel that runs on one processor with interrupts off.

use core::cell::UnsafeCell;

/// A plain global; see [`Global::get`].
#[repr(transparent)]
pub struct Global<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and kernel code is never interrupted by kernel code that shares a global with it.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// A global with its first value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The place of the value; callers keep no reference across calls.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

impl<T: Copy> Global<T> {
    /// The value.
    pub fn read(&self) -> T {
        // SAFETY: the cell is always initialised, and nothing else runs.
        unsafe { *self.0.get() }
    }

    /// Replace the value.
    pub fn write(&self, value: T) {
        // SAFETY: the cell is always initialised, and nothing else runs.
        unsafe { *self.0.get() = value }
    }
}
