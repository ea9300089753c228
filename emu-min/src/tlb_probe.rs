//! What the soft TLB holds of an address now, for who looks at it: nothing is moved, and nothing counted.

use crate::cpu::Cpu;
use crate::rights::{SUPERVISOR, SUPERVISOR_SMAP, USER};

/// The kind of access that a cached translation serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlbAccess {
    /// Loads.
    Read,
    /// Stores: the page is dirty already, and holds no decoded code.
    Write,
    /// Instruction fetches.
    Fetch,
}

/// Whose accesses a cached translation serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlbRights {
    /// Rings 0 to 2.
    Supervisor,
    /// Ring 3.
    User,
    /// Rings 0 to 2 while SMAP keeps them from user pages.
    SupervisorSmap,
}

/// A translation that the soft TLB holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlbEntry {
    /// What it serves.
    pub access: TlbAccess,
    /// Whom it serves.
    pub rights: TlbRights,
    /// 1: in the array that accesses look into first; 2: in the one behind it, from where the next access fetches it.
    pub level: u8,
    /// It stays when CR3 is loaded.
    pub global: bool,
    /// Guest-physical address behind the address asked about.
    pub gpa: u64,
}

/// What is cached of a page, in one array of data translations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cached {
    /// Host address minus linear address.
    pub(crate) addend: *mut u8,
    pub(crate) level: u8,
    pub(crate) global: bool,
}

impl Cpu {
    /// The translations of `linear` that the soft TLB holds in the current address space, global ones included; none is a
    /// miss for every access. `None` if this CPU keeps no translations ([`Mmu::Walk`](crate::Mmu::Walk)).
    pub fn tlb_entries(&self, linear: u64) -> Option<Vec<TlbEntry>> {
        let core = &self.core;
        if !core.tlb_enabled {
            return None;
        }
        let ram = core.ram.host(0) as u64;
        let kinds = [
            (TlbRights::Supervisor, SUPERVISOR),
            (TlbRights::User, USER),
            (TlbRights::SupervisorSmap, SUPERVISOR_SMAP),
        ];
        let mut entries = Vec::new();
        for (rights, tag) in kinds {
            for (access, level) in [(TlbAccess::Read, &core.tlb.read), (TlbAccess::Write, &core.tlb.write)] {
                if let Some(Cached { addend, level, global }) = level.probe(linear, tag) {
                    let gpa = (addend as u64).wrapping_add(linear).wrapping_sub(ram);
                    entries.push(TlbEntry { access, rights, level, global, gpa });
                }
            }
            if let Some((gpa, global)) = core.tlb.probe_fetch(linear, tag) {
                entries.push(TlbEntry { access: TlbAccess::Fetch, rights, level: 1, global, gpa });
            }
        }
        Some(entries)
    }
}
