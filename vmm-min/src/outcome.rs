//! What came of a run.

use std::fmt;
use std::time::{Duration, Instant};

use crate::counters::Counter;
use crate::dump::Dump;
use crate::fence::FenceReport;
use crate::latency::LatencyHistogram;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest ended the machine with this exit code.
    Exited(u8),
    /// It did not end within its time limit.
    TimeLimit(Dump),
    /// It used up its instruction budget.
    InstructionLimit(Dump),
    /// A fault while delivering a double fault. On some processors the registers are those after a reset.
    TripleFault(Dump),
    /// It halted, and nothing can wake it: the machine has no interrupt source.
    Halted(Dump),
    /// The virtual CPU cannot go on.
    Failed {
        /// Why, in one sentence.
        reason: String,
        /// What the machine looked like.
        dump: Dump,
    },
    /// Somebody stopped it.
    Stopped,
}

impl End {
    /// The state at the end, where it explains something.
    pub const fn dump(&self) -> Option<&Dump> {
        match self {
            Self::Exited(_) | Self::Stopped => None,
            Self::TimeLimit(dump)
            | Self::InstructionLimit(dump)
            | Self::TripleFault(dump)
            | Self::Halted(dump)
            | Self::Failed { dump, .. } => Some(dump),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "the guest ended with exit code {code}"),
            Self::TimeLimit(_) => f.write_str("the guest did not end within its time limit"),
            Self::InstructionLimit(_) => f.write_str("the guest used up its instruction budget"),
            Self::TripleFault(_) => {
                f.write_str("the guest's processor shut down (triple fault): a fault that its kernel could not handle")
            }
            Self::Halted(_) => f.write_str("the guest halted for ever: nothing can interrupt it"),
            Self::Failed { reason, .. } => f.write_str(reason),
            Self::Stopped => f.write_str("the run was stopped"),
        }
    }
}

/// The region of interest: the first `B` to the first `E` after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roi {
    /// Just before the guest went on after its `B`.
    pub begin: Instant,
    /// Just after its `E` arrived.
    pub end: Instant,
}

impl Roi {
    /// Its length.
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.begin)
    }
}

/// Everything a run yielded.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What the guest wrote on its console, at most [`crate::CONSOLE_LIMIT`] bytes and a note.
    pub console: Vec<u8>,
    /// When the guest was about to enter ring 3 for the first time (marker `U`).
    pub ring3_at: Option<Instant>,
    /// The region of interest, if both its markers came.
    pub roi: Option<Roi>,
    /// Guest instructions in the region of interest, where the virtual CPU counts them.
    pub guest_instructions: Option<u64>,
    /// When the virtual CPU was first run.
    pub started: Instant,
    /// When the run ended.
    pub ended: Instant,
    /// What was counted: in the region of interest under the plain name, in the whole run after `total.`.
    ///
    /// The exit that carries `B` is outside the region of interest, the one that carries `E` is in it; so a region
    /// that does nothing has one exit.
    pub counters: Vec<Counter>,
    /// How long exits took, and the stays in the virtual CPU before them, in the region of interest.
    ///
    /// The serving of the exit that carries `E` is not among them: the region ends in its midst.
    pub histograms: Vec<LatencyHistogram>,
    /// What became of the canaries, if RAM has any.
    pub fence: Option<FenceReport>,
}

impl Outcome {
    /// The guest's exit code, if it gave one.
    pub const fn exit_code(&self) -> Option<u8> {
        match self.end {
            End::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// A counter's value, summed over sources.
    pub fn counter(&self, name: &str) -> Option<u64> {
        let mut values = self.counters.iter().filter(|c| c.name == name).map(|c| c.value);
        values.next().map(|first| values.fold(first, u64::saturating_add))
    }
}
