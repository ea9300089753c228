//! A cache with sets and the least recently used line as victim: of data, or of translations.

/// A set-associative cache of tags.
#[derive(Debug)]
pub(super) struct Cache {
    /// Each set's tags, the most recently used first; tags are plus one, 0 is an empty place.
    tags: Vec<u64>,
    ways: usize,
    mask: u64,
}

impl Cache {
    /// An empty cache of so many sets (a power of two) and ways.
    pub(super) fn new(sets: usize, ways: usize) -> Self {
        debug_assert!(sets.is_power_of_two());
        Self { tags: vec![0; sets * ways], ways, mask: sets as u64 - 1 }
    }

    /// Whether `tag` was in it; it is now.
    #[inline]
    pub(super) fn touch(&mut self, tag: u64) -> bool {
        let set = (tag & self.mask) as usize * self.ways;
        let stored = tag.wrapping_add(1);
        let Some(ways) = self.tags.get_mut(set..set + self.ways) else { return false };
        let found = ways.iter().position(|&t| t == stored);
        let last = found.unwrap_or(self.ways - 1);
        ways[..=last].rotate_right(1);
        if found.is_none() {
            ways[0] = stored;
        }
        found.is_some()
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.tags.fill(0);
    }

    /// Drops one tag.
    pub(super) fn drop_tag(&mut self, tag: u64) {
        let set = (tag & self.mask) as usize * self.ways;
        let stored = tag.wrapping_add(1);
        if let Some(ways) = self.tags.get_mut(set..set + self.ways) {
            ways.iter_mut().filter(|t| **t == stored).for_each(|t| *t = 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes() {
        let mut cache = Cache::new(2, 2);
        // All even tags fall into one set.
        assert!([0, 2, 0].map(|tag| cache.touch(tag)) == [false, false, true]);
        assert!(!cache.touch(4), "takes the place of 2");
        assert!(cache.touch(0));
        assert!(!cache.touch(2));
        assert!(!cache.touch(1), "another set");
        assert!(cache.touch(1));
        cache.drop_tag(1);
        assert!(!cache.touch(1));
        cache.clear();
        assert!(!cache.touch(0));
    }
}
