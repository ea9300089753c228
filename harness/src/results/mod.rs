//! A results folder: writing it while an experiment runs, and reading it back.
//!
//! Promises: a row of `runs.csv` is there once its run has ended, and its counters and histograms are there before it; every file is
//! readable at every moment, also after `kill -9`; nothing that was measured is overwritten.

mod judge;
mod meta;
mod read;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
mod write;

pub use judge::{Mismatch, judge};
pub use meta::{Cell, CommandMeta, EngineMeta, ExperimentMeta, FORMAT, ImageMeta, Plan, Problem, SetUp, State, Tool};
pub use read::{ReadError, read};
pub(crate) use read::{read_json, read_meta, read_table};
pub use rows::{
    COUNTER_COLUMNS, CounterRow, HISTOGRAM_COLUMNS, HistogramRow, RUN_COLUMNS, RunRow, counter_rows, histogram_rows,
};
pub(crate) use write::{Table, write_meta};
pub use write::{WriteError, Writer};

/// Name of the file that describes the experiment.
pub const EXPERIMENT_JSON: &str = "experiment.json";
/// Name of the file with one row per run.
pub const RUNS_CSV: &str = "runs.csv";
/// Name of the file with one row per counter and run.
pub const COUNTERS_CSV: &str = "counters.csv";
/// Name of the file with one row per run, kind of latency and length.
pub const HISTOGRAMS_CSV: &str = "histograms.csv";

/// An experiment as read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// What was planned, where it ran, and how it ended.
    pub meta: ExperimentMeta,
    /// The runs, in the order in which they ended.
    pub runs: Vec<RunRow>,
    /// The counters of these runs.
    pub counters: Vec<CounterRow>,
    /// How long their exits took; empty in folders of older versions.
    pub histograms: Vec<HistogramRow>,
    /// What was left out of a damaged folder, one sentence each.
    pub warnings: Vec<String>,
}
