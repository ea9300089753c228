//! What the kernel of the micro-benchmarks does beside the system calls of every program, and a few more of Linux's.

use rt::syscall::{Errno, call};

use crate::event::Event;

const PREPARE: usize = 5100;
const RUN: usize = 5101;
/// Also used by `ring3.s`.
pub(crate) const CATCH: usize = 5102;
const MAP_NOWHERE: usize = 5103;
const MAP_LARGE: usize = 5104;

/// Lets ring 0 get ready for an event; `page` is one that was touched.
pub(crate) fn prepare(event: Event, page: usize) -> Result<usize, Errno> {
    // SAFETY: the call changes nothing of the program but, later, the rights of that page.
    unsafe { call(PREPARE, [event as usize, page, 0, 0, 0, 0]) }
}

/// Does in ring 0 what was prepared.
pub(crate) fn run(times: u64) -> Result<usize, Errno> {
    // SAFETY: as above.
    unsafe { call(RUN, [times as usize, 0, 0, 0, 0, 0]) }
}

/// From now on an exception goes on at the address in R14, or no longer does.
///
/// # Safety
/// While it does, none may happen but where R14 holds such an address.
pub(crate) unsafe fn catch(vector: usize, on: bool) -> Result<usize, Errno> {
    // SAFETY: by the caller's promise.
    unsafe { call(CATCH, [vector, usize::from(on), 0, 0, 0, 0]) }
}

/// Maps a page behind which there is neither memory nor a device.
pub(crate) fn map_nowhere() -> Result<usize, Errno> {
    // SAFETY: nothing else is there.
    unsafe { call(MAP_NOWHERE, [0; 6]) }
}

/// Maps zeroed memory in 2 MiB pages.
pub(crate) fn map_large(bytes: usize) -> Result<usize, Errno> {
    // SAFETY: nothing else is there.
    unsafe { call(MAP_LARGE, [bytes, 0, 0, 0, 0, 0]) }
}

/// Maps zeroed memory that may be executed too.
pub(crate) fn map_code(bytes: usize) -> Result<usize, Errno> {
    const MMAP: usize = 9;
    const ALL_RIGHTS: usize = 7;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: the memory is new.
    unsafe { call(MMAP, [0, bytes, ALL_RIGHTS, PRIVATE_ANONYMOUS, usize::MAX, 0]) }
}

/// Under Linux: asks for 2 MiB pages.
pub(crate) fn advise_large(address: usize, bytes: usize) -> Result<usize, Errno> {
    const MADVISE: usize = 28;
    const MADV_HUGEPAGE: usize = 14;
    // SAFETY: the advice changes no content.
    unsafe { call(MADVISE, [address, bytes, MADV_HUGEPAGE, 0, 0, 0]) }
}
