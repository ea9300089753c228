//! A walk through a guest's page tables, for dumps: four-level paging only (Intel SDM, volume 3, 4.5).

use crate::cpu::Registers;
use crate::memory::GuestRam;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Bits 51-12 of an entry: the physical address of a table or page.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CR4.LA57: five-level paging.
const CR4_LA57: u64 = 1 << 12;

/// Why an address could not be translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// An entry on the way is not present.
    #[error("not mapped (the level-{level} entry {entry:#x} is not present)")]
    NotPresent {
        /// Level of the entry: 4 is the root, 1 maps a page.
        level: u8,
        /// The entry.
        entry: u64,
    },
    /// A table lies outside RAM.
    #[error("its page table at {gpa:#x} lies outside RAM")]
    OutsideRam {
        /// Guest-physical address of the entry.
        gpa: u64,
    },
    /// The address is not canonical.
    #[error("not canonical")]
    NotCanonical,
    /// A paging mode that this walk does not know.
    #[error("in a paging mode that this tool does not walk")]
    UnknownMode,
}

/// Translates a guest-linear address to a guest-physical one.
///
/// # Errors
/// A [`WalkError`] that says where the walk ended.
pub fn translate(ram: &GuestRam, registers: &Registers, linear: u64) -> Result<u64, WalkError> {
    if !registers.paging() {
        return Ok(linear);
    }
    if !registers.long_mode() || registers.cr4 & CR4_LA57 != 0 {
        return Err(WalkError::UnknownMode);
    }
    if ((linear as i64) << 16 >> 16) as u64 != linear {
        return Err(WalkError::NotCanonical);
    }
    let mut table = registers.cr3 & ADDRESS;
    for level in (1..=4u8).rev() {
        let shift = 12 + 9 * u32::from(level - 1);
        let gpa = table + (linear >> shift & 511) * 8;
        let entry = ram.read_u64(gpa).ok_or(WalkError::OutsideRam { gpa })?;
        if entry & PRESENT == 0 {
            return Err(WalkError::NotPresent { level, entry });
        }
        let large = entry & LARGE != 0 && matches!(level, 2 | 3);
        if large || level == 1 {
            let offset_mask = (1u64 << shift) - 1;
            return Ok(entry & ADDRESS & !offset_mask | linear & offset_mask);
        }
        table = entry & ADDRESS;
    }
    Err(WalkError::UnknownMode)
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn long_mode(cr3: u64) -> Registers {
        Registers { cr0: 0x8000_0001, efer: 0x500, cr3, ..Registers::default() }
    }

    #[test]
    fn walks_small_and_large_pages() {
        let ram = GuestRam::new(2).unwrap();
        let put = |at: u64, entry: u64| ram.memory().write_obj(entry, GuestAddress(at)).unwrap();
        put(0x1000, 0x2003); // PML4[0]
        put(0x2000, 0x3003); // PDPT[0]
        put(0x2008, 0x4000_0083); // PDPT[1]: 1 GiB page
        put(0x3000, 0x4003); // PD[0]
        put(0x3008, 0x20_0083); // PD[1]: 2 MiB page
        put(0x4000 + 8 * 5, 0x8000_0000_0000_9003); // PT[5], no-execute
        let regs = long_mode(0x1000);
        assert_eq!(translate(&ram, &regs, 0x5123), Ok(0x9123));
        assert_eq!(translate(&ram, &regs, 0x20_1234), Ok(0x20_1234));
        assert_eq!(translate(&ram, &regs, 0x4000_0042), Ok(0x4000_0042));
        assert_eq!(translate(&ram, &regs, 0x6000), Err(WalkError::NotPresent { level: 1, entry: 0 }));
        assert_eq!(translate(&ram, &regs, 1 << 47), Err(WalkError::NotCanonical));
        let lost = long_mode(0x10_0000_0000);
        assert_eq!(translate(&ram, &lost, 0), Err(WalkError::OutsideRam { gpa: 0x10_0000_0000 }));
        assert_eq!(translate(&ram, &Registers::default(), 0x77), Ok(0x77));
    }
}
