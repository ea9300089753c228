//! Memory for host code that is made at run time: one piece of memory, mapped twice, so that no address is ever writable
//! and executable (W^X), and making code costs no system call.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// Whether this host gives memory for host code that is made at run time.
///
/// # Errors
/// The host refuses executable memory: a security policy forbids it, or there is none left.
pub fn available() -> io::Result<()> {
    HostCode::new(4096).map(drop)
}

/// A bounded area of host code. Bytes that were not written are zero.
pub(crate) struct HostCode {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    capacity: usize,
    /// Bytes written since the writable mapping was last let go.
    written: usize,
}

/// Bytes after which the writable mapping lets go of its pages: they are the executable one's too, and would be counted
/// twice as memory of the process.
const LET_GO: usize = 1 << 20;

// SAFETY: both mappings belong to this value alone and are not bound to a thread.
unsafe impl Send for HostCode {}

impl HostCode {
    /// An area of `capacity` bytes, a multiple of the page size. Pages take memory once they are written.
    ///
    /// # Errors
    /// The host refuses executable memory, or has none left.
    pub(crate) fn new(capacity: usize) -> io::Result<Self> {
        // SAFETY: the name is a C string; the call has no other preconditions.
        let fd = unsafe { libc::memfd_create(c"emu-min code".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `fd` is an open file; the size is within what off_t holds.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), capacity as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let writable = map(&fd, capacity, libc::PROT_READ | libc::PROT_WRITE)?;
        match map(&fd, capacity, libc::PROT_READ | libc::PROT_EXEC) {
            Ok(executable) => Ok(Self { writable, executable, capacity, written: 0 }),
            Err(error) => {
                unmap(writable, capacity);
                Err(error)
            }
        }
    }

    /// Bytes that fit.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes code at an offset; false, and nothing written, if it does not fit. No code there may be executing.
    #[must_use]
    pub(crate) fn write(&mut self, offset: usize, code: &[u8]) -> bool {
        if offset.checked_add(code.len()).is_none_or(|end| end > self.capacity) {
            return false;
        }
        // SAFETY: the range lies within the writable mapping, which `code` cannot overlap: nobody has a reference to it.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.writable.as_ptr().add(offset), code.len()) };
        self.written += code.len();
        if self.written >= LET_GO {
            self.written = 0;
            // SAFETY: the mapping is this value's own and shared with a file, which keeps what was written.
            let _advice = unsafe { libc::madvise(self.writable.as_ptr().cast(), self.capacity, libc::MADV_DONTNEED) };
        }
        true
    }

    /// Where the code at an offset is executed.
    pub(crate) fn address(&self, offset: usize) -> *const u8 {
        self.executable.as_ptr().wrapping_add(offset)
    }
}

impl Drop for HostCode {
    fn drop(&mut self) {
        unmap(self.writable, self.capacity);
        unmap(self.executable, self.capacity);
    }
}

fn map(fd: &OwnedFd, len: usize, protection: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let at = unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))
}

fn unmap(at: NonNull<u8>, len: usize) {
    // SAFETY: `at` and `len` are those of a mapping made by `map` that nobody uses any more.
    unsafe { libc::munmap(at.as_ptr().cast(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_executed() {
        let mut code = HostCode::new(1 << 16).unwrap();
        for (offset, value) in [(0_usize, 7_u32), (0x8000, 42)] {
            let mut bytes = vec![0xb8]; // mov eax, imm32; ret
            bytes.extend(value.to_le_bytes());
            bytes.push(0xc3);
            assert!(code.write(offset, &bytes));
            // SAFETY: the bytes are a function of the C calling convention without arguments that returns a u32.
            let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.address(offset)) };
            assert_eq!(function(), value);
        }
    }

    #[test]
    fn what_was_written_long_ago_is_kept() {
        let mut code = HostCode::new(2 * LET_GO).unwrap();
        assert!(code.write(0, &[0xb8, 7, 0, 0, 0, 0xc3]) && code.write(LET_GO, &vec![0x90; LET_GO]));
        assert_eq!(code.written, 0);
        assert!(code.write(1, &[9]));
        // SAFETY: as above.
        let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(code.address(0)) };
        assert_eq!(function(), 9);
    }

    #[test]
    fn code_that_does_not_fit_is_refused() {
        let mut code = HostCode::new(4096).unwrap();
        assert!(code.write(4090, &[0x90; 6]) && code.write(4096, &[]));
        assert!(!code.write(4090, &[0x90; 7]) && !code.write(usize::MAX, &[0x90]));
        assert_eq!(code.capacity(), 4096);
    }
}
