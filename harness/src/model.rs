//! The data that flows through the harness: what to run, and what one run yielded.
//!
//! Field names are those of `runs.csv` and of `evlab run --json`.

use std::fmt;
use std::str::FromStr;

use emu_min::Mechanisms;
use serde::{Deserialize, Serialize};

mod placement;
mod setup;

pub use placement::Placement;
pub use setup::{NAMES as MECHANISM_NAMES, Setup, SetupError};

/// An engine: a way to execute a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineId {
    /// The program as a Linux process.
    Native,
    /// vmm-min on /dev/kvm.
    Kvm,
    /// emu-min, decoding and walking page tables every time.
    EmuNaive,
    /// emu-min with decoded blocks, soft TLB and lazy flags.
    EmuInterp,
    /// emu-min with all that, and hot code translated to host code.
    EmuDbt,
    /// QEMU with its translator, TCG.
    QemuTcg,
    /// QEMU on /dev/kvm.
    QemuKvm,
}

impl EngineId {
    /// Every engine, in the order in which tables and charts show them.
    pub const ALL: [Self; 7] =
        [Self::Native, Self::Kvm, Self::QemuKvm, Self::EmuDbt, Self::EmuInterp, Self::EmuNaive, Self::QemuTcg];

    /// The name users type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kvm => "kvm",
            Self::EmuNaive => "emu-naive",
            Self::EmuInterp => "emu-interp",
            Self::EmuDbt => "emu-dbt",
            Self::QemuTcg => "qemu-tcg",
            Self::QemuKvm => "qemu-kvm",
        }
    }

    /// Whether its CPU is emu-min's, which has models.
    pub const fn has_emulated_cpu(self) -> bool {
        matches!(self, Self::EmuNaive | Self::EmuInterp | Self::EmuDbt)
    }

    /// Whether /dev/kvm runs its guests.
    pub const fn is_on_kvm(self) -> bool {
        matches!(self, Self::Kvm | Self::QemuKvm)
    }

    /// The mechanisms of its CPU, where that is emu-min's.
    pub const fn mechanisms(self) -> Option<Mechanisms> {
        match self {
            Self::EmuNaive => Some(Mechanisms::naive()),
            Self::EmuInterp => Some(Mechanisms::interp()),
            Self::EmuDbt => Some(Mechanisms::dbt()),
            Self::Native | Self::Kvm | Self::QemuTcg | Self::QemuKvm => None,
        }
    }

    /// What it is, in one line.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Native => "the program as a Linux process: the baseline",
            Self::Kvm => "a minimal VMM on /dev/kvm: the CPU itself runs the guest",
            Self::EmuNaive => "an emulator that decodes every instruction and walks the page tables every time",
            Self::EmuInterp => "an emulator with cached decoded blocks, a software TLB and lazy flags",
            Self::EmuDbt => "the same emulator, which translates hot code to host code",
            Self::QemuTcg => "QEMU with its translator, TCG",
            Self::QemuKvm => "QEMU on /dev/kvm",
        }
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no engine.
#[derive(Debug, thiserror::Error)]
#[error("unknown engine '{0}'; known: native, kvm, qemu-kvm, emu-dbt, emu-interp, emu-naive, qemu-tcg")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineId {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|e| e.name() == name).ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Exit code 0.
    Ok,
    /// It ended well, but its checksum is not the one the other engines computed.
    Mismatch,
    /// The guest ended with an exit code other than 0, or the engine gave up on it.
    Failed,
    /// It did not end within its time limit.
    Timeout,
    /// The user stopped it.
    Interrupted,
}

impl Status {
    /// The word that tables show: capitals where something went wrong.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Mismatch => "MISMATCH",
            Self::Failed => "FAILED",
            Self::Timeout => "TIMEOUT",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One number counted during a run.
///
/// A plain name (`exit.io`) is the count inside the region of interest; `total.` in front of it means the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Who counted: `vmm`, `kvm`, `emu` or `qemu`.
    pub source: String,
    /// What was counted, such as `exit.io` or `tlb.miss`.
    pub counter: String,
    /// How many (or, where the name ends in `_ns`, nanoseconds).
    pub value: u64,
}

/// How long something that happened many times took, each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// What: `exit.io` and so on for the time to serve such an exit, `run.io` and so on for the stay inside the virtual CPU
    /// before one.
    pub latency: String,
    /// The lengths that occurred, the shortest first.
    pub buckets: Vec<Bucket>,
}

/// How often it took so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// At least so long, nanoseconds.
    pub from_ns: u64,
    /// Shorter than this, nanoseconds.
    pub to_ns: u64,
    /// How often.
    pub count: u64,
}

/// What one run is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// A name of the catalogue, or the path of a program.
    pub workload: String,
    /// Arguments of the program, without its name.
    pub args: Vec<String>,
    /// The engine to run it on, with its mechanisms.
    pub engine: Setup,
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Seconds of wall time after which the run is stopped.
    pub timeout_s: u64,
    /// Whether guest RAM is backed by host memory before the region of interest.
    pub prefault: bool,
    /// The model of the CPU, on engines where it is emu-min's.
    pub cpu: emu_min::Model,
    /// Timer interrupts per second, where there is a guest kernel; 0: none.
    pub hz: u32,
    /// Whether the guest's own time passes in it, where the CPU is emu-min's.
    pub deterministic: bool,
    /// Whether what the guest does is counted instruction by instruction, where the CPU is emu-min's and the run deterministic, and
    /// how many nanoseconds of the guest's time an instruction then takes.
    pub profile: Option<u32>,
    /// Where stack and program lie, if that was drawn.
    pub placement: Option<Placement>,
    /// How the guest is kept in, and whether that is watched.
    pub confine: Confine,
}

/// How a guest is kept in, and whether that is watched. The default: neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confine {
    /// Put this process into the sandbox before the guest's first instruction, for good.
    pub sandbox: Option<SandboxChoice>,
    /// Put canaries around guest RAM.
    pub fenced: bool,
    /// A bug to plant, to see whether it is noticed.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub bug: Option<vmm_min::Bug>,
}

/// What tests ask of the sandbox; it makes it no weaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxChoice {
    /// A rule to leave out.
    pub without: Option<String>,
    /// A system call to make once it is in place.
    pub call: Option<String>,
}

/// What became of the canaries around guest RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRecord {
    /// Bytes that were watched.
    pub bytes: u64,
    /// Their checksum before the guest ran.
    pub before: u64,
    /// Their checksum after it.
    pub after: u64,
    /// The first of them that changed.
    pub damage: Option<String>,
}

/// What one run yielded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Number of the run in its experiment, from 1; 0 for a single run.
    pub run: u32,
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload, as asked for.
    pub workload: String,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// SHA-256 of the program's ELF, 64 hexadecimal digits.
    pub image_sha256: String,
    /// How it ended.
    pub status: Status,
    /// The program's checksum, 16 hexadecimal digits.
    pub checksum: Option<String>,
    /// The region of interest by the host's clock, nanoseconds.
    pub roi_host_ns: Option<u64>,
    /// The region of interest by the guest's time-stamp counter, nanoseconds.
    pub roi_guest_ns: Option<u64>,
    /// When the region of interest began, by the host's `CLOCK_MONOTONIC`, nanoseconds: so that runs side by side can be
    /// put on one line of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roi_began_ns: Option<u64>,
    /// From process start to end, nanoseconds.
    pub wall_ns: u64,
    /// From process start to the guest's first instruction in ring 3, nanoseconds.
    pub startup_ns: Option<u64>,
    /// Guest instructions in the region of interest, where the engine counts them.
    pub guest_instructions: Option<u64>,
    /// Exit code of the guest.
    pub exit_code: Option<u8>,
    /// Why the status is not `ok`, in one sentence.
    pub message: Option<String>,
    /// What the guest wrote on its console.
    pub console: String,
    /// What was counted.
    pub counters: Vec<Counter>,
    /// How long exits took in the region of interest, on engines whose machine is vmm-min's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<Histogram>,
    /// The command line of a child process (QEMU, or the native program), where there was one.
    pub command: Vec<String>,
    /// What kept the process that ran the guest from the host, as far as it is known: `off`, or the mechanisms in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Where stack and program lay, if that was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// What became of the canaries around guest RAM, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceRecord>,
}
