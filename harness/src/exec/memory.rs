//! Memory of a snippet.

/// Bytes of a page.
pub const PAGE: u64 = 0x1000;

/// What ring 3 may do with a region; reading is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    /// Writing is allowed.
    pub write: bool,
    /// Executing is allowed.
    pub execute: bool,
}

impl Access {
    /// Read only.
    pub const R: Self = Self { write: false, execute: false };
    /// Read and write.
    pub const RW: Self = Self { write: true, execute: false };
    /// Read and execute.
    pub const RX: Self = Self { write: false, execute: true };
    /// Read, write and execute.
    pub const RWX: Self = Self { write: true, execute: true };
}

/// A piece of memory: linear addresses `[address, address + bytes.len())`, whole pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// First linear address, a multiple of [`PAGE`].
    pub address: u64,
    /// Contents at the start, whole pages.
    pub bytes: Vec<u8>,
    /// What ring 3 may do with it.
    pub access: Access,
}

impl Region {
    /// The bytes at `address`, as far as this region holds them.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<&[u8]> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(offset..).filter(|rest| !rest.is_empty())
    }
}

/// Consecutive bytes that execution changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryChange {
    /// Linear address of the first.
    pub address: u64,
    /// The new bytes.
    pub bytes: Vec<u8>,
}

/// Appends what differs between `before` and `after`, which both begin at linear address `address`, as maximal runs.
pub(crate) fn collect_changes(address: u64, before: &[u8], after: &[u8], out: &mut Vec<MemoryChange>) {
    // Most memory is unchanged: look at it in chunks that compare fast.
    const CHUNK: usize = 64;
    for (index, (old, new)) in before.chunks(CHUNK).zip(after.chunks(CHUNK)).enumerate() {
        if old == new {
            continue;
        }
        let base = address + (index * CHUNK) as u64;
        for (offset, (old, new)) in old.iter().zip(new).enumerate() {
            if old == new {
                continue;
            }
            let at = base + offset as u64;
            match out.last_mut() {
                Some(last) if last.address + last.bytes.len() as u64 == at => last.bytes.push(*new),
                _ => out.push(MemoryChange { address: at, bytes: vec![*new] }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_maximal_runs_even_across_chunks() {
        let before = vec![0; 256];
        let mut after = before.clone();
        after[62..67].fill(7);
        after[200] = 1;
        let mut changes = Vec::new();
        collect_changes(0x1000, &before, &after, &mut changes);
        assert_eq!(
            changes,
            [MemoryChange { address: 0x103e, bytes: vec![7; 5] }, MemoryChange { address: 0x10c8, bytes: vec![1] }]
        );
    }

    #[test]
    fn a_region_knows_its_bytes_by_address() {
        let region = Region { address: 0x1000, bytes: vec![5; 0x1000], access: Access::R };
        assert_eq!(region.at(0x1ffe), Some(&[5, 5][..]));
        assert_eq!((region.at(0x2000), region.at(0xfff)), (None, None));
    }
}
