//! `experiment.json` of a crowd: what was planned, where it ran, and how it ended.

use serde::{Deserialize, Serialize};

use crate::model::{Setup, Status};
use crate::results::{EngineMeta, ImageMeta, State, Tool};

/// Version of the layout that this build writes.
pub const FORMAT: u32 = 1;

/// Everything about a crowd but its measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrowdMeta {
    /// Version of this layout.
    pub format: u32,
    /// How far it came.
    pub state: State,
    /// The program that ran it.
    pub tool: Tool,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// When it ended, RFC 3339, UTC; absent while it runs and after a kill.
    pub ended: Option<String>,
    /// What was planned.
    pub plan: CrowdPlan,
    /// The machine it ran on, as `evlab doctor --json` describes it.
    pub host: serde_json::Value,
    /// The engines asked for, with their versions or the reason why they are missing.
    pub engines: Vec<EngineMeta>,
    /// The guest images and their hashes.
    pub images: Vec<ImageMeta>,
    /// What did not go well.
    #[serde(default)]
    pub problems: Vec<CrowdProblem>,
}

/// What was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrowdPlan {
    /// The workload.
    pub workload: String,
    /// Numbers of guests.
    pub guests: Vec<u32>,
    /// Rounds of each engine with each number of guests.
    pub rounds: u32,
    /// Seed of the order of rounds.
    pub seed: u64,
    /// Processors that the guests may use.
    pub cpus: u32,
    /// Factor on the amount of work that the user chose; absent where each engine got its own.
    pub size: Option<f64>,
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Time limit of one run, seconds.
    pub timeout_s: u64,
    /// Whether guest RAM is backed before the region of interest.
    pub prefault: bool,
    /// Model of the CPU where it is emu-min's.
    pub cpu: String,
    /// What `--hz` chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
    /// Whether guests ran in the sandbox.
    pub sandbox: bool,
    /// Memory that was available before the first round, MiB.
    pub available_mib: u64,
    /// The work of each engine, once it is known.
    #[serde(default)]
    pub works: Vec<EngineWork>,
}

/// The work that each guest of an engine does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineWork {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// Factor on the amount of work of the catalogue.
    pub size: f64,
    /// Arguments of the program.
    pub args: Vec<String>,
}

impl CrowdPlan {
    /// The size of an engine's work.
    #[must_use]
    pub fn size_of(&self, engine: Setup) -> Option<f64> {
        self.works.iter().find(|work| work.engine == engine).map(|work| work.size)
    }

    /// Work that `guests` could do at best, in multiples of what one does: there are only so many processors.
    #[must_use]
    pub fn ideal(&self, guests: u32) -> f64 {
        f64::from(guests.min(self.cpus.max(1)))
    }
}

/// A guest that did not end well, or an engine that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrowdProblem {
    /// The engine.
    pub engine: Setup,
    /// How many guests ran side by side.
    pub guests: u32,
    /// How it ended.
    pub status: Status,
    /// Why, in one sentence.
    pub message: String,
}

impl std::fmt::Display for CrowdProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.status == Status::Mismatch { "mismatch: " } else { "" };
        let s = if self.guests == 1 { "" } else { "s" };
        write!(f, "{} with {} guest{s}: {word}{}", self.engine, self.guests, self.message)
    }
}
