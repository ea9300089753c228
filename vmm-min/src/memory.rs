//! Guest RAM: one region from guest-physical address 0, backed by anonymous host memory that is touched lazily.

use std::io;

use vm_memory::mmap::MmapRegionError;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::fence::{CANARY, Fence, FenceReport};

/// Alignment of the region in host memory: a guest's 2 MiB page is honoured as one only where the host backs it by one.
const HUGE: usize = 2 << 20;

/// Why guest RAM could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host refused the mapping.
    #[error(
        "cannot map {mib} MiB of guest RAM: {source}; lower --ram, or raise the limit on address space (ulimit -v)"
    )]
    Map {
        /// Size asked for, MiB.
        mib: u32,
        /// The host's answer.
        source: MmapRegionError,
    },
    /// The region does not form a guest memory.
    #[error("cannot lay out guest RAM: {0}")]
    Layout(String),
    /// The memory beside RAM could not be guarded.
    #[error("cannot guard the memory beside guest RAM: {0}")]
    Guard(io::Error),
    /// The host has too little free memory to back the guest.
    #[error("cannot back guest RAM with host memory: {0}; lower --ram, or run without prefaulting")]
    Prefault(io::Error),
}

/// The RAM of one machine.
#[derive(Debug)]
pub struct GuestRam {
    memory: GuestMemoryMmap,
    fence: Option<Fence>,
    // Dropped after `memory` and `fence`, which borrow parts of it.
    reservation: MmapRegion,
    /// Where RAM begins in the reservation, bytes.
    offset: usize,
    size: usize,
}

impl GuestRam {
    /// Maps `mib` MiB; costs no host memory until it is touched.
    ///
    /// # Errors
    /// [`MemoryError::Map`] if the host refuses.
    pub fn new(mib: u32) -> Result<Self, MemoryError> {
        Self::map(mib, 0)
    }

    /// As [`GuestRam::new`], between canaries.
    ///
    /// # Errors
    /// As there.
    pub fn fenced(mib: u32) -> Result<Self, MemoryError> {
        let mut ram = Self::map(mib, HUGE)?;
        let (start, end) = (ram.host_ptr(), ram.host_ptr().wrapping_add(ram.size));
        for (guard, from) in
            [(ram.reservation.as_ptr(), start.wrapping_sub(CANARY)), (end.wrapping_add(CANARY), ram.reservation_end())]
        {
            let len = from as usize - guard as usize;
            // SAFETY: the range lies in the reservation, outside RAM and its canaries; nothing uses it.
            if unsafe { libc::mprotect(guard.cast(), len, libc::PROT_NONE) } != 0 {
                return Err(MemoryError::Guard(io::Error::last_os_error()));
            }
        }
        // SAFETY: both canaries lie in the reservation, which has a huge page on either side of RAM, and what is not
        // guarded of that is theirs alone.
        ram.fence = Some(unsafe { Fence::raise(start, end) });
        Ok(ram)
    }

    /// Maps RAM with `margin` bytes, at least, on either side.
    fn map(mib: u32, margin: usize) -> Result<Self, MemoryError> {
        let size = (mib as usize) << 20;
        let reservation: MmapRegion =
            MmapRegion::new(size + HUGE + 2 * margin).map_err(|source| MemoryError::Map { mib, source })?;
        let offset = reservation.as_ptr().align_offset(HUGE) + margin;
        let start = reservation.as_ptr().wrapping_add(offset);
        // SAFETY: `offset < HUGE + margin`, so `start..start + size` lies inside the reservation, which lives as long as
        // `self` and is dropped after the region; the protection and flags are those of `MmapRegion::new`.
        let region =
            unsafe { MmapRegion::build_raw(start, size, libc::PROT_READ | libc::PROT_WRITE, reservation.flags()) }
                .map_err(|source| MemoryError::Map { mib, source })?;
        // SAFETY: the range is the mapping just built; the advice changes neither contents nor protection. A host
        // without transparent huge pages refuses it, and the guest is then merely slower.
        unsafe { libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE) };
        let region = GuestRegionMmap::new(region, GuestAddress(0))
            .ok_or_else(|| MemoryError::Layout(format!("{mib} MiB overflow the address space")))?;
        let memory = GuestMemoryMmap::from_regions(vec![region]).map_err(|e| MemoryError::Layout(e.to_string()))?;
        Ok(Self { memory, fence: None, reservation, offset, size })
    }

    fn reservation_end(&self) -> *mut u8 {
        self.reservation.as_ptr().wrapping_add(self.reservation.size())
    }

    /// What became of the canaries, if there are any.
    pub fn fence(&self) -> Option<FenceReport> {
        self.fence.as_ref().map(Fence::check)
    }

    /// Size, bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Host address of guest-physical address 0.
    pub fn host_ptr(&self) -> *mut u8 {
        self.reservation.as_ptr().wrapping_add(self.offset)
    }

    /// The memory as rust-vmm's type, for loaders.
    pub(crate) const fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Copies guest memory into `buffer`; returns how many bytes of it lie inside RAM.
    pub fn read(&self, gpa: u64, buffer: &mut [u8]) -> usize {
        self.memory.read(buffer, GuestAddress(gpa)).unwrap_or(0)
    }

    /// Whether `len` bytes from an address lie inside RAM.
    pub(crate) fn has(&self, gpa: u64, len: usize) -> bool {
        gpa.checked_add(len as u64).is_some_and(|end| end <= self.size as u64)
    }

    /// Copies bytes into guest memory; those that would lie outside RAM are left out.
    pub(crate) fn write(&self, gpa: u64, bytes: &[u8]) {
        let _ = self.memory.write(bytes, GuestAddress(gpa));
    }

    /// Reads a little-endian 64-bit word, or `None` outside RAM.
    pub fn read_u64(&self, gpa: u64) -> Option<u64> {
        self.memory.read_obj(GuestAddress(gpa)).ok()
    }

    /// Backs the whole RAM with host memory, without altering it.
    ///
    /// # Errors
    /// [`MemoryError::Prefault`] if the host has too little memory. A kernel without `MADV_POPULATE_WRITE` (before
    /// Linux 5.14) leaves the RAM lazily backed, which is no error.
    pub(crate) fn prefault(&self) -> Result<(), MemoryError> {
        // SAFETY: the range is this object's own mapping; populating it changes no byte of it.
        let result = unsafe { libc::madvise(self.host_ptr().cast(), self.size, libc::MADV_POPULATE_WRITE) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINVAL) => Ok(()),
            // A signal may cut a long populate short; what is left is faulted in lazily.
            Some(libc::EINTR | libc::EAGAIN) => Ok(()),
            _ => Err(MemoryError::Prefault(error)),
        }
    }

    /// Guest-physical end of RAM.
    pub(crate) fn end(&self) -> u64 {
        self.memory.last_addr().0 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_bounded() {
        let ram = GuestRam::new(4).unwrap();
        assert_eq!(ram.host_ptr() as usize % HUGE, 0);
        assert_eq!(ram.end(), 4 << 20);
        assert_eq!(ram.read_u64(0), Some(0));
        assert_eq!(ram.read_u64((4 << 20) - 8), Some(0));
        assert_eq!(ram.read_u64((4 << 20) - 7), None);
        assert_eq!(ram.read_u64(u64::MAX - 3), None);
        let mut tail = [0xaa; 16];
        assert_eq!(ram.read((4 << 20) - 4, &mut tail), 4);
        assert_eq!(ram.read(4 << 20, &mut tail), 0);
    }

    #[test]
    fn prefaulting_keeps_contents() {
        let ram = GuestRam::new(4).unwrap();
        ram.memory().write_obj(0x1122_3344_5566_7788u64, GuestAddress(0x10_0000)).unwrap();
        ram.prefault().unwrap();
        assert_eq!(ram.read_u64(0x10_0000), Some(0x1122_3344_5566_7788));
        assert_eq!(ram.read_u64(0x20_0000), Some(0));
    }
}
