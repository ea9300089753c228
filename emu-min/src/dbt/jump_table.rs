//! Where translated code continues after an indirect branch: guest addresses and host code, looked up in line.

const ENTRIES: usize = 1 << 12;
/// Byte offsets of entries.
pub(super) const INDEX_MASK: i32 = ((ENTRIES - 1) << 4) as i32;

/// Not canonical, so no guest goes there.
const NOWHERE: u64 = 1 << 63;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    rip: u64,
    host: u64,
}

const EMPTY: Entry = Entry { rip: NOWHERE, host: 0 };

/// See the module. Entries hold for one code generation.
#[repr(C)]
pub(super) struct JumpTable {
    entries: [Entry; ENTRIES],
    used: usize,
}

impl JumpTable {
    /// Empties memory of any contents.
    pub(super) fn reset(&mut self) {
        self.entries.fill(EMPTY);
        self.used = 0;
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        if self.used != 0 {
            self.reset();
        }
    }

    /// The host code at a guest address.
    pub(super) fn get(&self, rip: u64) -> Option<u64> {
        let entry = self.entries[rip as usize % ENTRIES];
        (entry.rip == rip).then_some(entry.host)
    }

    pub(super) fn insert(&mut self, rip: u64, host: u64) {
        self.used += 1;
        self.entries[rip as usize % ENTRIES] = Entry { rip, host };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_cleared() {
        let mut table = Box::new(JumpTable { entries: [EMPTY; ENTRIES], used: 0 });
        table.insert(0x40_1000, 7);
        assert_eq!((table.get(0x40_1000), table.get(0x41_1000), table.get(0x40_2000)), (Some(7), None, None));
        table.insert(0x40_2000, 8);
        assert_eq!((table.get(0x40_1000), table.get(0x40_2000)), (None, Some(8)));
        table.clear();
        assert_eq!(table.get(0x40_2000), None);
    }
}
