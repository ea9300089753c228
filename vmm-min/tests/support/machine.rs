//! A machine on a virtual CPU of this host.

use vmm_min::{CpuError, CpuKind, GuestSpec, Machine, MachineError};

/// The machine; `None` where the host has no CPU of that kind, which is said.
pub(crate) fn machine(spec: &GuestSpec<'_>, kind: CpuKind) -> Option<Machine> {
    match Machine::new(spec, kind) {
        Ok(machine) => Some(machine),
        Err(MachineError::Cpu(e @ (CpuError::NoKvm | CpuError::KvmPermission))) => {
            eprintln!("skipped on {kind:?}: {e}");
            None
        }
        Err(e) => panic!("{kind:?}: {e}"),
    }
}
