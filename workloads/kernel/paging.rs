//! Page tables of processes (AMD64 manual 2, 5.3: four levels, 4 KiB pages).

use core::arch::asm;

use crate::frames;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// Where the kernel image is linked; `tables.s` maps physical 0 there.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Where `tables.s` maps all physical memory.
const DIRECT_BASE: u64 = 0xffff_8000_0000_0000;
/// How much of it.
pub const DIRECT_SIZE: u64 = 4 << 30;

/// Page-table bits.
pub const PRESENT: u64 = 1;
/// Writable.
pub const WRITE: u64 = 2;
/// Ring 3 may use it.
pub const USER: u64 = 4;
/// Accessed and dirty, preset so that no walk has to write them.
pub const ACCESSED_DIRTY: u64 = 0x60;
/// Not executable.
pub const NO_EXECUTE: u64 = 1 << 63;
/// The frame belongs to a module and is not ours to free (one of the bits left to software).
pub const BORROWED: u64 = 1 << 9;
/// The address part of an entry.
pub const FRAME: u64 = 0x000f_ffff_ffff_f000;

unsafe extern "C" {
    static kernel_pml4: [u64; 512];
}

/// Physical memory, through the kernel's map of it.
pub fn direct(phys: u64) -> *mut u8 {
    (DIRECT_BASE + phys) as *mut u8
}

/// A process's page tables.
#[derive(Clone, Copy)]
pub struct Space {
    /// Physical address of the PML4, as CR3 wants it.
    pub cr3: u64,
}

impl Space {
    /// An empty address space that shares the kernel's half.
    pub fn new() -> Self {
        let cr3 = frames::allocate_table();
        let table: *mut u64 = direct(cr3).cast();
        // SAFETY: the frame is ours; slots 256 and 511 are the only ones that the kernel uses.
        unsafe {
            *table.add(256) = kernel_pml4[256];
            *table.add(511) = kernel_pml4[511];
        }
        Self { cr3 }
    }

    /// The page table (lowest level) that covers `va`, made if it is missing.
    pub fn table_for(self, va: u64) -> *mut u64 {
        self.table_of(va, 12)
    }

    /// The page directory that covers `va`, made if it is missing.
    #[cfg(micro)]
    pub fn directory_for(self, va: u64) -> *mut u64 {
        self.table_of(va, 21)
    }

    /// The table that covers `va` and whose entries cover `1 << level` bytes each, made if it is missing.
    #[inline]
    fn table_of(self, va: u64, level: u32) -> *mut u64 {
        let mut table: *mut u64 = direct(self.cr3).cast();
        let mut shift = 39;
        while shift > level {
            // SAFETY: `table` is a table of this space, and the index is below 512.
            unsafe {
                let entry = table.add((va >> shift) as usize & 511);
                if *entry & PRESENT == 0 {
                    *entry = frames::allocate_table() | PRESENT | WRITE | USER | 0x20;
                }
                table = direct(*entry & FRAME).cast();
            }
            shift -= 9;
        }
        table
    }

    /// The entry for the page of `va` in its lowest table; where there is no such table, the size of the naturally
    /// aligned span around `va` in which nothing is mapped.
    pub fn entry(self, va: u64) -> Result<*mut u64, u64> {
        let mut table: *mut u64 = direct(self.cr3).cast();
        let mut shift = 39;
        while shift > 12 {
            // SAFETY: as above.
            unsafe {
                let entry = *table.add((va >> shift) as usize & 511);
                if entry & PRESENT == 0 {
                    return Err(1 << shift);
                }
                table = direct(entry & FRAME).cast();
            }
            shift -= 9;
        }
        // SAFETY: as above.
        Ok(unsafe { table.add((va >> 12) as usize & 511) })
    }

    /// Map the page of `va`.
    pub fn map(self, va: u64, entry: u64) {
        // SAFETY: the index is below 512.
        unsafe { *self.table_for(va).add((va >> 12) as usize & 511) = entry }
    }
}

impl Space {
    /// Unmap the pages of `[start, end)` and free their frames. The space is the one in use.
    pub fn unmap(self, start: u64, end: u64) {
        self.each_mapped(start, end, |entry| {
            // SAFETY: the entry is this space's own; no mapping of the frame is left once the TLB is told, and until then
            // nothing is allocated.
            unsafe {
                let old = *entry;
                *entry = 0;
                if old & BORROWED == 0 {
                    frames::free(old & FRAME);
                }
            }
        });
        self.flush(start, end);
    }

    /// Change the bits of the pages of `[start, end)` that are mapped; without rights they keep their frames, not present.
    pub fn reprotect(self, start: u64, end: u64, bits: u64) {
        self.each_mapped(start, end, |entry| {
            // SAFETY: the entry is this space's own.
            unsafe { *entry = (*entry & (FRAME | BORROWED)) | bits };
        });
        self.flush(start, end);
    }

    /// Call `f` with every entry of `[start, end)` that is not empty.
    fn each_mapped(self, start: u64, end: u64, f: impl Fn(*mut u64)) {
        let mut va = start;
        while va < end {
            match self.entry(va) {
                Err(span) => va = (va | (span - 1)) + 1,
                Ok(mut entry) => loop {
                    // SAFETY: the loop ends with the table.
                    unsafe {
                        if *entry != 0 {
                            f(entry);
                        }
                        entry = entry.add(1);
                    }
                    va += PAGE;
                    if va >= end || va & (512 * PAGE - 1) == 0 {
                        break;
                    }
                },
            }
        }
    }

    /// The physical address behind `va`.
    pub fn physical(self, va: u64) -> Option<u64> {
        // SAFETY: reading a page-table entry.
        let entry = unsafe { *self.entry(va).ok()? };
        if entry & PRESENT == 0 { None } else { Some((entry & FRAME) | (va & (PAGE - 1))) }
    }

    /// Forget what the TLB knows of `[start, end)` of this space, which is in use: page by page, or all at once where that
    /// is cheaper (the threshold is Linux's).
    fn flush(self, start: u64, end: u64) {
        const CEILING: u64 = 33 * PAGE;
        if end - start > CEILING {
            // SAFETY: the same tables again; this only empties the TLB.
            unsafe { asm!("mov cr3, {}", in(reg) self.cr3, options(nostack, preserves_flags)) }
            return;
        }
        let mut va = start;
        while va < end {
            // SAFETY: INVLPG only drops a cached translation.
            unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) }
            va += PAGE;
        }
    }
}
