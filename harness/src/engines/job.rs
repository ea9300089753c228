//! One run to do.

use std::borrow::Cow;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::cmdline::{CommandLine, CommandLineError};
use super::error::EngineError;
use crate::model::{EngineId, RunRecord, RunRequest, Status};

/// A guest program.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name, which is also its `argv[0]`.
    pub name: String,
    /// The static ELF64 executable.
    pub elf: Cow<'static, [u8]>,
    /// How many processes to start from it, 1 or more.
    pub processes: u32,
    /// Whether it also runs as a Linux process.
    pub native: bool,
}

/// One run to do: what was asked for and the bytes to do it with.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// What was asked for.
    pub request: RunRequest,
    /// The guest program.
    pub program: Program,
    /// The guest kernel's ELF.
    pub kernel: &'a [u8],
}

impl Job<'_> {
    /// SHA-256 of the program's ELF, 64 hexadecimal digits.
    pub fn image_sha256(&self) -> String {
        Sha256::digest(&self.program.elf).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The time limit of the run, at most a year.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.request.timeout_s.min(365 * 24 * 3600))
    }

    /// The kernel command line of this run, without the options that depend on the engine.
    ///
    /// # Errors
    /// Where an argument cannot be expressed on it.
    pub fn command_line(&self) -> Result<CommandLine, CommandLineError> {
        let line = CommandLine::new(self.program.processes, &self.program.name, &self.request.args)?;
        let line = line.hz(self.request.hz);
        Ok(match self.request.placement {
            Some(placement) => line.environment(placement.environment_bytes),
            None => line,
        })
    }

    /// Checks what every engine needs of a job.
    ///
    /// # Errors
    /// Where the job is for another engine, its time limit is zero, or its program cannot be a guest.
    pub fn check(&self, engine: EngineId) -> Result<(), EngineError> {
        if self.request.engine.id != engine {
            return Err(EngineError::WrongEngine { asked: self.request.engine.id, got: engine });
        }
        if self.request.timeout_s == 0 {
            return Err(EngineError::NoTime);
        }
        if self.request.ram_mib > vmm_min::MAX_RAM_MIB {
            return Err(vmm_min::SpecError::TooMuchRam { ram_mib: self.request.ram_mib }.into());
        }
        vmm_min::check_program(&self.program.elf, self.request.ram_mib)
            .map_err(|source| EngineError::Program { program: self.request.workload.clone(), source })?;
        Ok(())
    }

    /// A record of this job with nothing measured in it yet.
    pub fn record(&self, status: Status) -> RunRecord {
        RunRecord {
            run: 0,
            engine: self.request.engine,
            workload: self.request.workload.clone(),
            args: self.request.args.clone(),
            image_sha256: self.image_sha256(),
            status,
            checksum: None,
            roi_host_ns: None,
            roi_guest_ns: None,
            roi_began_ns: None,
            wall_ns: 0,
            startup_ns: None,
            guest_instructions: None,
            exit_code: None,
            message: None,
            console: String::new(),
            counters: Vec::new(),
            histograms: Vec::new(),
            command: Vec::new(),
            sandbox: None,
            placement: self.request.placement,
            fence: None,
        }
    }
}
