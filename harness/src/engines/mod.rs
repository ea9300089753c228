//! The engines: every way to execute a guest, behind one trait.
//!
//! [`engine`] gives the one with an id, [`all`] every one; [`Engine::availability`] says whether this host has it and
//! how to get it. A [`Job`] is one run to do and a [`RunRecord`] what it yielded.
//!
//! All engines keep the same promises: a run is bounded by its time limit, it ends promptly once its [`StopFlag`] is
//! set, and no process outlives it. What the time stamps of each engine mean is in `docs/engines.md`.

mod child;
mod clock;
mod cmdline;
mod console;
mod cpu_time;
mod error;
mod image;
mod job;
mod kvm;
mod markers;
mod mock;
mod native;
mod outcome;
#[cfg(any(debug_assertions, feature = "planted"))]
mod planted;
mod qemu;
mod stop;
mod tap;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vmm;

pub use clock::{SPAWNED_AT_ENV, monotonic_ns};
pub use cmdline::{CommandLine, CommandLineError};
pub use error::EngineError;
pub use job::{Job, Program};
pub use mock::MockEngine;
pub(crate) use qemu::{
    has_sandbox as qemu_has_sandbox, is_named as qemu_is_named, path as qemu_path, version as qemu_version,
};
pub use stop::StopFlag;
pub use vmm::Watched;
pub(crate) use vmm::stoppable;

use vmm_min::{CpuKind, Witness};

use crate::model::{EngineId, RunRecord};

/// Whether this host can use an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Available {
        /// Version of the engine, for the record.
        version: String,
    },
    /// It cannot.
    Missing {
        /// Why, in a clause without a full stop.
        reason: String,
        /// How to get it, in a clause without a full stop.
        fix: String,
    },
}

impl Availability {
    /// Whether the engine can be used.
    pub const fn is_available(&self) -> bool {
        matches!(self, Self::Available { .. })
    }
}

/// A way to execute a guest.
pub trait Engine: Send + Sync {
    /// Which engine this is.
    fn id(&self) -> EngineId;

    /// Whether this host can use it. Cheap: answers are cached where a process must be asked.
    fn availability(&self) -> Availability;

    /// Does one run.
    ///
    /// A guest that fails, hangs or is stopped yields a record with that status.
    ///
    /// # Errors
    /// Where no run took place: the engine is missing, the job does not apply to it, or it could not be started.
    fn run(&self, job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError>;
}

/// The engine with that id.
pub fn engine(id: EngineId) -> &'static dyn Engine {
    match id {
        EngineId::Native => &native::Native,
        EngineId::Kvm => &vmm::Vmm { id: EngineId::Kvm, cpu: CpuKind::Kvm },
        EngineId::EmuNaive => &vmm::Vmm { id: EngineId::EmuNaive, cpu: CpuKind::EmuNaive },
        EngineId::EmuInterp => &vmm::Vmm { id: EngineId::EmuInterp, cpu: CpuKind::EmuInterp },
        EngineId::EmuDbt => &vmm::Vmm { id: EngineId::EmuDbt, cpu: CpuKind::EmuDbt },
        EngineId::QemuTcg => &qemu::Qemu(qemu::Accelerator::Tcg),
        EngineId::QemuKvm => &qemu::Qemu(qemu::Accelerator::Kvm),
    }
}

/// The engines that are machines of vmm-min, which a [`Witness`] can look into.
pub const WATCHED: [EngineId; 4] = [EngineId::Kvm, EngineId::EmuDbt, EngineId::EmuInterp, EngineId::EmuNaive];

/// Does one run on the engine that the job names, with a witness of its exits. Nothing is measured.
///
/// # Errors
/// As [`Engine::run`]; besides, where the engine is none of [`WATCHED`].
pub fn watch<W: Witness>(job: &Job<'_>, stop: &StopFlag, witness: &mut W) -> Result<Watched, EngineError> {
    vmm_of(job)?.watch(job, stop, witness)
}

/// The machine of a job, its guest loaded.
///
/// # Errors
/// The engine is none of [`WATCHED`], is missing, or cannot make the machine.
pub(crate) fn machine(job: &Job<'_>) -> Result<vmm_min::Machine, EngineError> {
    vmm_of(job)?.machine(job)
}

fn vmm_of(job: &Job<'_>) -> Result<vmm::Vmm, EngineError> {
    let id = job.request.engine.id;
    let cpu = match id {
        EngineId::Kvm => CpuKind::Kvm,
        EngineId::EmuNaive => CpuKind::EmuNaive,
        EngineId::EmuInterp => CpuKind::EmuInterp,
        EngineId::EmuDbt => CpuKind::EmuDbt,
        EngineId::Native | EngineId::QemuTcg | EngineId::QemuKvm => return Err(EngineError::Closed { engine: id }),
    };
    Ok(vmm::Vmm { id, cpu })
}

/// Every engine, in the order of [`EngineId::ALL`].
pub fn all() -> [&'static dyn Engine; EngineId::ALL.len()] {
    EngineId::ALL.map(engine)
}
