//! Where an access finds its data and its translation.
//!
//! Caches of data with lines of 64 bytes and of translations of 4 KiB pages, with the sizes of a server core of the years around 2020
//! (AMD Zen 3, section 2 of its software optimization guide). The last-level cache, which eight cores have in common, is two: a core's
//! share of it, and all of it, as how much a program gets depends on the others. The sizes are the same on every host, so that a
//! profile is the same everywhere; what a miss costs on a host is measured.

use super::cache::Cache;

/// Bytes of a cache line, as a shift.
const LINE: u32 = 6;
/// Bytes of a page, as a shift.
const PAGE: u32 = 12;
/// Streams of lines, one after another, that are followed at a time.
const STREAMS: usize = 16;
/// An odd number without a pattern: the golden ratio, as of Knuth, volume 3, section 6.4.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Where page-table entries lie, for the caches: apart from all data.
const TABLES: u64 = 0xffff_c000_0000_0000;

/// Cycles that a load takes beyond one that hits everything, by what it waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// For a line from L2.
    pub(super) l2: u64,
    /// For a line from a core's share of the last-level cache.
    pub(super) l3: u64,
    /// For a line from the rest of it.
    pub(super) llc: u64,
    /// For a line from memory.
    pub(super) dram: u64,
    /// For a page walk.
    pub(super) walk: u64,
}

impl Wait {
    /// All of it.
    pub(super) fn total(self) -> u64 {
        self.l2 + self.l3 + self.llc + self.dram + self.walk
    }
}

/// How often that happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryCounts {
    /// Accesses whose line was not in L1.
    pub(super) l1_miss: u64,
    /// ... nor in L2.
    pub(super) l2_miss: u64,
    /// ... nor in a core's share of the last-level cache, and not fetched ahead.
    pub(super) l3_miss: u64,
    /// ... nor in the rest of it.
    pub(super) dram: u64,
    /// Lines that were not in L2 and follow the one before them, so that the processor fetches them ahead.
    pub(super) streamed: u64,
    /// Those that were not in a core's share of the last-level cache.
    pub(super) streamed_far: u64,
    /// Those that were in no cache.
    pub(super) streamed_dram: u64,
    /// Those of `streamed_far` that were written to first.
    pub(super) streamed_store: u64,
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
    llc: Cache,
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
            llc: Cache::new(32_768, 16),
            small: Cache::new(16, 4),
            large: Cache::new(256, 8),
            streams: [0; STREAMS],
        }
    }

    /// An access to the bytes at `address`, within a line.
    pub(super) fn access(&mut self, address: u64, stores: bool, counts: &mut MemoryCounts) -> Wait {
        let page = address >> PAGE;
        let mut walk = 0;
        if !self.small.touch(page) {
            counts.tlb_small_miss += 1;
            walk = 7;
            if !self.large.touch(page) {
                counts.tlb_miss += 1;
                // The upper levels are in the walker's own caches; the last entry is data like other data.
                let entry = TABLES.wrapping_add(page * 8);
                walk = 20 + self.line(entry >> LINE, false, &mut MemoryCounts::default()).total();
            }
        }
        Wait { walk, ..self.line(address >> LINE, stores, counts) }
    }

    fn line(&mut self, line: u64, stores: bool, counts: &mut MemoryCounts) -> Wait {
        if self.l1.touch(line) {
            return Wait::default();
        }
        counts.l1_miss += 1;
        let at = physical(line);
        if self.l2.touch(at) {
            self.ahead(line);
            return Wait { l2: 10, ..Wait::default() };
        }
        counts.l2_miss += 1;
        let near = self.l3.touch(at);
        let cached = self.llc.touch(at) || near;
        if self.ahead(line) {
            counts.streamed += 1;
            counts.streamed_far += u64::from(!near);
            counts.streamed_dram += u64::from(!cached);
            counts.streamed_store += u64::from(!near && stores);
            return Wait { l2: 10, ..Wait::default() };
        }
        if near {
            return Wait { l3: 42, ..Wait::default() };
        }
        counts.l3_miss += 1;
        if cached {
            return Wait { llc: 120, ..Wait::default() };
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

/// The line behind a line of virtual memory: pages lie scattered over physical memory, as an operating system leaves them after a
/// while, so that those of a regular pattern do not fall into a few sets of the caches behind the first.
const fn physical(line: u64) -> u64 {
    const IN_PAGE: u32 = PAGE - LINE;
    (line >> IN_PAGE).wrapping_mul(SCATTER).rotate_left(32) << IN_PAGE | line & ((1 << IN_PAGE) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(addresses: impl IntoIterator<Item = u64>) -> MemoryCounts {
        let mut memory = Memory::new();
        let mut counts = MemoryCounts::default();
        for address in addresses {
            memory.access(address, false, &mut counts);
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
    fn words_of_many_pages_fit_where_their_lines_do() {
        // One line of each of 4096 pages, 256 KiB of lines.
        let round = || (0..4096_u64).map(|page| page * 4096 + page % 64 * 64);
        let (once, twice) = (counted(round()), counted(round().chain(round())));
        let again = twice.l2_miss - once.l2_miss;
        assert!(again < 800, "most are found again, but for {again}");
    }

    #[test]
    fn a_second_pass_finds_what_fits() {
        let mut memory = Memory::new();
        let mut pass = |lines: u64| {
            let mut counts = MemoryCounts::default();
            // In an order in which no line follows the one before.
            (0..lines).for_each(|i| {
                memory.access(i * 97 % lines * 64, false, &mut counts);
            });
            counts
        };
        pass(1 << 15);
        let share = pass(1 << 15);
        assert_eq!((share.l2_miss, share.l3_miss), (1 << 15, 0), "2 MiB are in a core's share");
        pass(1 << 18);
        let all = pass(1 << 18);
        assert_eq!((all.l3_miss, all.dram), (1 << 18, 0), "16 MiB are in the whole of it");
        pass(1 << 20);
        assert_eq!(pass(1 << 20).dram, 1 << 20, "64 MiB are in none");
    }

    #[test]
    fn written_lines_of_a_stream_are_told_apart() {
        let mut memory = Memory::new();
        let mut counts = MemoryCounts::default();
        for i in 0..64 {
            memory.access(0x10_0000 + i * 64, i >= 32, &mut counts);
        }
        let of_stream = (counts.streamed, counts.streamed_far, counts.streamed_dram, counts.streamed_store);
        assert_eq!(of_stream, (63, 63, 63, 32));
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
