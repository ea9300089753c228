//! What each command does: one module a command, each with
//! `fn execute(args: &...Args, out: &mut dyn Write) -> anyhow::Result<Verdict>`.
//!
//! An error ends the process with code 2 and one line on standard error.

pub(crate) mod ablate;
pub(crate) mod attack;
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod crowd;
pub(crate) mod debug;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod exec;
mod experiment;
pub(crate) mod explain;
pub(crate) mod fuzz;
pub(crate) mod gate;
pub(crate) mod isolation;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod micro;
mod model;
pub(crate) mod predict;
pub(crate) mod profile;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod studio;
pub(crate) mod trace;
pub(crate) mod walk;
pub(crate) mod warmup;

/// How a command ended; errors are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well: exit code 0.
    Well,
    /// The thing asked about is bad, such as a mismatch or a failed guest: exit code 1.
    Bad,
    /// Nothing is bad, but something cannot be told: exit code 3.
    Inconclusive,
    /// The user stopped it: exit code 130, as shells report Ctrl-C.
    Interrupted,
}

impl Verdict {
    /// The exit code of the process.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Bad => 1,
            Self::Inconclusive => 3,
            Self::Interrupted => 130,
        }
    }
}
