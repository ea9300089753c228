//! Linear to guest-physical translation: the 4-level walk (Intel SDM volume 3, chapter 5).

use crate::core::{CR0_PG, CR0_WP, CR4_PGE, CR4_SMEP, Core, EFER_NXE};
use crate::exception::PF;
use crate::op::R;
use crate::rights::{SUPERVISOR_SMAP, USER};

/// What an access wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Fetch,
}

const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;
/// Physical-address width that CPUID advertises.
pub(crate) const PHYS_BITS: u32 = 46;
/// Bits 51..PHYS_BITS must be zero.
const RESERVED: u64 = (1 << 52) - (1 << PHYS_BITS);
const FRAME: u64 = (1 << PHYS_BITS) - 0x1000;
/// Process-context identifier, in CR3 while CR4.PCIDE is set.
pub(crate) const PCID: u64 = 0xfff;

/// Error-code bits of #PF.
const ERR_PRESENT: u32 = 1;
const ERR_WRITE: u32 = 2;
const ERR_USER: u32 = 4;
const ERR_RESERVED: u32 = 8;
const ERR_FETCH: u32 = 16;

/// What the TLB must know of the page that a translation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// It belongs to all address spaces.
    pub(crate) global: bool,
    /// Binary logarithm of its size in bytes: 12, 21 or 30.
    pub(crate) shift: u32,
}

/// A translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) gpa: u64,
    pub(crate) page: Page,
}

/// A walk that reached a page.
struct Walk {
    mapping: Mapping,
    /// It set an accessed or dirty bit.
    marked: bool,
}

/// Whether `linear` is canonical for 48-bit linear addresses.
#[inline(always)]
pub(crate) fn canonical(linear: u64) -> bool {
    ((linear as i64) << 16 >> 16) as u64 == linear
}

impl Core {
    /// Translates with permission checks, setting accessed and dirty bits; raises #PF, or #GP if not canonical.
    /// `rights` are as in [`crate::rights`].
    pub(crate) fn translate(&mut self, linear: u64, access: Access, rights: u64) -> R<Mapping> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(Mapping { gpa: linear & 0xffff_ffff, page: Page { global: false, shift: 12 } });
        }
        if !canonical(linear) {
            return Err(self.not_canonical());
        }
        self.page_walks += 1;
        match walk(self, linear, Some((access, rights))) {
            Ok(walk) => {
                if walk.marked {
                    self.note_marks(linear);
                }
                Ok(walk.mapping)
            }
            Err(error) => {
                self.cr2 = linear;
                // A page fault drops what is cached of the page (Intel SDM volume 3, 5.10.4.1).
                self.flush_page(linear);
                Err(self.fault_code(PF, error))
            }
        }
    }

    /// Notes that entries on the way to a page were written: they may lie in a page of code.
    #[cold]
    fn note_marks(&mut self, linear: u64) {
        let mut table = self.cr3 & FRAME;
        for shift in [39_u32, 30, 21, 12] {
            let slot = table + ((linear >> shift) & 511) * 8;
            if self.code.is_code_page(slot) {
                self.code.note_write(slot, 8);
                // Nothing may follow the block without the run loop's knowing.
                self.look_around();
            }
            let entry = self.ram.read_u64(slot).unwrap_or(0);
            if entry & PS != 0 {
                break;
            }
            table = entry & FRAME;
        }
    }

    /// Translates without checks or side effects, for inspection.
    pub(crate) fn peek(&self, linear: u64) -> Option<u64> {
        if self.cr0 & CR0_PG == 0 {
            return Some(linear & 0xffff_ffff);
        }
        if !canonical(linear) {
            return None;
        }
        walk(self, linear, None).ok().map(|walk| walk.mapping.gpa)
    }
}

/// Walks the tables. With an access and its rights, checks the permissions and sets accessed and dirty bits; on failure,
/// the error code. An entry that lies outside RAM counts as not present.
#[inline(always)]
fn walk(core: &Core, linear: u64, access: Option<(Access, u64)>) -> Result<Walk, u32> {
    let nxe = core.efer & EFER_NXE != 0;
    let (kind, access_rights) = access.unwrap_or((Access::Read, 0));
    let user = access_rights & USER != 0;
    let mut error = 0;
    if kind == Access::Write {
        error |= ERR_WRITE;
    }
    if user {
        error |= ERR_USER;
    }
    if kind == Access::Fetch && (nxe || core.cr4 & CR4_SMEP != 0) {
        error |= ERR_FETCH;
    }
    let mut table = core.cr3 & FRAME;
    let mut rights = RW | US;
    let mut no_execute = false;
    let mut path = [(0_u64, 0_u64); 4];
    for (depth, shift) in [39_u32, 30, 21, 12].into_iter().enumerate() {
        let slot = table + ((linear >> shift) & 511) * 8;
        let entry = core.ram.read_u64(slot).unwrap_or(0);
        if entry & P == 0 {
            return Err(error);
        }
        let large = shift == 12 || (entry & PS != 0 && shift != 39);
        let page_offset = (1_u64 << shift) - 1;
        let mut reserved = RESERVED | if nxe { 0 } else { NX };
        if shift == 39 {
            reserved |= PS;
        } else if large && shift > 12 {
            reserved |= page_offset & FRAME & !0x1000; // bit 12 is PAT
        }
        if entry & reserved != 0 {
            return Err(error | ERR_PRESENT | ERR_RESERVED);
        }
        rights &= entry;
        no_execute |= entry & NX != 0;
        path[depth] = (slot, entry);
        if !large {
            table = entry & FRAME;
            continue;
        }
        let user_page = rights & US != 0;
        let allowed = access.is_none()
            || match (kind, user) {
                (_, true) if !user_page => core.skips_supervisor_check(),
                (Access::Write, true) => rights & RW != 0,
                (Access::Read | Access::Write, false) if user_page && access_rights == SUPERVISOR_SMAP => false,
                (Access::Write, false) => rights & RW != 0 || core.cr0 & CR0_WP == 0,
                (Access::Fetch, false) if user_page && core.cr4 & CR4_SMEP != 0 => false,
                (Access::Fetch, _) => !no_execute,
                (Access::Read, _) => true,
            };
        if !allowed {
            return Err(error | ERR_PRESENT);
        }
        let gpa = (entry & FRAME & !page_offset) | (linear & page_offset);
        let page = Page { global: entry & G != 0 && core.cr4 & CR4_PGE != 0, shift };
        let mapping = Mapping { gpa, page };
        if access.is_none() {
            return Ok(Walk { mapping, marked: false });
        }
        let mut marked = false;
        for (above, (slot, entry)) in path.iter().copied().enumerate().take(depth + 1) {
            let set = if above == depth && kind == Access::Write { A | D } else { A };
            if entry & set != set {
                marked = true;
                // The entry was read from RAM, so writing it back succeeds.
                if !core.ram.write_u64(slot, entry | set) {
                    return Err(error);
                }
            }
        }
        return Ok(Walk { mapping, marked });
    }
    Err(error)
}
