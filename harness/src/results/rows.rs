//! The rows of `runs.csv`, `counters.csv` and `histograms.csv`.

use serde::{Deserialize, Serialize};

use crate::model::{RunRecord, Setup, Status};

/// Columns of `runs.csv`, in order.
pub const RUN_COLUMNS: [&str; 12] = [
    "run",
    "engine",
    "workload",
    "args",
    "image_sha256",
    "status",
    "checksum",
    "roi_host_ns",
    "roi_guest_ns",
    "wall_ns",
    "startup_ns",
    "guest_instructions",
];

/// Columns of `counters.csv`, in order.
pub const COUNTER_COLUMNS: [&str; 4] = ["run", "source", "counter", "value"];

/// Columns of `histograms.csv`, in order.
pub const HISTOGRAM_COLUMNS: [&str; 5] = ["run", "latency", "from_ns", "to_ns", "count"];

/// One row of `runs.csv`; see [`RunRecord`] for the meaning of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Number of the run, from 1.
    pub run: u32,
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Arguments of the program, joined by spaces.
    pub args: String,
    /// SHA-256 of the program's ELF.
    pub image_sha256: String,
    /// How the run ended.
    pub status: Status,
    /// The program's checksum, 16 hexadecimal digits.
    pub checksum: Option<String>,
    /// The region of interest by the host's clock, nanoseconds.
    pub roi_host_ns: Option<u64>,
    /// The region of interest by the guest's time-stamp counter, nanoseconds.
    pub roi_guest_ns: Option<u64>,
    /// From process start to end, nanoseconds.
    pub wall_ns: u64,
    /// From process start to the first instruction in ring 3, nanoseconds.
    pub startup_ns: Option<u64>,
    /// Guest instructions in the region of interest.
    pub guest_instructions: Option<u64>,
}

impl RunRow {
    /// The time of the run, nanoseconds: the region of interest by the guest's time-stamp counter, which no marker's way to
    /// the host is part of; by the host's clock where the program prints no ticks. 0 is no time.
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        self.roi_guest_ns.or(self.roi_host_ns).filter(|&ns| ns > 0)
    }
}

impl From<&RunRecord> for RunRow {
    fn from(record: &RunRecord) -> Self {
        Self {
            run: record.run,
            engine: record.engine,
            workload: one_line(&record.workload),
            args: one_line(&record.args.join(" ")),
            image_sha256: record.image_sha256.clone(),
            status: record.status,
            checksum: record.checksum.clone(),
            roi_host_ns: record.roi_host_ns,
            roi_guest_ns: record.roi_guest_ns,
            wall_ns: record.wall_ns,
            startup_ns: record.startup_ns,
            guest_instructions: record.guest_instructions,
        }
    }
}

/// One row of `counters.csv`; see [`crate::model::Counter`] for the meaning of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// Number of the run, from 1.
    pub run: u32,
    /// Who counted.
    pub source: String,
    /// What was counted.
    pub counter: String,
    /// How many.
    pub value: u64,
}

/// The counters of a run as rows.
#[must_use]
pub fn counter_rows(record: &RunRecord) -> Vec<CounterRow> {
    record
        .counters
        .iter()
        .map(|c| CounterRow {
            run: record.run,
            source: one_line(&c.source),
            counter: one_line(&c.counter),
            value: c.value,
        })
        .collect()
}

/// One row of `histograms.csv`; see [`crate::model::Histogram`] for the meaning of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramRow {
    /// Number of the run, from 1.
    pub run: u32,
    /// What took so long.
    pub latency: String,
    /// At least so long, nanoseconds.
    pub from_ns: u64,
    /// Shorter than this, nanoseconds.
    pub to_ns: u64,
    /// How often.
    pub count: u64,
}

/// The histograms of a run as rows.
#[must_use]
pub fn histogram_rows(record: &RunRecord) -> Vec<HistogramRow> {
    let rows = record.histograms.iter().flat_map(|histogram| {
        histogram.buckets.iter().map(|bucket| HistogramRow {
            run: record.run,
            latency: one_line(&histogram.latency),
            from_ns: bucket.from_ns,
            to_ns: bucket.to_ns,
            count: bucket.count,
        })
    });
    rows.collect()
}

/// Keeps a record on one line of the file, so that a torn line is a torn record.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
