//! The soft TLB: translations of recent linear pages, in separate arrays for reading, writing and fetching.
//!
//! A tag is the linear page with the privilege (1 = user) in bit 0, so kernel and user translations live side by side
//! and a change of privilege flushes nothing. An entry of the data arrays holds what to add to a linear address to get
//! the host address: one comparison and one addition serve an access. Write entries exist only for pages that are
//! dirty already and hold no decoded code; whatever else needs care (page crossings, MMIO, permissions) never enters.

use std::ptr;

/// Entries of each data array: 4 MiB of reach with 4 KiB pages; an array fits half a level-1 cache.
const DATA_ENTRIES: usize = 1024;
/// Entries of the larger array behind each: 64 MiB of reach, and a refuge for pages that share a slot in front of it.
const SECOND_ENTRIES: usize = 1 << 14;
const FETCH_ENTRIES: usize = 256;

const NO_TAG: u64 = u64::MAX;
const PAGE: u64 = !0xfff;

/// A cached translation for data.
#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    /// Host address minus linear address.
    addend: *mut u8,
}

const EMPTY: Entry = Entry { tag: NO_TAG, addend: ptr::null_mut() };

/// An entry of the second array is valid in one generation only, so flushing that array costs nothing.
#[derive(Clone, Copy)]
struct Second {
    entry: Entry,
    generation: u64,
}

/// Slots of a first array that are remembered as used: a flush empties those alone if there are no more.
const REMEMBERED: usize = 64;

/// One array of data translations and the larger one behind it.
struct Level {
    entries: [Entry; DATA_ENTRIES],
    /// Slots filled since the last flush; all, if it is full.
    used: Vec<u16>,
    second: Vec<Second>,
    generation: u64,
}

// SAFETY: the pointers are addends derived from `GuestRam`, which is `Send`; they are not bound to a thread.
unsafe impl Send for Level {}

impl Level {
    fn new() -> Self {
        let second = vec![Second { entry: EMPTY, generation: 0 }; SECOND_ENTRIES];
        Self { entries: [EMPTY; DATA_ENTRIES], used: Vec::with_capacity(REMEMBERED), second, generation: 1 }
    }

    #[inline(always)]
    fn lookup(&self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let entry = &self.entries[index(linear)];
        // The page of the last byte is compared in the slot of the first: an access that crosses pages cannot hit.
        let tag = (linear.wrapping_add(size - 1) & PAGE) | user;
        (entry.tag == tag).then(|| entry.addend.wrapping_add(linear as usize))
    }

    fn fill(&mut self, slot: usize, entry: Entry) {
        self.entries[slot] = entry;
        if self.used.len() < REMEMBERED {
            self.used.push(slot as u16);
        }
    }

    /// Looks in the second array and brings a found entry to the first.
    #[inline]
    fn recall(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let tag = (linear.wrapping_add(size - 1) & PAGE) | user;
        let found = self.second.get(second_index(linear))?;
        if found.entry.tag != tag || found.generation != self.generation {
            return None;
        }
        let entry = found.entry;
        self.fill(index(linear), entry);
        Some(entry.addend.wrapping_add(linear as usize))
    }

    fn insert(&mut self, linear: u64, user: u64, host_page: *mut u8) {
        let page = linear & PAGE;
        let entry = Entry { tag: page | user, addend: host_page.wrapping_sub(page as usize) };
        self.fill(index(linear), entry);
        if let Some(slot) = self.second.get_mut(second_index(linear)) {
            *slot = Second { entry, generation: self.generation };
        }
    }

    fn flush(&mut self) {
        if self.used.len() < REMEMBERED {
            self.used.iter().for_each(|&slot| self.entries[usize::from(slot)] = EMPTY);
        } else {
            self.entries.fill(EMPTY);
        }
        self.used.clear();
        self.generation += 1;
    }

    fn flush_page(&mut self, linear: u64) {
        let page = linear & PAGE;
        let hit = |entry: &Entry| entry.tag & PAGE == page;
        let entry = &mut self.entries[index(linear)];
        if hit(entry) {
            *entry = EMPTY;
        }
        if let Some(slot) = self.second.get_mut(second_index(linear))
            && hit(&slot.entry)
        {
            slot.entry = EMPTY;
        }
    }
}

/// Mixes in higher bits, so that pages which share a slot of the first array seldom share one of the second.
#[inline(always)]
fn second_index(linear: u64) -> usize {
    let page = linear >> 12;
    (page ^ (page >> 14) ^ (page >> 28)) as usize & (SECOND_ENTRIES - 1)
}

#[inline(always)]
fn index(linear: u64) -> usize {
    (linear >> 12) as usize & (DATA_ENTRIES - 1)
}

/// The three arrays.
pub(crate) struct Tlb {
    read: Level,
    write: Level,
    /// Linear page with privilege, guest-physical page.
    fetch: [(u64, u64); FETCH_ENTRIES],
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self { read: Level::new(), write: Level::new(), fetch: [(NO_TAG, 0); FETCH_ENTRIES] }
    }

    /// Host address to read `size` bytes at `linear` from.
    #[inline(always)]
    pub(crate) fn read(&self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        self.read.lookup(linear, size, user)
    }

    /// Host address to write `size` bytes at `linear` to.
    #[inline(always)]
    pub(crate) fn write(&self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        self.write.lookup(linear, size, user)
    }

    /// As [`Self::read`], in the second array.
    pub(crate) fn recall_read(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        self.read.recall(linear, size, user)
    }

    /// As [`Self::write`], in the second array.
    pub(crate) fn recall_write(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        self.write.recall(linear, size, user)
    }

    pub(crate) fn insert_read(&mut self, linear: u64, user: u64, host_page: *mut u8) {
        self.read.insert(linear, user, host_page);
    }

    pub(crate) fn insert_write(&mut self, linear: u64, user: u64, host_page: *mut u8) {
        self.write.insert(linear, user, host_page);
    }

    /// Guest-physical address of code at `linear`.
    pub(crate) fn fetch(&self, linear: u64, user: u64) -> Option<u64> {
        let (tag, page) = self.fetch[(linear >> 12) as usize % FETCH_ENTRIES];
        (tag == (linear & PAGE) | user).then_some(page | (linear & !PAGE))
    }

    pub(crate) fn insert_fetch(&mut self, linear: u64, user: u64, gpa: u64) {
        self.fetch[(linear >> 12) as usize % FETCH_ENTRIES] = ((linear & PAGE) | user, gpa & PAGE);
    }

    pub(crate) fn flush(&mut self) {
        self.read.flush();
        self.write.flush();
        self.fetch.fill((NO_TAG, 0));
    }

    /// Drops the write translations: a page began to hold decoded code.
    pub(crate) fn flush_writes(&mut self) {
        self.write.flush();
    }

    /// Drops one linear page.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        self.read.flush_page(linear);
        self.write.flush_page(linear);
        let slot = &mut self.fetch[(linear >> 12) as usize % FETCH_ENTRIES];
        if slot.0 & PAGE == linear & PAGE {
            *slot = (NO_TAG, 0);
        }
    }
}
