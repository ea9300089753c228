//! Where translated code continues after an indirect branch: guest addresses and host code, looked up in line.

const ENTRIES: usize = 1 << 12;
/// Byte offsets of entries.
pub(super) const INDEX_MASK: i32 = ((ENTRIES - 1) << 4) as i32;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    rip: u64,
    host: u64,
}

/// What an empty slot holds: an address that belongs into another, for guests may try to go anywhere.
const fn empty(slot: usize) -> Entry {
    Entry { rip: slot as u64 ^ 1, host: 0 }
}

/// See the module. Entries hold for one code generation.
#[repr(C)]
pub(super) struct JumpTable {
    entries: [Entry; ENTRIES],
    used: usize,
}

impl JumpTable {
    /// Empties memory of any contents.
    pub(super) fn reset(&mut self) {
        self.entries.iter_mut().enumerate().for_each(|(slot, entry)| *entry = empty(slot));
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
        let mut table = Box::new(JumpTable { entries: [empty(0); ENTRIES], used: 1 });
        table.clear();
        assert!([0, 1, 1 << 63, u64::MAX].iter().all(|&rip| table.get(rip).is_none()));
        table.insert(0x40_1000, 7);
        assert_eq!((table.get(0x40_1000), table.get(0x41_1000), table.get(0x40_2000)), (Some(7), None, None));
        table.insert(0x40_2000, 8);
        assert_eq!((table.get(0x40_1000), table.get(0x40_2000)), (None, Some(8)));
        table.clear();
        assert_eq!(table.get(0x40_2000), None);
    }
}
