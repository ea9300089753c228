//! One micro-benchmark: an event in a ring, and what is known of it beforehand.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use workloads::Event;

use super::absent;
use crate::engines::{Job, Program};
use crate::host::KvmBackend;
use crate::model::{Confine, EngineId, RunRequest};

/// Guest RAM, MiB: room for the largest event, with 64 MiB of data in 4 KiB or in 2 MiB pages.
pub(super) const RAM_MIB: u32 = 256;
/// Time limit of one run, seconds.
pub(super) const TIMEOUT_S: u64 = 30;

/// Where an event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Ring {
    /// In the kernel.
    Zero,
    /// In a program.
    Three,
}

impl Ring {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::Three => 3,
        }
    }
}

impl From<Ring> for u8 {
    fn from(ring: Ring) -> Self {
        ring.number()
    }
}

impl TryFrom<u8> for Ring {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::Zero),
            3 => Ok(Self::Three),
            _ => Err(format!("there is no ring {number} here; 0 and 3 are")),
        }
    }
}

/// What an event is about; tables show events by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Loops without an event, which are subtracted.
    Control,
    /// Instructions that a hypervisor may intercept.
    Instructions,
    /// Ports and memory-mapped registers.
    Devices,
    /// System calls, exceptions, interrupts.
    Kernel,
    /// Page tables and TLB.
    Translation,
    /// Data.
    Memory,
    /// Branches, blocks, code that changes.
    Code,
    /// Instructions that compute.
    Arithmetic,
    /// Timer and idleness.
    Time,
}

impl Group {
    /// The groups of events, in the order of tables.
    pub const SHOWN: [Self; 8] = [
        Self::Kernel,
        Self::Devices,
        Self::Instructions,
        Self::Translation,
        Self::Memory,
        Self::Code,
        Self::Arithmetic,
        Self::Time,
    ];

    /// The name shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "controls",
            Self::Instructions => "instructions",
            Self::Devices => "devices",
            Self::Kernel => "into the kernel",
            Self::Translation => "address translation",
            Self::Memory => "memory",
            Self::Code => "code",
            Self::Arithmetic => "arithmetic",
            Self::Time => "time",
        }
    }
}

/// Exits to the virtual machine monitor that one event takes, by reason; of those that our own machine serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exits {
    /// Accesses to ports.
    pub io: u64,
    /// Accesses to memory that is none.
    pub mmio: u64,
    /// Halts.
    pub hlt: u64,
}

impl Exits {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.io + self.mmio + self.hlt
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The time of the region of interest, less the control's.
    Time,
    /// The part of the time that the program was kept from running, nanoseconds for each millisecond.
    Lost,
}

/// One micro-benchmark.
#[derive(Debug, Clone)]
pub struct Benchmark {
    /// The event.
    pub event: Event,
    /// Where it happens.
    pub ring: Ring,
    /// What it is about.
    pub group: Group,
    /// What one operation is, in one line.
    pub summary: &'static str,
    /// What is subtracted: the same loop without the event, in the same ring.
    pub control: Option<Event>,
    /// Operations of one iteration.
    pub operations: u64,
    /// Exits of one iteration.
    pub exits: Exits,
    /// A time that one iteration waits on purpose, nanoseconds; subtracted.
    pub wait_ns: f64,
    /// Most iterations of a run, where memory bounds them.
    pub most: u64,
    /// Timer interrupts per second.
    pub hz: u32,
    /// Processes that take part.
    pub processes: u32,
    /// What is measured.
    pub measure: Measure,
    /// Why a Linux process cannot do it, if so.
    pub not_native: Option<&'static str>,
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in ring {}", self.event.name(), self.ring.number())
    }
}

impl Benchmark {
    /// Whether it is only there to be subtracted.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.group == Group::Control
    }

    /// Whether exits besides those expected may come: where the timer interrupts, the virtual CPU is interrupted too.
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.hz != 0
    }

    /// Why there is no value on an engine, if that is known beforehand.
    #[must_use]
    pub fn absent(&self, engine: EngineId, backend: KvmBackend) -> Option<&'static str> {
        match engine {
            EngineId::Native if self.ring == Ring::Zero => Some("a Linux process has no ring 0"),
            EngineId::Native => self.not_native,
            EngineId::Kvm | EngineId::QemuKvm => absent::on_kvm(self.event, self.ring, backend),
            EngineId::EmuNaive | EngineId::EmuInterp | EngineId::EmuDbt | EngineId::QemuTcg => {
                absent::on_emulators(self.event)
            }
        }
    }

    /// The run that does it so many times.
    #[must_use]
    pub fn job(&self, engine: EngineId, iterations: u64, confine: Confine) -> Job<'static> {
        let program = Program {
            name: "micro".to_owned(),
            elf: Cow::Borrowed(workloads::micro_program()),
            processes: self.processes,
            native: self.ring == Ring::Three && self.not_native.is_none(),
        };
        let request = RunRequest {
            workload: self.event.name().to_owned(),
            args: vec![(self.event as u64).to_string(), self.ring.number().to_string(), iterations.to_string()],
            engine: engine.into(),
            ram_mib: RAM_MIB,
            timeout_s: TIMEOUT_S,
            prefault: true,
            cpu: emu_min::Model::highest(),
            hz: self.hz,
            deterministic: false,
            profile: None,
            placement: None,
            confine,
        };
        Job { request, program, kernel: workloads::micro_kernel() }
    }
}
