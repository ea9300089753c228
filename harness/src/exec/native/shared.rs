//! Memory that the runner shares with its child process: a mailbox, one slot per case, contents and live memory.
//!
//! The child executes hostile code, so whatever the parent reads from here is data to check, never an offset to trust.

use std::sync::atomic::AtomicU32;

use crate::exec::snippet::{MAX_MEMORY, MAX_REGIONS};

/// Cases that the child executes without waking the parent.
pub(super) const SLOTS: usize = 64;
/// Changed 8-byte words that a slot holds; beyond that the parent compares live memory itself.
pub(super) const MAX_CHANGES: usize = 1536;
/// Bytes of the standard XSAVE area up to and including the AVX component (Intel SDM volume 1, 13.4).
pub(super) const XSAVE_BYTES: usize = 832;

/// Offset of the header in an XSAVE area; its first word is XSTATE_BV.
pub(super) const XSTATE_BV: usize = 512;
/// Offset of the upper halves of the YMM registers.
pub(super) const YMM_HIGH: usize = 576;

/// Registers, in or out.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct RegisterBlock {
    pub(super) xsave: [u8; XSAVE_BYTES],
    pub(super) gprs: [u64; 16],
    pub(super) rip: u64,
    pub(super) rflags: u64,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    /// ES, CS, SS, DS, FS, GS.
    pub(super) selectors: [u16; 6],
}

/// A region as the child maps it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RegionEntry {
    pub(super) address: u64,
    pub(super) size: u64,
    /// Protection as mmap takes it.
    pub(super) protection: u64,
    /// Offset in the live area.
    pub(super) live: u64,
    /// Offset of the initial contents in the contents area.
    pub(super) initial: u64,
}

/// An 8-byte word that changed.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) address: u64,
    pub(super) value: u64,
}

/// How the child fared with a case.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Status {
    /// Not executed yet.
    Waiting = 0,
    /// Executed; the output is valid.
    Done = 1,
    /// A region could not be mapped: `signal` is the errno, `trap` the index of the region.
    Unmappable = 2,
    /// The kernel refused the registers.
    Refused = 3,
}

/// One case.
#[repr(C)]
pub(super) struct Slot {
    pub(super) input: RegisterBlock,
    pub(super) output: RegisterBlock,
    pub(super) regions: [RegionEntry; MAX_REGIONS],
    pub(super) region_count: u32,
    /// Timer ticks that the case may see before it counts as endless.
    pub(super) ticks: u32,
    pub(super) status: u32,
    pub(super) signal: u32,
    pub(super) trap: u64,
    pub(super) error: u64,
    pub(super) cr2: u64,
    /// Number of words that changed, which may exceed [`MAX_CHANGES`].
    pub(super) change_count: u64,
    pub(super) changes: [Change; MAX_CHANGES],
}

/// The mailbox and the slots.
#[repr(C)]
pub(super) struct Mailbox {
    /// Raised by the parent for each batch.
    pub(super) request: AtomicU32,
    /// Set to `request` by the child when the batch is done.
    pub(super) reply: AtomicU32,
    /// Cases in the batch.
    pub(super) cases: AtomicU32,
    /// The case being executed: tells the parent which one killed the child.
    pub(super) current: AtomicU32,
    pub(super) slots: [Slot; SLOTS],
}

/// Offset of the contents area in the shared file.
pub(super) const CONTENTS: usize = size_of::<Mailbox>().next_multiple_of(0x1000);
/// Bytes of the contents area, and of the live area.
pub(super) const AREA: usize = MAX_MEMORY as usize;
/// Offset of the live area in the shared file.
pub(super) const LIVE: usize = CONTENTS + AREA;
/// Bytes of the shared file.
pub(super) const TOTAL: usize = LIVE + AREA;
