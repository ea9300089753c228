//! What translated code reaches relative to the host's RSP: a few words, the tables that it looks into, and the stack
//! space below them, which is there for signal handlers (translated code pushes nothing).

use std::io;
use std::ptr::{self, NonNull};

use super::inline_tlb::{InlineTlb, TABLES};
use super::jump_table::JumpTable;
use super::windows;

/// Bytes below the frame. Untouched pages take no memory.
const STACK: usize = 256 << 10;

/// Which rights a piece of code was translated for; see [`crate::rights`]. The numbers index [`Frame::jumps`].
#[repr(C, align(64))]
pub(super) struct Frame {
    /// Instructions left until the run loop wants to look around.
    pub(super) left: i64,
    /// Flags as LAHF and SETO leave them in AX.
    pub(super) flags: u64,
    /// Which exit was taken.
    pub(super) exit: u64,
    /// The linear address that missed, or the target of an indirect branch.
    pub(super) address: u64,
    /// The code generation for which direct links hold.
    pub(super) generation: u64,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    /// What a register was before it was changed; see [`super::recipe`].
    pub(super) kept: u64,
    /// The target of an indirect call while its return address is pushed, or what is between a string's two accesses.
    pub(super) target: u64,
    /// Whether the addresses of strings descend.
    pub(super) direction: u64,
    /// Host addresses of a block's windows of accesses.
    pub(super) windows: [u64; windows::MOST],
    /// RSP of the host while translated code runs.
    pub(super) host_rsp: u64,
    /// Guest general registers: all of them outside translated code, R12, R13 and R15 always.
    pub(super) gprs: [u64; 16],
    /// Guest vector registers outside translated code.
    pub(super) xmm: [u128; 16],
    pub(super) ymm_high: [u128; 16],
    pub(super) jumps: [JumpTable; 3],
    /// Translations, by rights: see [`super::inline_tlb`].
    pub(super) reads: [InlineTlb; TABLES],
    pub(super) writes: [InlineTlb; TABLES],
}

macro_rules! offsets {
    ($($name:ident $field:ident),* $(,)?) => {
        $(pub(super) const $name: usize = std::mem::offset_of!(Frame, $field);)*
    };
}

offsets!(
    LEFT left,
    FLAGS flags,
    EXIT exit,
    MISSED address,
    GENERATION generation,
    FS_BASE fs_base,
    GS_BASE gs_base,
    KEPT kept,
    TARGET target,
    DIRECTION direction,
    WINDOWS windows,
    HOST_RSP host_rsp,
    GPRS gprs,
    XMM xmm,
    YMM_HIGH ymm_high,
    JUMPS jumps,
    READS reads,
    WRITES writes,
);

/// A frame with stack space below it.
pub(super) struct FrameMemory {
    mapping: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone; the pointers in it are addends of guest RAM, which is `Send`.
unsafe impl Send for FrameMemory {}

impl FrameMemory {
    /// A frame whose tables are empty.
    ///
    /// # Errors
    /// The host is out of memory.
    pub(super) fn new() -> io::Result<Self> {
        let len = (STACK + size_of::<Frame>()).next_multiple_of(4096);
        // SAFETY: a new private mapping at an address of the kernel's choice touches no other memory.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned the null page"))?;
        let mut memory = Self { mapping, len };
        let frame = memory.get();
        frame.jumps.iter_mut().for_each(JumpTable::reset);
        frame.reads.iter_mut().chain(&mut frame.writes).for_each(InlineTlb::reset);
        Ok(memory)
    }

    pub(super) fn get(&mut self) -> &mut Frame {
        // SAFETY: the mapping holds a frame behind the stack space, aligned (the mapping and STACK are multiples of 64);
        // all bit patterns are valid for its fields, and nobody else refers to it while `self` is borrowed.
        unsafe { &mut *self.address() }
    }

    pub(super) fn address(&self) -> *mut Frame {
        self.mapping.as_ptr().wrapping_add(STACK).cast()
    }
}

impl Drop for FrameMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nobody uses it any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_instruction_reaches_has_a_short_displacement() {
        assert!(
            [LEFT, FLAGS, EXIT, MISSED, GENERATION, FS_BASE, GS_BASE, KEPT, TARGET, DIRECTION]
                .iter()
                .all(|at| *at < 0x80)
        );
    }

    #[test]
    fn tables_begin_empty() {
        let mut memory = FrameMemory::new().unwrap();
        let frame = memory.get();
        assert!(frame.reads.iter().chain(&frame.writes).all(InlineTlb::is_empty));
        assert_eq!(memory.address() as usize % align_of::<Frame>(), 0);
    }
}
