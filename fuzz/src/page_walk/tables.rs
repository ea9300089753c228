//! Where the tables are, what an entry looks like, and a walk written from the manual alone (Intel SDM volume 3, 5.5
//! and 5.6): emu-min is held against it.

use emu_min::GuestRam;

use super::ops::{Kind, Table};

/// Bytes of RAM: what lies beyond the data is devices.
pub(crate) const RAM: usize = 0x20_8000;
/// Two of each kind of table, top ones first.
const FIRST_TABLE: u64 = 0x1000;
/// Eight pages of data; a 2 MiB page begins at the first.
pub(crate) const DATA: u64 = 0x20_0000;
pub(crate) const DATA_PAGES: u64 = 8;
/// Devices.
const DEVICE: u64 = 0x4000_0000;

pub(crate) const P: u64 = 1;
pub(crate) const RW: u64 = 1 << 1;
pub(crate) const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
/// Beyond every physical address that emu-min has.
const RESERVED: u64 = 1 << 51;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// The table of `level` (3 at the top, 0 for pages) and `number`.
fn at(level: u64, number: u8) -> u64 {
    FIRST_TABLE + ((3 - level) * 2 + u64::from(number & 1)) * 0x1000
}

impl Table {
    /// Its level, 3 at the top, and its address.
    pub(crate) fn place(self) -> (u64, u64) {
        let (level, number) = match self {
            Self::Top(number) => (3, number),
            Self::Pointers(number) => (2, number),
            Self::Directory(number) => (1, number),
            Self::Pages(number) => (0, number),
        };
        (level, at(level, number))
    }
}

/// CR3 for one of the two spaces.
pub(crate) fn space(number: u8) -> u64 {
    at(3, number)
}

/// Linear address of one of the 16 pages.
pub(crate) fn linear(page: u8) -> u64 {
    (0..4).fold(0, |sum, level| sum | u64::from(page >> level & 1) << (12 + 9 * level))
}

/// The entry that a poke writes: bits 0 to 8 as they are, bit 9 NX, bits 10 and 11 both set a reserved bit; the
/// other bits are ignored but for bit 15, without which the entry is present.
pub(crate) fn entry(level: u64, flags: u16, target: u8) -> u64 {
    let mut entry = u64::from(flags & 0x1ff);
    if flags & 0x8000 == 0 {
        entry |= P;
    }
    if flags & 0x200 != 0 {
        entry |= NX;
    }
    if flags & 0xc00 == 0xc00 {
        entry |= RESERVED;
    }
    let large = level > 0 && level < 3 && entry & PS != 0;
    if level == 3 && flags & 0x3000 != 0x3000 {
        entry &= !PS;
    }
    let target = u64::from(target);
    entry
        | match (level, large) {
            // Bit 13 is reserved in both large entries.
            (_, true) if target == 15 => DEVICE | 1 << 13,
            (2, true) => DEVICE,
            (1, true) if target == 14 => DEVICE,
            (1, true) => DATA,
            (0, _) if target >= 14 => DEVICE + target * 0x1000,
            (0, _) => DATA + target % DATA_PAGES * 0x1000,
            _ => at(level - 1, target as u8),
        }
}

/// What a processor may keep of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Translation {
    /// Guest-physical page of 4 KiB.
    pub(crate) frame: u64,
    pub(crate) writable: bool,
    pub(crate) user: bool,
    pub(crate) no_execute: bool,
    pub(crate) global: bool,
    pub(crate) dirty: bool,
    /// Bits of the offset within the page that the leaf maps.
    pub(crate) shift: u32,
}

/// Control bits that decide about rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) cr3: u64,
    pub(crate) wp: bool,
    pub(crate) smep: bool,
    pub(crate) smap: bool,
    pub(crate) nxe: bool,
}

/// A walk of the tables as they are: the translation and the entries it used, or the bits of the error code that say
/// why there is none (0: not present; 9: a reserved bit).
pub(crate) fn walk(ram: &GuestRam, rules: &Rules, linear: u64) -> Result<(Translation, Vec<u64>), u32> {
    let mut table = rules.cr3 & FRAME;
    let mut slots = Vec::new();
    let mut found =
        Translation { frame: 0, writable: true, user: true, no_execute: false, global: false, dirty: false, shift: 12 };
    for level in (0..4_u32).rev() {
        found.shift = 12 + 9 * level;
        let slot = table + (linear >> found.shift & 511) * 8;
        let entry = ram.read_u64(slot).unwrap_or(0);
        if entry & P == 0 {
            return Err(0);
        }
        let leaf = level == 0 || level < 3 && entry & PS != 0;
        let mut reserved = RESERVED;
        if !rules.nxe {
            reserved |= NX;
        }
        if level == 3 {
            reserved |= PS;
        }
        if leaf && level > 0 {
            reserved |= ((1 << found.shift) - 1) & !0x1fff;
        }
        if entry & reserved != 0 {
            return Err(9);
        }
        found.writable &= entry & RW != 0;
        found.user &= entry & US != 0;
        found.no_execute |= entry & NX != 0;
        slots.push(slot);
        if leaf {
            let inside = (1_u64 << found.shift) - 1;
            found.frame = (entry & FRAME & !inside | linear & inside) & !0xfff;
            (found.global, found.dirty) = (entry & G != 0, entry & D != 0);
            return Ok((found, slots));
        }
        table = entry & FRAME;
    }
    Err(0)
}

impl Translation {
    /// Whether it may be used so (Intel SDM volume 3, 5.6.1).
    pub(crate) fn allows(&self, rules: &Rules, kind: Kind, user: bool, ac: bool) -> bool {
        if user {
            return self.user
                && match kind {
                    Kind::Read => true,
                    Kind::Write => self.writable,
                    Kind::Fetch => !self.no_execute,
                };
        }
        match kind {
            Kind::Fetch => !(self.no_execute || self.user && rules.smep),
            _ if self.user && rules.smap && !ac => false,
            Kind::Write => self.writable || !rules.wp,
            Kind::Read => true,
        }
    }
}

/// The error code of a fault for which `walk` or the rights gave `reason`.
pub(crate) fn error_code(reason: u32, rules: &Rules, kind: Kind, user: bool) -> u32 {
    let fetch = kind == Kind::Fetch && (rules.nxe || rules.smep);
    reason | u32::from(kind == Kind::Write) << 1 | u32::from(user) << 2 | u32::from(fetch) << 4
}

/// What the entries hold after an access by this walk: A everywhere, D in the leaf if it was a write.
pub(crate) fn marked(ram: &GuestRam, slots: &[u64], kind: Kind) -> Vec<(u64, u64)> {
    let last = slots.len() - 1;
    let mark = |i: usize| if i == last && kind == Kind::Write { A | D } else { A };
    slots.iter().enumerate().map(|(i, &slot)| (slot, ram.read_u64(slot).unwrap_or(0) | mark(i))).collect()
}

/// All table entries that a poke can write.
pub(crate) fn entries() -> impl Iterator<Item = u64> {
    (0..4_u64).flat_map(|level| (0..2).flat_map(move |number| [at(level, number), at(level, number) + 8]))
}
