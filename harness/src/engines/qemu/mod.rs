//! QEMU as an engine, with its translator (TCG) or on /dev/kvm.
//!
//! QEMU gets everything over descriptors: the guest's files are sealed memory files, markers and console are pipes, QMP
//! is a socket pair; so a run leaves nothing on disk and nobody else can speak to it. Markers are timestamped when a thread
//! that does nothing else reads them; two that arrive before that thread wakes share a timestamp. So a region of
//! interest shorter than about 0.1 ms is known by the guest's own `ticks` only. QMP is not touched before the guest
//! reports its exit code, so nothing but the guest's own work disturbs the region of interest.
//!
//! # The machine type
//! `microvm,acpi=off`, chosen by time from the start of QEMU to marker `U`. Median of 11 interleaved runs of `noop`, 2
//! cores of an AMD EPYC (Zen 4), Linux 6.18, QEMU 7.2, KVM backend PVM, other work on the machine:
//!
//! | machine | TCG, ms | KVM, ms |
//! |---|---|---|
//! | `microvm,acpi=off` | 49 | 81 |
//! | `microvm` | 58 | 77 |
//! | `q35` | 159 | 4425 |
//! | `pc` | 136 | 5665 |
//!
//! The firmware of `pc` and `q35` runs thousands of instructions in ring 0, which that backend emulates; with VT-x or
//! AMD-V they differ by what SeaBIOS does. Once the guest runs, `microvm` is no slower than the others: `docs/engines.md`.

mod command;
mod counters;
mod probe;
mod qmp;
mod run;

use std::path::PathBuf;

use super::{Availability, Engine, EngineError, Job, StopFlag};
use crate::model::{EngineId, RunRecord};
use probe::NoQemu;

/// What executes the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// QEMU's translator.
    Tcg,
    /// /dev/kvm.
    Kvm,
}

impl Accelerator {
    /// QEMU's name for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// QEMU with one of its accelerators.
#[derive(Debug)]
pub(super) struct Qemu(pub(super) Accelerator);

/// Version of this host's QEMU, if there is one that works.
pub(crate) fn version() -> Option<String> {
    probe::facts().ok().map(|facts| facts.version)
}

/// Whether this host's QEMU can filter its own system calls, if there is one.
pub(crate) fn has_sandbox() -> Option<bool> {
    probe::facts().ok().map(|facts| facts.sandbox)
}

/// Whether the user named a QEMU, so that another one in `PATH` would not be used.
pub(crate) fn is_named() -> bool {
    std::env::var_os(probe::QEMU_ENV).is_some_and(|name| !name.is_empty())
}

/// Where this host's QEMU is, or why there is none.
pub(crate) fn path() -> Result<PathBuf, String> {
    probe::locate().map_err(|NoQemu { reason, fix }| format!("{reason}; {fix}"))
}

impl Qemu {
    /// What a run needs: the program, and the right to use the accelerator. Starts no process.
    fn ready(&self) -> Result<PathBuf, NoQemu> {
        let program = probe::locate()?;
        match (self.0, super::kvm::missing()) {
            (Accelerator::Kvm, Some(Availability::Missing { reason, fix })) => Err(NoQemu { reason, fix }),
            _ => Ok(program),
        }
    }

    fn version(&self) -> Result<String, NoQemu> {
        self.ready()?;
        let facts = probe::facts()?;
        for (kind, name, has) in [
            ("accelerator", self.0.name(), facts.has_accelerator(self.0.name())),
            ("machine type", "microvm", facts.has_machine("microvm")),
        ] {
            if !has {
                return Err(NoQemu {
                    reason: format!("this QEMU ({}) was built without the {kind} {name}", facts.version),
                    fix: format!("install another, and let {} name it", probe::QEMU_ENV),
                });
            }
        }
        Ok(facts.version)
    }
}

impl Engine for Qemu {
    fn id(&self) -> EngineId {
        match self.0 {
            Accelerator::Tcg => EngineId::QemuTcg,
            Accelerator::Kvm => EngineId::QemuKvm,
        }
    }

    fn availability(&self) -> Availability {
        match self.version() {
            Ok(version) => Availability::Available { version: format!("QEMU {version}") },
            Err(NoQemu { reason, fix }) => Availability::Missing { reason, fix },
        }
    }

    fn run(&self, job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError> {
        job.check(self.id())?;
        let program =
            self.ready().map_err(|NoQemu { reason, fix }| EngineError::Missing { engine: self.id(), reason, fix })?;
        run::run(&program, self.0, job, stop)
    }
}
