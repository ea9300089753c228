//! Micro-benchmarks: what one event costs on each engine.
//!
//! [`benchmarks`] lists them. [`measure`] finds for each, on each engine, how many iterations make a region of interest
//! that is long enough, then runs all of them in rounds of seeded random order, each run a process of its own. A [`Cell`]
//! is what the runs say: nanoseconds of one operation with the cost of the loop subtracted, guest instructions, and exits,
//! which must be those expected. `docs/micro-benchmarks.md` says what each event is.

mod absent;
mod benchmark;
mod calibrate;
mod campaign;
mod catalog;
mod cell;
mod child;
mod files;
mod folder;
mod sample;
pub mod table;

pub use benchmark::{Benchmark, Exits, Group, Measure, Ring};
pub use campaign::{Plan, Runner, Watcher, measure};
pub use catalog::{PERIOD_NS, benchmarks};
pub use cell::Cell;
pub use child::ChildRunner;
pub use files::{Files, MICRO_CSV, MICRO_JSON, Phase, RUNS_CSV, Timed, read_runs};
#[cfg(test)]
pub(crate) use folder::made;
pub use folder::{Measured, Meta, is_micro, read};
pub use sample::{Counted, Sample};
