//! The soft TLB: translations of recent linear pages, in separate arrays for reading, writing and fetching.
//!
//! A tag is the linear page with the privilege (1 = user) in bit 0, so kernel and user translations live side by side
//! and a change of privilege flushes nothing. An entry of the data arrays holds what to add to a linear address to get
//! the host address: one comparison and one addition serve an access. Write entries exist only for pages that are
//! dirty already and hold no decoded code; whatever else needs care (page crossings, MMIO, permissions) never enters.

use std::ptr;

/// Entries of each data array: 4 MiB of reach with 4 KiB pages, and two arrays fit a 32 KiB level-1 cache.
const DATA_ENTRIES: usize = 1024;
const FETCH_ENTRIES: usize = 256;
/// Entries displaced from the read and the write array; a few suffice to stop two hot pages from evicting each other.
const VICTIMS: usize = 8;

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

/// One array of data translations with its victims.
struct Ways {
    entries: [Entry; DATA_ENTRIES],
    victims: [Entry; VICTIMS],
    next_victim: usize,
}

// SAFETY: the pointers are addends derived from `GuestRam`, which is `Send`; they are not bound to a thread.
unsafe impl Send for Ways {}

impl Ways {
    const fn new() -> Self {
        Self { entries: [EMPTY; DATA_ENTRIES], victims: [EMPTY; VICTIMS], next_victim: 0 }
    }

    #[inline(always)]
    fn lookup(&self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let entry = &self.entries[index(linear)];
        // The page of the last byte is compared in the slot of the first: an access that crosses pages cannot hit.
        let tag = (linear.wrapping_add(size - 1) & PAGE) | user;
        (entry.tag == tag).then(|| entry.addend.wrapping_add(linear as usize))
    }

    /// Looks among the victims and brings a found entry back.
    fn recall(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let tag = (linear & PAGE) | user;
        if linear.wrapping_add(size - 1) & PAGE != linear & PAGE {
            return None;
        }
        let victim = self.victims.iter_mut().find(|v| v.tag == tag)?;
        let entry = &mut self.entries[index(linear)];
        std::mem::swap(victim, entry);
        Some(entry.addend.wrapping_add(linear as usize))
    }

    fn insert(&mut self, linear: u64, user: u64, host_page: *mut u8) {
        let page = linear & PAGE;
        let entry = &mut self.entries[index(linear)];
        let tag = page | user;
        if entry.tag != NO_TAG && entry.tag != tag {
            self.victims[self.next_victim % VICTIMS] = *entry;
            self.next_victim = (self.next_victim + 1) % VICTIMS;
        }
        *entry = Entry { tag, addend: host_page.wrapping_sub(page as usize) };
    }

    fn flush(&mut self) {
        self.entries.fill(EMPTY);
        self.victims.fill(EMPTY);
    }

    fn flush_page(&mut self, linear: u64) {
        let page = linear & PAGE;
        let hit = |entry: &Entry| entry.tag != NO_TAG && entry.tag & PAGE == page;
        let entry = &mut self.entries[index(linear)];
        if hit(entry) {
            *entry = EMPTY;
        }
        for victim in self.victims.iter_mut().filter(|v| hit(v)) {
            *victim = EMPTY;
        }
    }
}

#[inline(always)]
fn index(linear: u64) -> usize {
    (linear >> 12) as usize & (DATA_ENTRIES - 1)
}

/// The three arrays.
pub(crate) struct Tlb {
    read: Ways,
    write: Ways,
    /// Linear page with privilege, guest-physical page.
    fetch: [(u64, u64); FETCH_ENTRIES],
}

impl Tlb {
    pub(crate) const fn new() -> Self {
        Self { read: Ways::new(), write: Ways::new(), fetch: [(NO_TAG, 0); FETCH_ENTRIES] }
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

    /// As [`Self::read`], among the displaced entries.
    pub(crate) fn recall_read(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        self.read.recall(linear, size, user)
    }

    /// As [`Self::write`], among the displaced entries.
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
