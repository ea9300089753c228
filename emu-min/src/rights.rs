//! Rights of data accesses: privilege, SMAP and the alignment check in one number, which is a tag of the TLB too.

use crate::core::{CR0_AM, CR4_SMAP, Core};
use crate::flags::AC;

/// The supervisor's.
pub(crate) const SUPERVISOR: u64 = 0;
/// A user's: bit 0 says so.
pub(crate) const USER: u64 = 1;
/// The supervisor's, kept from user pages by SMAP.
pub(crate) const SUPERVISOR_SMAP: u64 = 2;
/// A user's whose accesses must be aligned: no cached translation has it, so each takes the slow path.
pub(crate) const USER_ALIGNED: u64 = 3;

impl Core {
    /// Recomputes [`Self::user`] from the privilege level, RFLAGS.AC, CR0.AM and CR4.SMAP.
    pub(crate) fn update_user(&mut self) {
        let ac = self.system_flags & AC != 0;
        self.user = match (self.cpl() == 3, ac) {
            (false, false) => self.system_rights(),
            (false, true) => SUPERVISOR,
            (true, true) if self.cr0 & CR0_AM != 0 => USER_ALIGNED,
            (true, _) => USER,
        };
        self.look_at_ring();
        self.update_context();
    }

    /// Rights of the processor's own accesses, as to descriptor tables and the TSS: RFLAGS.AC does not lift SMAP for
    /// them (Intel SDM volume 3, 5.6.1).
    pub(crate) fn system_rights(&self) -> u64 {
        if self.cr4 & CR4_SMAP != 0 { SUPERVISOR_SMAP } else { SUPERVISOR }
    }
}
