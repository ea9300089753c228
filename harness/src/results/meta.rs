//! `experiment.json`: what was planned, where it ran, and how it ended.

use serde::{Deserialize, Serialize};

use crate::ablation::Step;
use crate::model::{EngineId, Setup, Status};

/// Version of the layout of `experiment.json` that this build writes.
pub const FORMAT: u32 = 1;

/// Everything about an experiment but its measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentMeta {
    /// Version of this layout.
    pub format: u32,
    /// How far the experiment came.
    pub state: State,
    /// The program that ran it.
    pub tool: Tool,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// When it ended, RFC 3339, UTC; absent while it runs and after a kill.
    pub ended: Option<String>,
    /// What was planned.
    pub plan: Plan,
    /// The schedule: `order[i]` is the index in `plan.cells` of run `i + 1`. Rounds that are added are in it before their
    /// first run begins, and what a budget cut off is not.
    pub order: Vec<usize>,
    /// The machine it ran on, as `evlab doctor --json` describes it.
    pub host: serde_json::Value,
    /// The engines asked for, with their versions or the reason why they are missing.
    pub engines: Vec<EngineMeta>,
    /// The guest images and their hashes: the kernel first, then the programs.
    pub images: Vec<ImageMeta>,
    /// Full command lines of child processes (QEMU), one per cell that had one.
    #[serde(default)]
    pub commands: Vec<CommandMeta>,
    /// Runs that did not end well, and why.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// How far an experiment came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is running, or was killed.
    Running,
    /// Every planned run ended.
    Complete,
    /// The user stopped it, or the results folder could not be written any more.
    Interrupted,
}

/// The program that ran the experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name and version.
    pub version: String,
    /// The git commit it was built from, where that is known.
    pub git_commit: Option<String>,
}

/// What was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `full` or `quick`.
    pub profile: String,
    /// Runs of each cell; the fewest, where there is a precision or a budget.
    pub runs_per_cell: u32,
    /// Half width of the 95% intervals of ratios, relative to the ratio, until which rounds were added; absent where none was
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Time for all runs, seconds; absent where none was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<u64>,
    /// Factor on the amount of work.
    pub size: f64,
    /// Seed of the order.
    pub seed: u64,
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Time limit of one run, seconds.
    pub timeout_s: u64,
    /// Whether guest RAM is backed before the region of interest.
    pub prefault: bool,
    /// Model of the CPU on `emu-naive` and `emu-interp`: `v1`, `v2` or `v3`; absent from experiments before there were
    /// models.
    #[serde(default)]
    pub cpu: Option<String>,
    /// What `--hz` chose: timer interrupts per second in every guest; absent where each workload had what it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
    /// Whether the guest's own time passed on `emu-*`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
    /// Whether each run drew where its stack and program lie; absent from experiments before that was drawn, which were
    /// fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetUp>,
    /// Whether guests ran in the sandbox, `on` or `off`; absent from experiments before there was one. What was in force is
    /// in `host.sandbox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What `--emu` chose of the emulated CPU's mechanisms; absent where nothing was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emu: Option<String>,
    /// The steps of an ablation: what is compared with what; absent from other experiments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ablation: Vec<Step>,
    /// What is measured: each pair of an engine and a workload that it can run.
    pub cells: Vec<Cell>,
}

/// Where stack and program lie in the runs of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetUp {
    /// At the same place in all of them.
    Fixed,
    /// Drawn for each run, from [`Placement::seed_of_run`](crate::model::Placement::seed_of_run) of the plan's seed and the
    /// number of the run: `evlab run --setup` with that number draws it again.
    Drawn,
}

/// One engine with one workload: measured several times.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload, a name of the catalogue.
    pub workload: String,
    /// Arguments of the program.
    pub args: Vec<String>,
}

/// An engine as the experiment found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineMeta {
    /// The engine.
    pub id: EngineId,
    /// Its version; absent if the engine is missing.
    pub version: Option<String>,
    /// Why it is missing.
    pub missing: Option<String>,
    /// How to get it.
    pub fix: Option<String>,
}

/// A guest image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMeta {
    /// `kernel`, or the name of a program.
    pub name: String,
    /// SHA-256 of the ELF, 64 hexadecimal digits.
    pub sha256: String,
    /// Size of the ELF, bytes.
    pub bytes: u64,
}

/// The command line of the child process that ran a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandMeta {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// A run that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Number of the run, from 1.
    pub run: u32,
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// How it ended.
    pub status: Status,
    /// Why, in one sentence.
    pub message: String,
    /// The end of what the guest wrote on its console.
    pub console: String,
}
