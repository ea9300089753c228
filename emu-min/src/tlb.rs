//! The soft TLB: translations of recent linear pages, in separate arrays for reading, writing and fetching.
//!
//! A tag is the linear page with the [rights](crate::rights) in its low bits, so kernel and user translations live side
//! by side and a change of privilege flushes nothing. An entry of the data arrays holds what to add to a linear address
//! to get the host address: one comparison and one addition serve an access. Write entries exist only for pages that
//! are dirty already and hold no decoded code; whatever else needs care (page crossings, MMIO, permissions, watched
//! addresses) never enters.
//!
//! Address spaces: the first array and the fetch array hold the current space and global pages; see
//! [`crate::tlb_level`] for the others.

use crate::paging::Page;
use crate::tlb_level::{Level, NO_TAG, PAGE};

const FETCH_ENTRIES: usize = 256;

/// A cached translation for code.
#[derive(Clone, Copy)]
struct Fetch {
    tag: u64,
    /// Guest-physical page.
    page: u64,
    global: bool,
}

const NO_FETCH: Fetch = Fetch { tag: NO_TAG, page: 0, global: false };

/// A set of numbers that may seem to hold some that were not put in.
struct Filter([u64; 64]);

impl Filter {
    fn place(number: u64) -> (usize, u64) {
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        ((hash / 64) as usize & 63, 1 << (hash % 64))
    }

    fn insert(&mut self, number: u64) {
        let (word, bit) = Self::place(number);
        self.0[word] |= bit;
    }

    fn may_hold(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0[word] & bit != 0
    }
}

/// The number under which [`Tlb::large`] knows a page of `1 << shift` bytes.
fn large_page(linear: u64, shift: u32) -> u64 {
    linear >> shift << 6 | u64::from(shift)
}

/// The three arrays.
#[repr(C)]
pub(crate) struct Tlb {
    pub(crate) read: Level,
    pub(crate) write: Level,
    fetch: [Fetch; FETCH_ENTRIES],
    /// Translations of global pages were put into it since the last flush.
    global_code: bool,
    /// Pages larger than 4 KiB of which a part is cached: to drop one of those, everything is dropped.
    large: Filter,
    /// Linear pages that code was fetched from since the last flush.
    fetched: Filter,
    /// Counts what drops data translations.
    version: u64,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        Self {
            read: Level::new(),
            write: Level::new(),
            fetch: [NO_FETCH; FETCH_ENTRIES],
            global_code: false,
            large: Filter([0; 64]),
            fetched: Filter([0; 64]),
            version: 0,
        }
    }

    /// Changes whenever a data translation may have been dropped, or belongs to another address space.
    pub(crate) fn version(&self) -> u64 {
        self.version
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

    /// Accesses that the second arrays served.
    pub(crate) fn recalled(&self) -> u64 {
        self.read.recalled + self.write.recalled
    }

    pub(crate) fn insert_read(&mut self, linear: u64, user: u64, page: Page, host_page: *mut u8) {
        self.note_large(linear, page);
        self.read.insert(linear, user, page.global, host_page);
    }

    pub(crate) fn insert_write(&mut self, linear: u64, user: u64, page: Page, host_page: *mut u8) {
        self.note_large(linear, page);
        self.write.insert(linear, user, page.global, host_page);
    }

    /// Guest-physical address of code at `linear`.
    pub(crate) fn fetch(&self, linear: u64, user: u64) -> Option<u64> {
        let entry = self.fetch[(linear >> 12) as usize % FETCH_ENTRIES];
        (entry.tag == (linear & PAGE) | user).then_some(entry.page | (linear & !PAGE))
    }

    /// Guest-physical address of code at `linear` for these rights, and whether the page belongs to all address spaces.
    pub(crate) fn probe_fetch(&self, linear: u64, rights: u64) -> Option<(u64, bool)> {
        let gpa = self.fetch(linear, rights)?;
        let entry = self.fetch.get((linear >> 12) as usize % FETCH_ENTRIES)?;
        Some((gpa, entry.global))
    }

    pub(crate) fn insert_fetch(&mut self, linear: u64, user: u64, page: Page, gpa: u64) {
        self.note_large(linear, page);
        self.fetched.insert(linear >> 12);
        self.global_code |= page.global;
        self.fetch[(linear >> 12) as usize % FETCH_ENTRIES] =
            Fetch { tag: (linear & PAGE) | user, page: gpa & PAGE, global: page.global };
    }

    fn note_large(&mut self, linear: u64, page: Page) {
        if page.shift > 12 {
            self.large.insert(large_page(linear, page.shift));
        }
    }

    pub(crate) fn flush(&mut self) {
        self.version += 1;
        self.read.flush();
        self.write.flush();
        self.fetch.fill(NO_FETCH);
        self.global_code = false;
        self.large = Filter([0; 64]);
        self.fetched = Filter([0; 64]);
    }

    /// Drops the write translations: a page began to hold decoded code.
    pub(crate) fn flush_writes(&mut self) {
        self.version += 1;
        self.write.flush();
    }

    /// Drops one linear page, whatever its size, in the current address space, global or not. Whether code may have been
    /// looked up in what was dropped.
    pub(crate) fn flush_page(&mut self, linear: u64) -> bool {
        if [21, 30].into_iter().any(|shift| self.large.may_hold(large_page(linear, shift))) {
            self.flush();
            return true;
        }
        self.version += 1;
        self.read.flush_page(linear);
        self.write.flush_page(linear);
        let slot = &mut self.fetch[(linear >> 12) as usize % FETCH_ENTRIES];
        if slot.tag & PAGE == linear & PAGE {
            *slot = NO_FETCH;
        }
        self.fetched.may_hold(linear >> 12)
    }

    /// Goes from one address space to another, whose translations are dropped unless `keep`. Global ones stay.
    pub(crate) fn switch(&mut self, from: u16, to: u16, keep: bool) {
        self.version += 1;
        self.read.switch(from, to, keep);
        self.write.switch(from, to, keep);
        if self.global_code {
            self.fetch.iter_mut().filter(|entry| !entry.global).for_each(|entry| *entry = NO_FETCH);
        } else {
            self.fetch.fill(NO_FETCH);
        }
    }

    /// Drops what is cached of an address space that is not the current one.
    pub(crate) fn forget_space(&mut self, identifier: u16) {
        self.read.forget_space(identifier);
        self.write.forget_space(identifier);
    }

    /// Drops what is cached of all address spaces but the current one.
    pub(crate) fn forget_spaces(&mut self) {
        self.read.forget_spaces();
        self.write.forget_spaces();
    }
}
