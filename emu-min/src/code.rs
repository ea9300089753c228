//! Which guest-physical memory holds decoded code, so that a write to it can be noticed.

use std::collections::HashMap;

/// Bytes that one bit of a page's mask stands for.
const GRANULE: u64 = 64;

/// Pages with decoded code and, within them, the 64-byte granules that hold some.
pub(crate) struct CodeMap {
    /// One bit a page of RAM.
    pages: Vec<u64>,
    granules: HashMap<u64, u64>,
    /// Writes that hit decoded code and wait for the block cache: address and size.
    pub(crate) written: Vec<(u64, u64)>,
}

impl CodeMap {
    pub(crate) fn new(pages: u64) -> Self {
        Self { pages: vec![0; pages.div_ceil(64) as usize], granules: HashMap::new(), written: Vec::new() }
    }

    /// Whether the page of `gpa` holds decoded code.
    pub(crate) fn is_code_page(&self, gpa: u64) -> bool {
        let page = gpa >> 12;
        self.pages.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// Notes that `[gpa, gpa + len)`, within one page, was decoded; true if the page held none before.
    pub(crate) fn mark(&mut self, gpa: u64, len: u64) -> bool {
        let page = gpa >> 12;
        let Some(word) = self.pages.get_mut((page / 64) as usize) else { return false };
        let new = *word >> (page % 64) & 1 == 0;
        *word |= 1 << (page % 64);
        *self.granules.entry(page).or_default() |= mask(gpa, len);
        new
    }

    /// Replaces a page's mask after blocks were dropped.
    pub(crate) fn set_page(&mut self, page: u64, granules: u64) {
        if granules != 0 {
            self.granules.insert(page, granules);
            return;
        }
        self.granules.remove(&page);
        if let Some(word) = self.pages.get_mut((page / 64) as usize) {
            *word &= !(1 << (page % 64));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.pages.fill(0);
        self.granules.clear();
        self.written.clear();
    }

    /// Notes a write within one page; true if it touched a granule with code.
    pub(crate) fn note_write(&mut self, gpa: u64, len: u64) -> bool {
        let hit = self.granules.get(&(gpa >> 12)).is_some_and(|granules| granules & mask(gpa, len) != 0);
        if hit {
            self.written.push((gpa, len));
        }
        hit
    }
}

/// The granules of a page that `[gpa, gpa + len)` touches; the range ends at the page's end.
pub(crate) fn mask(gpa: u64, len: u64) -> u64 {
    let first = (gpa & 0xfff) / GRANULE;
    let last = ((gpa & 0xfff) + len.max(1) - 1).min(0xfff) / GRANULE;
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_cover_the_touched_granules() {
        assert_eq!(mask(0x1000, 1), 1);
        assert_eq!(mask(0x103f, 2), 3);
        assert_eq!(mask(0x1fff, 15), 1 << 63);
        assert_eq!(mask(0x1000, 0x1000), u64::MAX);
    }

    #[test]
    fn writes_beside_code_are_not_noted() {
        let mut map = CodeMap::new(16);
        assert!(map.mark(0x2000, 16));
        assert!(!map.mark(0x2040, 16));
        assert!(map.is_code_page(0x2fff) && !map.is_code_page(0x3000));
        assert!(!map.note_write(0x2100, 8));
        assert!(map.note_write(0x203f, 8));
        map.set_page(2, 0);
        assert!(!map.is_code_page(0x2000));
    }
}
