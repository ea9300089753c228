//! What a gate found.

use serde::{Deserialize, Serialize};

use super::exact::Deviation;
use super::judge::{Judged, Standing};
use super::rules::Rules;
use crate::model::{EngineId, Setup};
use crate::results::Tool;

/// The answer of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No count differs, no time became worse.
    Pass,
    /// A count differs, a run failed, or a time became worse.
    Fail,
    /// Nothing is surely worse, and something may be.
    Inconclusive,
}

impl Verdict {
    /// The word shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The time of a cell of the head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The engine.
    pub engine: Setup,
    /// The workload, with its arguments.
    pub workload: String,
    /// Runs.
    pub n: usize,
    /// Median time of the region of interest, nanoseconds.
    pub median_ns: f64,
    /// As a multiple of the reference's, where it runs the workload.
    pub slowdown: Option<f64>,
    /// Lower end of its 95% interval.
    pub slowdown_low: Option<f64>,
    /// Upper end.
    pub slowdown_high: Option<f64>,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `head` or `base`.
    pub build: String,
    /// The engine.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Why, in a sentence.
    pub message: String,
}

/// Everything that a gate found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// What the head was held against: a file, or another build.
    pub against: String,
    /// The program that was judged.
    pub tool: Tool,
    /// The machine it ran on, as `evlab doctor --json` describes it.
    pub host: serde_json::Value,
    /// The engine that times were divided by; absent where two builds ran side by side.
    pub reference: Option<EngineId>,
    /// Thresholds and numbers of runs.
    pub rules: Rules,
    /// Seed of the order and of the intervals.
    pub seed: u64,
    /// Cells whose counts were compared.
    pub counted: usize,
    /// Counts that differ.
    pub deviations: Vec<Deviation>,
    /// Comparisons of times, the means first.
    pub times: Vec<Judged>,
    /// The times of the head.
    pub measured: Vec<Measured>,
    /// Runs that failed.
    pub failures: Vec<Failure>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// Runs that were made.
    pub runs: u32,
    /// Time it took, seconds.
    pub seconds: f64,
    /// The share of the time in which somebody waited for a processor while times were measured, 0 to 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<f64>,
}

impl Report {
    /// The answer to what was found.
    #[must_use]
    pub(super) fn judge(mut self) -> Self {
        let has = |standing| self.times.iter().any(|judged| judged.standing == standing);
        self.verdict = if !self.deviations.is_empty() || !self.failures.is_empty() || has(Standing::Slower) {
            Verdict::Fail
        } else if has(Standing::Inconclusive) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        };
        self
    }

    /// The times that are not as they were.
    pub fn notable(&self) -> impl Iterator<Item = &Judged> {
        self.times.iter().filter(|judged| judged.standing != Standing::Fine)
    }

    /// The answer and its reasons, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        let mut count = |n: usize, one: &str, many: &str| {
            if n > 0 {
                parts.push(format!("{n} {}", if n == 1 { one } else { many }));
            }
        };
        let with = |standing| self.times.iter().filter(|judged| judged.standing == standing).count();
        count(self.failures.len(), "run failed", "runs failed");
        count(self.deviations.len(), "exact value differs", "exact values differ");
        count(with(Standing::Slower), "time is slower", "times are slower");
        count(with(Standing::Inconclusive), "time may be slower", "times may be slower");
        if parts.is_empty() {
            let times = match self.times.len() {
                0 => "",
                _ if with(Standing::Suspect) > 0 => "",
                _ => ", and no time is slower",
            };
            parts.push(format!("the counts of {} cells are equal{times}", self.counted));
        }
        let mut count = |n: usize, words: &str| {
            if n > 0 {
                parts.push(format!("{n} {words}"));
            }
        };
        count(with(Standing::Suspect), "of the times look slower, which was not judged");
        count(with(Standing::Faster), "of the times are faster");
        format!("{}: {}", self.verdict.name(), parts.join(", "))
    }
}
