//! The regions of a process's address space.

use crate::paging::{ACCESSED_DIRTY, NO_EXECUTE, PRESENT, USER, WRITE};

/// How many regions a process may have.
const CAPACITY: usize = 128;

/// Readable, writable, executable: Linux's PROT_ bits.
pub const READ: u64 = 1;
/// See [`READ`].
pub const WRITABLE: u64 = 2;
/// See [`READ`].
pub const EXECUTE: u64 = 4;

/// Pages `[start, end)` with one protection; what is not mapped yet is demand-zero.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// READ, WRITABLE, EXECUTE; 0 allows nothing.
    pub protection: u64,
}

/// The page-table bits for a protection.
pub fn page_bits(protection: u64) -> u64 {
    if protection == 0 {
        return 0;
    }
    let mut bits = PRESENT | USER | ACCESSED_DIRTY;
    if protection & WRITABLE != 0 {
        bits |= WRITE;
    }
    if protection & EXECUTE == 0 {
        bits |= NO_EXECUTE;
    }
    bits
}

/// The regions, in no order.
#[repr(C)]
pub struct Regions {
    count: usize,
    list: [Region; CAPACITY],
}

impl Regions {
    // Volatile, so that no compiler makes SSE moves of neighbouring words.
    fn read(&self, index: usize) -> Region {
        // SAFETY: callers stay below `count`, which stays within the array.
        unsafe {
            let at = self.list.as_ptr().add(index);
            Region {
                start: (&raw const (*at).start).read_volatile(),
                end: (&raw const (*at).end).read_volatile(),
                protection: (&raw const (*at).protection).read_volatile(),
            }
        }
    }

    fn write(&mut self, index: usize, region: Region) {
        // SAFETY: callers stay below the capacity.
        unsafe {
            let at = self.list.as_mut_ptr().add(index);
            (&raw mut (*at).start).write_volatile(region.start);
            (&raw mut (*at).end).write_volatile(region.end);
            (&raw mut (*at).protection).write_volatile(region.protection);
        }
    }

    /// The region that holds `va`.
    pub fn find(&self, va: u64) -> Option<Region> {
        let mut index = 0;
        while index < self.count {
            let region = self.read(index);
            if va >= region.start && va < region.end {
                return Some(region);
            }
            index += 1;
        }
        None
    }

    /// A region that overlaps `[va, end)`.
    pub fn first_overlap(&self, va: u64, end: u64) -> Option<Region> {
        let mut index = 0;
        while index < self.count {
            let region = self.read(index);
            if region.start < end && va < region.end {
                return Some(region);
            }
            index += 1;
        }
        None
    }

    /// Whether nothing is in `[start, end)`.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.first_overlap(start, end).is_none()
    }

    /// The lowest free address from `from` where `length` bytes fit below `limit`.
    pub fn free_place(&self, from: u64, length: u64, limit: u64) -> Option<u64> {
        let mut start = from;
        while length <= limit && start <= limit - length {
            match self.first_overlap(start, start + length) {
                None => return Some(start),
                Some(region) => start = region.end,
            }
        }
        None
    }

    /// Add a region, merged with one that ends where it begins. `false` when there is no room.
    pub fn add(&mut self, new: Region) -> bool {
        let mut index = 0;
        while index < self.count {
            let region = self.read(index);
            if region.end == new.start && region.protection == new.protection {
                self.write(index, Region { end: new.end, ..region });
                return true;
            }
            index += 1;
        }
        if self.count == CAPACITY {
            return false;
        }
        self.write(self.count, new);
        self.count += 1;
        true
    }

    /// Whether cutting `[start, end)` out surely fits: it can split one region in two, and `add` needs one place.
    pub fn has_room(&self) -> bool {
        self.count + 2 <= CAPACITY
    }

    /// Cut `[start, end)` out; ask [`Self::has_room`] first.
    pub fn cut(&mut self, start: u64, end: u64) {
        let mut index = 0;
        while index < self.count {
            let region = self.read(index);
            if region.start >= end || start >= region.end {
                index += 1;
                continue;
            }
            let low = Region { end: start, ..region };
            let high = Region { start: end, ..region };
            let keep_low = region.start < start;
            let keep_high = end < region.end;
            if keep_low && keep_high {
                self.write(index, low);
                self.write(self.count, high);
                self.count += 1;
            } else if keep_low {
                self.write(index, low);
            } else if keep_high {
                self.write(index, high);
            } else {
                self.count -= 1;
                let last = self.read(self.count);
                self.write(index, last);
                continue;
            }
            index += 1;
        }
    }

    /// Whether all of `[start, end)` lies in regions that allow `protection`.
    pub fn allows(&self, start: u64, end: u64, protection: u64) -> bool {
        let mut at = start;
        while at < end {
            match self.find(at) {
                Some(region) if region.protection & protection == protection => at = region.end,
                _ => return false,
            }
        }
        true
    }

    /// Whether all of `[start, end)` lies in regions, whatever they allow.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        self.allows(start, end, 0)
    }
}
