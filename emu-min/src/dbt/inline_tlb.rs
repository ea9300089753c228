//! The translations that translated code looks up in line, for each of the rights one table for reading and one for
//! writing.
//!
//! An entry holds the linear page, its tag, and the host page. Code subtracts the tag from the address, and so has the
//! offset in the page, if the entry is right, or a large number. Rights cannot be part of that comparison, for any 64 bits
//! may come as an address; so each has tables of its own (see [`table`]). They are filled from what [`crate::tlb`] holds
//! and emptied whenever that drops anything.

use crate::rights::{SUPERVISOR, USER};

/// Entries: 64 MiB of reach. Only what is used takes the host's cache.
const ENTRIES: usize = 1 << 14;
/// Bits of a linear address minus 4 (the size of an entry) that an index is shifted by.
pub(super) const SHIFT: i32 = 12 - 4;
/// Byte offsets of entries.
pub(super) const INDEX_MASK: i32 = ((ENTRIES - 1) << 4) as i32;
/// Slots that are remembered as used: emptying touches those alone if there are no more.
const REMEMBERED: usize = 512;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    tag: u64,
    host_page: u64,
}

/// What an empty slot holds: a page that belongs into another, for addresses are any 64 bits.
const fn empty(slot: usize) -> Entry {
    Entry { tag: (slot as u64 ^ 1) << 12, host_page: 0 }
}

/// See the module.
#[repr(C)]
pub(super) struct InlineTlb {
    entries: [Entry; ENTRIES],
    used: [u16; REMEMBERED],
    used_len: usize,
}

/// How many tables there are for reading, and for writing.
pub(super) const TABLES: usize = 3;

/// Which of them is for accesses with these rights.
pub(super) fn table(rights: u64) -> usize {
    match rights {
        USER => 0,
        SUPERVISOR => 1,
        _ => 2,
    }
}

impl InlineTlb {
    /// Empties memory of any contents.
    pub(super) fn reset(&mut self) {
        self.entries.iter_mut().enumerate().for_each(|(slot, entry)| *entry = empty(slot));
        self.used_len = 0;
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        match self.used.get(..self.used_len) {
            Some(used) if self.used_len < REMEMBERED => {
                used.iter().for_each(|&slot| self.entries[usize::from(slot) % ENTRIES] = empty(slot.into()));
                self.used_len = 0;
            }
            _ => self.reset(),
        }
    }

    /// Enters the page of `linear`.
    pub(super) fn insert(&mut self, linear: u64, host_page: *mut u8) {
        let slot = (linear >> 12) as usize % ENTRIES;
        self.entries[slot] = Entry { tag: linear & !0xfff, host_page: host_page as u64 };
        if let Some(used) = self.used.get_mut(self.used_len) {
            *used = slot as u16;
            self.used_len += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().enumerate().all(|(slot, entry)| entry.tag == empty(slot).tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Box<InlineTlb> {
        let mut tlb = Box::new(InlineTlb { entries: [empty(0); ENTRIES], used: [0; REMEMBERED], used_len: 0 });
        tlb.reset();
        tlb
    }

    #[test]
    fn it_is_emptied_whether_few_or_many_slots_are_used() {
        for pages in [1, REMEMBERED as u64 - 1, REMEMBERED as u64, 40_000] {
            let mut tlb = new();
            for page in 0..pages {
                tlb.insert(page << 12, std::ptr::null_mut());
            }
            assert!(!tlb.is_empty());
            tlb.clear();
            assert!(tlb.is_empty(), "{pages}");
        }
    }

    #[test]
    fn rights_have_tables_of_their_own() {
        let tables = [USER, SUPERVISOR, crate::rights::SUPERVISOR_SMAP].map(table);
        assert_eq!(tables, [0, 1, 2]);
        assert!(tables.iter().all(|&table| table < TABLES));
    }

    #[test]
    fn no_address_hits_an_empty_slot() {
        let tlb = new();
        for address in [0, 0x1000, 1 << 63, u64::MAX, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0x3fff_f123] {
            let slot = (address >> 12) as usize % ENTRIES;
            assert!(u64::wrapping_sub(address, tlb.entries[slot].tag) > 0xfff, "{address:#x}");
        }
    }
}
