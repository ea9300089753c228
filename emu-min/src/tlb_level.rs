//! One kind of data translations: a small first array that serves accesses, and a larger one behind it.
//!
//! The first array holds the current address space and global pages. An entry of the second belongs to one generation:
//! each address space (process-context identifier) has its own, global pages have one, and a flush begins a new one,
//! so that neither switching nor flushing touches that array.

use std::collections::BTreeMap;
use std::ptr;

use crate::paging::canonical;
use crate::tlb_probe::Cached;

/// Entries of the first array: 4 MiB of reach with 4 KiB pages; an array fits half a level-1 cache.
pub(crate) const FIRST_ENTRIES: usize = 1024;
/// Entries of the second array: 64 MiB of reach, and a refuge for pages that share a slot in front of it.
const SECOND_ENTRIES: usize = 1 << 14;
/// Slots of a first array that are remembered as used: a flush empties those alone if there are no more.
const REMEMBERED: usize = 64;

pub(crate) const NO_TAG: u64 = u64::MAX;
pub(crate) const PAGE: u64 = !0xfff;

/// A cached translation. Translated code reads it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    /// Linear page and rights.
    pub(crate) tag: u64,
    /// Host address minus linear address.
    pub(crate) addend: *mut u8,
}

const EMPTY: Entry = Entry { tag: NO_TAG, addend: ptr::null_mut() };

/// An entry of the second array.
#[derive(Clone, Copy)]
struct Second {
    /// Number of the linear page in 36 bits, rights in 2, generation in 26; see [`key`].
    key: u64,
    addend: *mut u8,
}

const NOTHING: Second = Second { key: 0, addend: ptr::null_mut() };
/// Generations that there are before all is forgotten. No entry is of generation 0.
const GENERATIONS: u64 = 1 << 26;

/// What an entry of the second array must hold to serve a tag. The address must be canonical.
#[inline(always)]
fn key(tag: u64, generation: u64) -> u64 {
    (tag & PAGE) << 16 | (tag & 3) << 26 | generation
}

/// See the module. Translated code reads the first array, which stands first.
#[repr(C)]
pub(crate) struct Level {
    /// Direct-mapped by the linear page's number.
    pub(crate) entries: [Entry; FIRST_ENTRIES],
    /// Accesses that the second array served.
    pub(crate) recalled: u64,
    /// Slots filled since the last flush; all, if it is full.
    used: Vec<u16>,
    /// Slots of the first array that hold global pages, one bit each.
    global: [u64; FIRST_ENTRIES / 64],
    second: Vec<Second>,
    /// Generation of the current address space.
    generation: u64,
    global_generation: u64,
    /// What places the current address space in the second array: 0 for identifier 0 and for global pages.
    salt: usize,
    /// Generations of the other address spaces that have one.
    others: BTreeMap<u16, u64>,
    last_generation: u64,
}

// SAFETY: the pointers are addends derived from `GuestRam`, which is `Send`; they are not bound to a thread.
unsafe impl Send for Level {}

impl Level {
    pub(crate) fn new() -> Self {
        Self {
            entries: [EMPTY; FIRST_ENTRIES],
            recalled: 0,
            used: Vec::with_capacity(REMEMBERED),
            global: [0; FIRST_ENTRIES / 64],
            second: vec![NOTHING; SECOND_ENTRIES],
            generation: 1,
            global_generation: 2,
            salt: 0,
            others: BTreeMap::new(),
            last_generation: 2,
        }
    }

    #[inline(always)]
    pub(crate) fn lookup(&self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let slot = index(linear);
        // The page of the last byte is compared in the slot of the first: an access that crosses pages cannot hit.
        let tag = (linear.wrapping_add(size - 1) & PAGE) | user;
        let entry = &self.entries[slot];
        // SAFETY: a reference is valid for reading. A plain read would be put off until after the comparison, and then
        // the entry's address be computed a second time.
        let addend = unsafe { (&raw const entry.addend).read_volatile() };
        (entry.tag == tag).then(|| addend.wrapping_add(linear as usize))
    }

    fn fill(&mut self, slot: usize, entry: Entry, global: bool) {
        self.entries[slot] = entry;
        if let Some(word) = self.global.get_mut(slot / 64) {
            *word = *word & !(1 << (slot % 64)) | u64::from(global) << (slot % 64);
        }
        if self.used.len() < REMEMBERED {
            self.used.push(slot as u16);
        }
    }

    /// Looks in the second array and brings a found entry to the first.
    #[inline]
    pub(crate) fn recall(&mut self, linear: u64, size: u64, user: u64) -> Option<*mut u8> {
        let tag = (linear.wrapping_add(size - 1) & PAGE) | user;
        if !canonical(linear) || (tag ^ linear) & PAGE != 0 {
            return None;
        }
        let (addend, global) = self.behind(linear, tag)?;
        self.recalled += 1;
        self.fill(index(linear), Entry { tag, addend }, global);
        Some(addend.wrapping_add(linear as usize))
    }

    /// What is cached of the page of `linear` for these rights. Moves and counts nothing.
    pub(crate) fn probe(&self, linear: u64, rights: u64) -> Option<Cached> {
        if !canonical(linear) {
            return None;
        }
        let tag = linear & PAGE | rights;
        let slot = index(linear);
        if let Some(entry) = self.entries.get(slot).filter(|entry| entry.tag == tag) {
            let global = self.global.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0);
            return Some(Cached { addend: entry.addend, level: 1, global });
        }
        self.behind(linear, tag).map(|(addend, global)| Cached { addend, level: 2, global })
    }

    /// What the second array holds for a tag, in this address space or for all: the addend, and whether it is for all.
    #[inline]
    fn behind(&self, linear: u64, tag: u64) -> Option<(*mut u8, bool)> {
        let place = second_index(linear);
        match self.valid(place ^ self.salt, tag) {
            None if self.salt != 0 => self.valid(place, tag),
            found => found,
        }
    }

    /// The addend that the second array holds at a place, if it has this tag and belongs to this address space or to all,
    /// which is said too.
    #[inline]
    fn valid(&self, place: usize, tag: u64) -> Option<(*mut u8, bool)> {
        let found = self.second.get(place)?;
        let global = found.key == key(tag, self.global_generation);
        (global || found.key == key(tag, self.generation)).then_some((found.addend, global))
    }

    pub(crate) fn insert(&mut self, linear: u64, user: u64, global: bool, host_page: *mut u8) {
        let page = linear & PAGE;
        let entry = Entry { tag: page | user, addend: host_page.wrapping_sub(page as usize) };
        let (generation, salt) = if global { (self.global_generation, 0) } else { (self.generation, self.salt) };
        self.fill(index(linear), entry, global);
        if let Some(slot) = self.second.get_mut(second_index(linear) ^ salt) {
            *slot = Second { key: key(entry.tag, generation), addend: entry.addend };
        }
    }

    fn new_generation(&mut self) -> u64 {
        if self.last_generation + 1 == GENERATIONS {
            // Numbers begin anew, and with them everything else.
            self.second.fill(NOTHING);
            self.others.clear();
            self.entries.fill(EMPTY);
            self.generation = 1;
            self.global_generation = 2;
            self.last_generation = 2;
        }
        self.last_generation += 1;
        self.last_generation
    }

    /// Drops everything, in every address space.
    pub(crate) fn flush(&mut self) {
        if self.used.len() < REMEMBERED {
            self.used.iter().for_each(|&slot| self.entries[usize::from(slot)] = EMPTY);
        } else {
            self.entries.fill(EMPTY);
        }
        self.used.clear();
        self.others.clear();
        self.generation = self.new_generation();
        self.global_generation = self.new_generation();
    }

    /// Drops a page in the current address space, global or not.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        let page = linear & PAGE;
        let hit = |entry: &Entry| entry.tag & PAGE == page;
        let entry = &mut self.entries[index(linear)];
        if hit(entry) {
            *entry = EMPTY;
        }
        for place in [second_index(linear), second_index(linear) ^ self.salt] {
            if let Some(slot) = self.second.get_mut(place)
                && slot.key >> 28 == key(page, 0) >> 28
            {
                *slot = NOTHING;
            }
        }
    }

    /// Goes from one address space to another, whose translations are dropped unless `keep`. Global ones stay.
    pub(crate) fn switch(&mut self, from: u16, to: u16, keep: bool) {
        if keep && from == to {
            return;
        }
        if from != to {
            self.others.insert(from, self.generation);
        }
        self.generation = match self.others.remove(&to) {
            Some(generation) if keep => generation,
            _ => self.new_generation(),
        };
        self.salt = salt(to);
        self.empty_private();
    }

    /// Empties the slots of the first array that do not hold global pages.
    fn empty_private(&mut self) {
        let global = self.global;
        let is_global = |slot: usize| global.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0);
        if self.used.len() < REMEMBERED {
            let entries = &mut self.entries;
            self.used.retain(|&slot| {
                let keep = is_global(usize::from(slot));
                if !keep {
                    entries[usize::from(slot)] = EMPTY;
                }
                keep
            });
            return;
        }
        for (slot, entry) in self.entries.iter_mut().enumerate() {
            if !is_global(slot) {
                *entry = EMPTY;
            }
        }
        if global == [0; FIRST_ENTRIES / 64] {
            self.used.clear();
        }
    }

    /// Drops what is cached of an address space that is not the current one.
    pub(crate) fn forget_space(&mut self, identifier: u16) {
        self.others.remove(&identifier);
    }

    /// Drops what is cached of all address spaces but the current one.
    pub(crate) fn forget_spaces(&mut self) {
        self.others.clear();
    }
}

/// Mixes in higher bits, so that pages which share a slot of the first array seldom share one of the second.
#[inline(always)]
fn second_index(linear: u64) -> usize {
    let page = linear >> 12;
    (page ^ (page >> 14) ^ (page >> 28)) as usize & (SECOND_ENTRIES - 1)
}

/// Spreads address spaces over the second array, so that they can keep the same linear pages.
fn salt(identifier: u16) -> usize {
    usize::from(identifier).wrapping_mul(0x9e5) & (SECOND_ENTRIES - 1)
}

#[inline(always)]
fn index(linear: u64) -> usize {
    (linear >> 12) as usize & (FIRST_ENTRIES - 1)
}
