//! A GDB server for guests on `kvm` and `emu-*`: an unmodified gdb stops the guest in ring 3 and in its kernel.
//!
//! The protocol is gdbstub's. A session runs in this process: gdb connects, the process enters the sandbox, and then the
//! guest and the conversation with gdb take turns on one thread. Another thread reads what gdb sends, and calls the guest back.
//! What a CPU does for it is in `vmm_min::DebugCpu`.

mod console;
mod error;
mod images;
mod monitor;
mod registers;
mod session;
mod step_over;
mod target;
mod wire;

use object::{Object, ObjectSymbol};

pub use error::DebugError;
pub use images::Images;
pub use session::{Ending, Options, serve};
pub use wire::{Listening, Place};

use crate::engines::{self, Job};
use crate::model::EngineId;
use crate::sandbox::Runner;

/// The machine of a job, for gdb, and what its sandbox must allow.
///
/// # Errors
/// The engine cannot be debugged here, or cannot make the machine.
pub fn machine(job: &Job<'_>) -> Result<(vmm_min::Machine, Runner), DebugError> {
    match job.request.engine.id {
        EngineId::Native => Err(DebugError::Native { program: job.request.workload.clone() }),
        engine @ (EngineId::QemuTcg | EngineId::QemuKvm) => Err(DebugError::Qemu(engine)),
        EngineId::Kvm => Ok((engines::machine(job)?, Runner::DebuggedKvm)),
        EngineId::EmuNaive | EngineId::EmuInterp | EngineId::EmuDbt => {
            Ok((engines::machine(job)?, Runner::DebuggedEmulator))
        }
    }
}

/// Linear address of a symbol of an ELF file.
#[must_use]
pub fn symbol(elf: &[u8], name: &str) -> Option<u64> {
    let file = object::File::parse(elf).ok()?;
    file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_its_process_is() {
        let address = symbol(workloads::kernel(), "current_pid").unwrap();
        assert!(address > 1 << 63, "{address:#x}");
        assert_eq!(symbol(workloads::kernel(), "no_such_symbol"), None);
        assert_eq!(symbol(b"no ELF", "current_pid"), None);
    }
}
