//! Why a run did not take place.

use std::io;

use vmm_min::{MachineError, ProgramError, RunError, SpecError};

use super::cmdline::CommandLineError;
use crate::model::EngineId;

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// This host lacks the engine.
    #[error("engine {engine} is not available: {reason}; {fix}")]
    Missing {
        /// The engine.
        engine: EngineId,
        /// Why it is missing.
        reason: String,
        /// How to get it.
        fix: String,
    },
    /// The workload does not run on this engine.
    #[error("{workload} does not run on engine {engine}: {reason}; choose another engine")]
    NotApplicable {
        /// The engine.
        engine: EngineId,
        /// The workload.
        workload: String,
        /// Why it does not apply.
        reason: &'static str,
    },
    /// Nobody can look into a guest of this engine.
    #[error(
        "engine {engine} does not let this program look into its guest; choose kvm, emu-dbt, emu-interp or emu-naive"
    )]
    Closed {
        /// The engine.
        engine: EngineId,
    },
    /// The job names another engine than the one asked to do it.
    #[error("a run for engine {asked} was handed to engine {got}; ask engine {asked}")]
    WrongEngine {
        /// The engine that the job names.
        asked: EngineId,
        /// The engine that got it.
        got: EngineId,
    },
    /// The time limit is zero.
    #[error("the time limit of a run is 0 s; give it at least 1 s")]
    NoTime,
    /// Such a machine cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The program cannot be a guest.
    #[error("{program}: {source}")]
    Program {
        /// The workload or path.
        program: String,
        /// What is wrong with it.
        source: ProgramError,
    },
    /// An argument cannot be passed to the guest.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
    /// The machine could not be built.
    #[error("engine {engine} cannot build its machine: {source}")]
    Machine {
        /// The engine.
        engine: EngineId,
        /// What the machine said.
        source: Box<MachineError>,
    },
    /// The machine could not be run to any end.
    #[error("engine {engine} cannot run its machine: {source}")]
    Run {
        /// The engine.
        engine: EngineId,
        /// What the machine said.
        source: Box<RunError>,
    },
    /// A child process could not be started.
    #[error("cannot start {command}: {source}")]
    Spawn {
        /// The program that was to be started.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The host refused something that a run needs.
    #[error("cannot {what}: {source}")]
    Host {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
