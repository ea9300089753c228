//! A walk through a guest's page tables, as the processor does it: four-level paging only (Intel SDM volume 3, 5.5).
//!
//! It reads guest RAM alone, so it is the same for every virtual CPU, and it changes nothing: accessed and dirty bits stay
//! as they are.

use crate::cpu::Registers;
use crate::memory::GuestRam;

/// Bits 51-12 of an entry: the physical address of a table or page.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CR4.LA57: five-level paging.
const CR4_LA57: u64 = 1 << 12;
/// CR4.PGE: the bit G of an entry means something.
const CR4_PGE: u64 = 1 << 7;
/// IA32_EFER.NXE: the bit NX of an entry means something; without it the bit is reserved.
const EFER_NXE: u64 = 1 << 11;
/// Bytes of the smallest page.
const PAGE: u64 = 4096;

/// An entry of a page table of any level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageTableEntry(pub u64);

impl PageTableEntry {
    const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// P: it names a table or a page. Of one that is not present the other bits mean nothing.
    pub const fn present(self) -> bool {
        self.has(0)
    }

    /// W: what is below it may be written.
    pub const fn writable(self) -> bool {
        self.has(1)
    }

    /// U: ring 3 may use what is below it.
    pub const fn user(self) -> bool {
        self.has(2)
    }

    /// PWT: its caching is write-through.
    pub const fn write_through(self) -> bool {
        self.has(3)
    }

    /// PCD: caches are not used for it.
    pub const fn cache_disabled(self) -> bool {
        self.has(4)
    }

    /// A: a walk has used it.
    pub const fn accessed(self) -> bool {
        self.has(5)
    }

    /// D: the page has been written. Of an entry that maps a page alone.
    pub const fn dirty(self) -> bool {
        self.has(6)
    }

    /// PS: it maps a large page, where its level can (bit 7 of the lowest level's is PAT).
    pub const fn page_size(self) -> bool {
        self.has(7)
    }

    /// G: the page is the same in all address spaces. Of an entry that maps a page alone.
    pub const fn global(self) -> bool {
        self.has(8)
    }

    /// NX: nothing below it may be executed.
    pub const fn no_execute(self) -> bool {
        self.has(63)
    }

    /// Physical address of the table below it.
    pub const fn table(self) -> u64 {
        self.0 & ADDRESS
    }
}

/// One entry that a walk came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkStep {
    /// Level of its table: 4 is the root, 1 maps pages of 4 KiB.
    pub level: u8,
    /// Its number in its table, 0 to 511.
    pub index: u16,
    /// Its guest-physical address.
    pub gpa: u64,
    /// The entry.
    pub entry: PageTableEntry,
}

impl WalkStep {
    /// What manuals call an entry of that level.
    pub const fn name(&self) -> &'static str {
        match self.level {
            4 => "PML4E",
            3 => "PDPTE",
            2 => "PDE",
            _ => "PTE",
        }
    }
}

/// A page that a walk arrived at, with the rights that all entries on the way leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Guest-physical address behind the linear address itself.
    pub gpa: u64,
    /// Bytes: 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    /// Every entry allows writing.
    pub writable: bool,
    /// Every entry allows ring 3.
    pub user: bool,
    /// No entry forbids execution.
    pub executable: bool,
    /// It is the same in all address spaces (G, with CR4.PGE set).
    pub global: bool,
    /// Every entry is marked accessed: before a TLB may hold the translation, the processor sets the missing marks.
    pub accessed: bool,
    /// It is marked dirty: before a TLB may hold the translation for writing, the processor sets the mark.
    pub dirty: bool,
}

impl Page {
    /// Guest-physical address of its first byte.
    pub const fn frame(&self) -> u64 {
        self.gpa & !(self.size - 1)
    }
}

/// A walk, entry by entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The address that was looked up.
    pub linear: u64,
    /// The entries, the root's first; none without paging.
    pub steps: Vec<WalkStep>,
    /// The page, or why there is none.
    pub end: Result<Page, WalkError>,
}

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
    /// An entry on the way has bits set that must be zero, whatever the processor's physical-address width.
    #[error("not mapped (the level-{level} entry {entry:#x} has reserved bits set: {bits:#x})")]
    Reserved {
        /// Level of the entry.
        level: u8,
        /// The entry.
        entry: u64,
        /// Those bits.
        bits: u64,
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

/// Walks the page tables that the registers name, for a guest-linear address.
pub fn walk(ram: &GuestRam, registers: &Registers, linear: u64) -> Walk {
    let mut steps = Vec::with_capacity(4);
    let end = descend(ram, registers, linear, &mut steps);
    Walk { linear, steps, end }
}

/// Translates a guest-linear address to a guest-physical one.
///
/// # Errors
/// A [`WalkError`] that says where the walk ended.
pub fn translate(ram: &GuestRam, registers: &Registers, linear: u64) -> Result<u64, WalkError> {
    walk(ram, registers, linear).end.map(|page| page.gpa)
}

fn descend(ram: &GuestRam, registers: &Registers, linear: u64, steps: &mut Vec<WalkStep>) -> Result<Page, WalkError> {
    let mut page = Page {
        gpa: linear,
        size: PAGE,
        writable: true,
        user: true,
        executable: true,
        global: false,
        accessed: true,
        dirty: true,
    };
    if !registers.paging() {
        return Ok(page);
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
        let index = (linear >> shift & 511) as u16;
        let gpa = table + u64::from(index) * 8;
        let entry = PageTableEntry(ram.read_u64(gpa).ok_or(WalkError::OutsideRam { gpa })?);
        steps.push(WalkStep { level, index, gpa, entry });
        if !entry.present() {
            return Err(WalkError::NotPresent { level, entry: entry.0 });
        }
        let bits = entry.0 & reserved(level, entry, registers.efer);
        if bits != 0 {
            return Err(WalkError::Reserved { level, entry: entry.0, bits });
        }
        page.writable &= entry.writable();
        page.user &= entry.user();
        page.executable &= !entry.no_execute();
        page.accessed &= entry.accessed();
        if level == 1 || maps_large_page(level, entry) {
            let offset = (1u64 << shift) - 1;
            page.gpa = entry.0 & ADDRESS & !offset | linear & offset;
            page.size = offset + 1;
            page.global = entry.global() && registers.cr4 & CR4_PGE != 0;
            page.dirty = entry.dirty();
            return Ok(page);
        }
        table = entry.table();
    }
    Err(WalkError::UnknownMode)
}

const fn maps_large_page(level: u8, entry: PageTableEntry) -> bool {
    matches!(level, 2 | 3) && entry.page_size()
}

/// The bits of an entry that must be zero, but for those above the physical-address width, which processors differ in.
const fn reserved(level: u8, entry: PageTableEntry, efer: u64) -> u64 {
    let no_execute = if efer & EFER_NXE == 0 { 1 << 63 } else { 0 };
    no_execute
        | match level {
            4 => 1 << 7,
            // Between PAT (bit 12) and the address of the large page.
            3 if maps_large_page(level, entry) => (1 << 30) - (1 << 13),
            2 if maps_large_page(level, entry) => (1 << 21) - (1 << 13),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    fn long_mode(cr3: u64) -> Registers {
        Registers { cr0: 0x8000_0001, cr4: CR4_PGE, efer: 0xd00, cr3, ..Registers::default() }
    }

    fn put(ram: &GuestRam, at: u64, entry: u64) {
        ram.memory().write_obj(entry, GuestAddress(at)).unwrap();
    }

    fn tables() -> GuestRam {
        let ram = GuestRam::new(2).unwrap();
        put(&ram, 0x1000, 0x2003); // PML4[0]
        put(&ram, 0x2000, 0x3003); // PDPT[0]
        put(&ram, 0x2008, 0x4000_0083); // PDPT[1]: 1 GiB page
        put(&ram, 0x3000, 0x4003); // PD[0]
        put(&ram, 0x3008, 0x20_0083); // PD[1]: 2 MiB page
        put(&ram, 0x4000 + 8 * 5, 0x8000_0000_0000_9003); // PT[5], no-execute
        ram
    }

    #[test]
    fn walks_small_and_large_pages() {
        let ram = tables();
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

    #[test]
    fn tells_every_entry_on_the_way() {
        let ram = tables();
        let regs = long_mode(0x1000);
        let seen = |linear| -> Vec<_> {
            let walk = walk(&ram, &regs, linear);
            walk.steps.iter().map(|s| (s.name(), s.index, s.gpa, s.entry.0)).collect()
        };
        let [pml4e, pdpte, pde] =
            [("PML4E", 0, 0x1000, 0x2003), ("PDPTE", 0, 0x2000, 0x3003), ("PDE", 0, 0x3000, 0x4003)];
        assert_eq!(seen(0x5000), [pml4e, pdpte, pde, ("PTE", 5, 0x4028, 0x8000_0000_0000_9003)]);
        assert_eq!(seen(0x6000), [pml4e, pdpte, pde, ("PTE", 6, 0x4030, 0)]);
        assert_eq!(seen(0x20_0000), [pml4e, pdpte, ("PDE", 1, 0x3008, 0x20_0083)]);
        assert_eq!(seen(0x4000_0000), [pml4e, ("PDPTE", 1, 0x2008, 0x4000_0083)]);
        assert_eq!(seen(1 << 40), [("PML4E", 2, 0x1010, 0)]);
        assert_eq!(seen(1 << 47), []);
    }

    #[test]
    fn a_page_has_the_rights_that_all_entries_leave() {
        let ram = tables();
        let page = |linear| walk(&ram, &long_mode(0x1000), linear).end.unwrap();
        let fresh = page(0x5000);
        assert!(fresh.writable && !fresh.user && !fresh.executable && !fresh.accessed && !fresh.dirty);
        assert_eq!((fresh.frame(), fresh.size, page(0x4001_2345).size), (0x9000, 0x1000, 1 << 30));
        assert!(page(0x20_0000).executable);
        for (at, entry) in [(0x1000, 0x2027), (0x2000, 0x3027), (0x3000, 0x4027), (0x4028, 0x9167)] {
            put(&ram, at, entry);
        }
        let page = walk(&ram, &long_mode(0x1000), 0x5fff).end.unwrap();
        assert!(page.writable && page.user && page.executable && page.global && page.accessed && page.dirty);
        assert_eq!((page.gpa, page.frame()), (0x9fff, 0x9000));
        put(&ram, 0x2000, 0x3025);
        let regs = Registers { cr4: 0, ..long_mode(0x1000) };
        let page = walk(&ram, &regs, 0x5000).end.unwrap();
        assert!(!page.writable && !page.global);
    }

    #[test]
    fn reserved_bits_end_a_walk() {
        let ram = tables();
        let end = |regs: &Registers, linear| walk(&ram, regs, linear).end.unwrap_err();
        let without = Registers { efer: 0x500, ..long_mode(0x1000) };
        let entry = 0x8000_0000_0000_9003;
        assert_eq!(end(&without, 0x5000), WalkError::Reserved { level: 1, entry, bits: 1 << 63 });
        put(&ram, 0x3008, 0x20_4083);
        let regs = long_mode(0x1000);
        assert_eq!(end(&regs, 0x20_0000), WalkError::Reserved { level: 2, entry: 0x20_4083, bits: 0x4000 });
        put(&ram, 0x1000, 0x2083);
        assert_eq!(end(&regs, 0), WalkError::Reserved { level: 4, entry: 0x2083, bits: 0x80 });
    }

    proptest! {
        #[test]
        fn any_tables_end_a_walk(
            entries in prop::collection::vec((0u64..0x1_0000, any::<u64>()), 0..200),
            cr3 in 0u64..0x1_0000,
            linear in any::<u64>(),
            low in any::<bool>(),
        ) {
            let ram = GuestRam::new(2).unwrap();
            for (at, entry) in entries {
                put(&ram, at & !7, if low { entry & 0x1_ffff } else { entry });
            }
            let linear = if low { linear & 0x7fff_ffff_ffff } else { linear };
            let walk = walk(&ram, &long_mode(cr3), linear);
            prop_assert!(walk.steps.len() <= 4);
            prop_assert!(walk.steps.iter().zip((1..=4u8).rev()).all(|(step, level)| step.level == level));
            if let Ok(page) = walk.end {
                prop_assert_eq!(page.gpa & (page.size - 1), linear & (page.size - 1));
            }
        }
    }
}
