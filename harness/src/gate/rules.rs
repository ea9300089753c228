//! What counts as a regression of a time, and how much is measured to find out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Thresholds and numbers of runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The part by which the time of one engine with one workload may grow.
    pub cell: f64,
    /// The part by which the geometric mean of an engine over the programs may grow.
    pub mean: f64,
    /// Rounds of the first measurement.
    pub runs: u32,
    /// Rounds of a look of the second, of suspects alone; there are at most [`LOOKS`]. A baseline has twice as many.
    pub rerun: u32,
    /// No round of the second measurement begins that would end later than so many seconds after the beginning; absent: it takes
    /// the time that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_s: Option<u64>,
}

impl Rules {
    /// The time that the budget leaves after the beginning.
    pub(super) fn budget(&self) -> Duration {
        self.budget_s.map_or(Duration::MAX, Duration::from_secs)
    }
}

impl Default for Rules {
    /// Chosen so that a gate of one build against itself hardly ever fails and a mean that grew by 5% hardly ever passes, and
    /// that a gate of the quick workloads answers within two minutes; `evlab calibrate` says how well that holds on a host.
    fn default() -> Self {
        Self { cell: 0.15, mean: 0.02, runs: 7, rerun: 25, budget_s: Some(110) }
    }
}

/// A host is too busy for times to be judged by a baseline while somebody waits for a processor during more than this share of the
/// time: a run that waits takes longer, and long runs wait more than the short ones of the reference.
pub const BUSY: f64 = 0.1;

/// Most looks of the second measurement: who is neither slower nor cleared after one is measured on.
pub(super) const LOOKS: usize = 3;
