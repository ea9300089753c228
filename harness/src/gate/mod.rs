//! A gate for continuous integration: fails on a real regression, stays silent on noise, and says so when it cannot tell.
//!
//! Two parts. What is exact is compared exactly: image hashes, checksums, guest instructions, exits, and every counter of the
//! emulators, whose guests then live in a time of their own (`--deterministic`). Times are compared as ratios: to a reference
//! engine measured beside them, so that a baseline of another day or host serves, or between two builds of this program
//! measured side by side. A time fails the gate only if two measurements agree: a short one that raises the suspicion, and a
//! longer one of the suspects alone, whose interval lies beyond the threshold.

mod baseline;
mod bench;
mod conduct;
mod exact;
mod judge;
pub mod output;
mod parallel;
mod plan;
mod power;
mod report;
mod rules;
mod samples;
#[cfg(test)]
mod simulation;

pub use baseline::{Baseline, BaselineError, Timed};
pub use bench::{Bench, Build, BuildName, Interrupted};
pub use conduct::{Against, Setting, Times, baseline_of, conduct};
pub use exact::{Deviation, ExactCell, Tolerance, ToleranceError};
pub use judge::{Judged, Standing};
pub use parallel::{Worker, at_once};
pub use plan::{Plan, PlanError};
pub use power::{Detectable, Power, fewest, power, rounds_for};
pub use report::{Failure, Measured, Report, Verdict};
pub use rules::{BUSY, Rules};
pub use samples::{Sample, Samples};
