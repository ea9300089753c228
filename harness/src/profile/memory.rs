//! Where an access finds its data and its translation.
//!
//! Three levels of data cache, the third a core's share of one that eight cores have, with lines of 64 bytes, two of translations of 4 KiB pages: the sizes of a server core of the
//! years around 2020 (AMD Zen 3, section 2 of its software optimization guide). They are the same on every host, so that a profile is
//! the same everywhere; what a miss costs on a host is measured.

use super::cache::Cache;

/// Bytes of a cache line, as a shift.
const LINE: u32 = 6;
/// Bytes of a page, as a shift.
const PAGE: u32 = 12;
/// Streams of lines, one after another, that are followed at a time.
const STREAMS: usize = 16;
/// Where page-table entries lie, for the caches: apart from all data.
const TABLES: u64 = 0xffff_c000_0000_0000;

/// Cycles that a load takes beyond one that hits everything, by what it waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// For a line from L2.
    pub(super) l2: u64,
    /// For a line from L3.
    pub(super) l3: u64,
    /// For a line from memory.
    pub(super) dram: u64,
    /// For a page walk.
    pub(super) walk: u64,
}

impl Wait {
    /// All of it.
    pub(super) fn total(self) -> u64 {
        self.l2 + self.l3 + self.dram + self.walk
    }
}

/// How often that happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryCounts {
    /// Accesses whose line was not in L1.
    pub(super) l1_miss: u64,
    /// ... nor in L2.
    pub(super) l2_miss: u64,
    /// ... nor in L3, and not fetched ahead.
    pub(super) dram: u64,
    /// Lines that were not in L2 and follow the one before them, so that the processor fetches them ahead.
    pub(super) streamed: u64,
    /// Accesses whose translation was not in the small TLB of 64 entries.
    pub(super) tlb_small_miss: u64,
    /// ... nor in the large one of 2048.
    pub(super) tlb_miss: u64,
}

/// The caches.
#[derive(Debug)]
pub(super) struct Memory {
    l1: Cache,
    l2: Cache,
    l3: Cache,
    small: Cache,
    large: Cache,
    /// The line that each stream expects next, the most recent first.
    streams: [u64; STREAMS],
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            l1: Cache::new(64, 8),
            l2: Cache::new(1024, 8),
            l3: Cache::new(4096, 16),
            small: Cache::new(16, 4),
            large: Cache::new(256, 8),
            streams: [0; STREAMS],
        }
    }

    /// An access to the bytes at `address`, within a line.
    pub(super) fn access(&mut self, address: u64, counts: &mut MemoryCounts) -> Wait {
        let page = address >> PAGE;
        let mut walk = 0;
        if !self.small.touch(page) {
            counts.tlb_small_miss += 1;
            walk = 7;
            if !self.large.touch(page) {
                counts.tlb_miss += 1;
                // The upper levels are in the walker's own caches; the last entry is data like other data.
                let entry = TABLES + page * 8;
                walk = 20 + self.line(entry >> LINE, &mut MemoryCounts::default()).total();
            }
        }
        Wait { walk, ..self.line(address >> LINE, counts) }
    }

    fn line(&mut self, line: u64, counts: &mut MemoryCounts) -> Wait {
        if self.l1.touch(line) {
            return Wait::default();
        }
        counts.l1_miss += 1;
        if self.l2.touch(line) {
            self.ahead(line);
            return Wait { l2: 10, ..Wait::default() };
        }
        counts.l2_miss += 1;
        let cached = self.l3.touch(line);
        if self.ahead(line) {
            counts.streamed += 1;
            return Wait { l2: 10, ..Wait::default() };
        }
        if cached {
            return Wait { l3: 42, ..Wait::default() };
        }
        counts.dram += 1;
        Wait { dram: 250, ..Wait::default() }
    }

    /// Whether a stream expected the line; it, or a new one, expects the next.
    fn ahead(&mut self, line: u64) -> bool {
        let found = self.streams.iter().position(|&next| next == line);
        self.streams[..=found.unwrap_or(STREAMS - 1)].rotate_right(1);
        self.streams[0] = line + 1;
        found.is_some()
    }

    /// All translations are dropped.
    pub(super) fn flush(&mut self) {
        self.small.clear();
        self.large.clear();
    }

    /// The translation of the page at `address` is dropped.
    pub(super) fn flush_page(&mut self, address: u64) {
        self.small.drop_tag(address >> PAGE);
        self.large.drop_tag(address >> PAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(addresses: impl IntoIterator<Item = u64>) -> MemoryCounts {
        let mut memory = Memory::new();
        let mut counts = MemoryCounts::default();
        for address in addresses {
            memory.access(address, &mut counts);
        }
        counts
    }

    #[test]
    fn what_was_touched_is_cached() {
        let twice = counted([0x1000, 0x1008, 0x1000]);
        assert_eq!((twice.l1_miss, twice.l2_miss, twice.dram, twice.tlb_miss), (1, 1, 1, 1));
    }

    #[test]
    fn the_lines_of_a_stream_come_ahead() {
        let stream = counted((0..64).map(|i| 0x10_0000 + i * 64));
        assert_eq!((stream.l1_miss, stream.streamed, stream.dram), (64, 63, 1));
        let backwards = counted((0..64).rev().map(|i| 0x10_0000 + i * 64));
        assert_eq!((backwards.streamed, backwards.dram), (0, 64));
    }

    #[test]
    fn more_pages_than_entries_miss() {
        let round = |pages: u64| (0..pages).map(|i| i * 4096);
        let few = counted(round(64).chain(round(64)));
        assert_eq!((few.tlb_small_miss, few.tlb_miss), (64, 64));
        let more = counted(round(1024).chain(round(1024)));
        assert_eq!((more.tlb_small_miss, more.tlb_miss), (2048, 1024));
        let many = counted(round(4096).chain(round(4096)));
        assert_eq!(many.tlb_miss, 8192);
    }
}
