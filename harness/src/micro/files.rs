//! The files of a measurement: every run as it ends, then the table and what it rests on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::benchmark::{Benchmark, Ring};
use super::cell::Cell;
use super::folder::Meta;
use super::sample::Sample;
use crate::model::EngineId;
use crate::results::{ReadError, Table, WriteError, read_table, write_meta};

/// Every run.
pub const RUNS_CSV: &str = "micro-runs.csv";
/// One row for each benchmark and engine.
pub const MICRO_CSV: &str = "micro.csv";
/// What was planned, and the host.
pub const MICRO_JSON: &str = "micro.json";

/// Columns of `micro-runs.csv`, in order.
const RUN_COLUMNS: [&str; 14] = [
    "run",
    "event",
    "ring",
    "engine",
    "phase",
    "iterations",
    "roi_ns",
    "guest_instructions",
    "exit_io",
    "exit_mmio",
    "exit_hlt",
    "exit_other",
    "lost",
    "message",
];
/// Columns of `micro.csv`, in order.
pub(super) const CELL_COLUMNS: [&str; 14] = [
    "event",
    "ring",
    "group",
    "engine",
    "n",
    "iterations",
    "ns",
    "ci_low_ns",
    "ci_high_ns",
    "instructions",
    "exits",
    "exits_expected",
    "note",
    "wrong",
];

/// What a run was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// To find the number of iterations.
    Calibration,
    /// To measure.
    Measurement,
}

#[derive(Serialize)]
struct Row<'a> {
    run: u32,
    event: &'a str,
    ring: Ring,
    engine: EngineId,
    phase: Phase,
    iterations: u64,
    roi_ns: Option<f64>,
    guest_instructions: Option<u64>,
    exit_io: Option<u64>,
    exit_mmio: Option<u64>,
    exit_hlt: Option<u64>,
    exit_other: Option<u64>,
    lost: Option<f64>,
    message: Option<&'a str>,
}

/// A run that was measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Timed {
    /// The event.
    pub event: String,
    /// Where it happened.
    pub ring: Ring,
    /// The engine.
    pub engine: EngineId,
    /// How many iterations.
    pub iterations: u64,
    /// The time of all of them, nanoseconds.
    pub roi_ns: f64,
    /// The part of it that was lost, where that was measured.
    pub lost: Option<f64>,
}

/// The runs of a folder that were measured and ended well; those of the calibration are not among them.
///
/// # Errors
/// The folder has no such file, or it is not one of `evlab micro`.
pub fn read_runs(folder: &Path) -> Result<Vec<Timed>, ReadError> {
    #[derive(Deserialize)]
    struct Read {
        event: String,
        ring: Ring,
        engine: EngineId,
        phase: Phase,
        iterations: u64,
        roi_ns: Option<f64>,
        #[serde(default)]
        lost: Option<f64>,
    }
    let rows: Vec<Read> = read_table(&folder.join(RUNS_CSV), &["event", "ring", "engine", "phase"], &mut Vec::new())?;
    let measured = rows.into_iter().filter(|row| row.phase == Phase::Measurement);
    let timed = measured.filter_map(|row| {
        let Read { event, ring, engine, iterations, roi_ns, lost, .. } = row;
        Some(Timed { event, ring, engine, iterations, roi_ns: roi_ns?, lost })
    });
    Ok(timed.collect())
}

/// Writes into one folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    runs: Table,
    count: u32,
}

impl Files {
    /// Creates the file of the runs in a folder.
    ///
    /// # Errors
    /// It cannot be created, or is there already.
    pub fn create(folder: &Path) -> Result<Self, WriteError> {
        let runs = Table::create(folder.join(RUNS_CSV), &RUN_COLUMNS)?;
        Ok(Self { folder: folder.to_owned(), runs, count: 0 })
    }

    /// Appends a run.
    pub(super) fn append(
        &mut self,
        benchmark: &Benchmark,
        engine: EngineId,
        phase: Phase,
        iterations: u64,
        result: &Result<Sample, String>,
    ) -> Result<(), WriteError> {
        self.count += 1;
        let sample = result.as_ref().ok();
        let exits = sample.and_then(|s| s.exits);
        let row = Row {
            run: self.count,
            event: benchmark.event.name(),
            ring: benchmark.ring,
            engine,
            phase,
            iterations,
            roi_ns: sample.map(|s| s.roi_ns),
            guest_instructions: sample.and_then(|s| s.instructions),
            exit_io: exits.map(|e| e.io),
            exit_mmio: exits.map(|e| e.mmio),
            exit_hlt: exits.map(|e| e.hlt),
            exit_other: exits.map(|e| e.other),
            lost: sample.and_then(|s| s.lost),
            message: result.as_ref().err().map(String::as_str),
        };
        self.runs.append(&[row])
    }

    /// Writes the table of all cells.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_cells(&self, cells: &[Cell]) -> Result<(), WriteError> {
        Table::create(self.folder.join(MICRO_CSV), &CELL_COLUMNS)?.append(cells)
    }

    /// Writes what the measurement rests on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_meta(&self, meta: &Meta) -> Result<(), WriteError> {
        write_meta(&self.folder.join(MICRO_JSON), meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::micro::benchmarks;

    #[test]
    fn runs_are_there_when_they_ended() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut files = Files::create(dir.path()).expect("files");
        let benchmark = &benchmarks()[0];
        let result = Err("no, \"never\"".to_owned());
        files.append(benchmark, EngineId::Kvm, Phase::Calibration, 64, &result).expect("write");
        let text = std::fs::read_to_string(dir.path().join(RUNS_CSV)).expect("read");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "run,event,ring,engine,phase,iterations,roi_ns,guest_instructions,exit_io,exit_mmio,exit_hlt,exit_other,\
                 lost,message",
                "1,loop,3,kvm,calibration,64,,,,,,,,\"no, \"\"never\"\"\""
            ]
        );
        assert!(Files::create(dir.path()).is_err(), "it is not overwritten");
        assert_eq!(read_runs(dir.path()).expect("read"), [], "no run was measured");
    }

    #[test]
    fn what_was_measured_is_read_back() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut files = Files::create(dir.path()).expect("files");
        let benchmark = &benchmarks()[0];
        let sample = Sample { iterations: 7, roi_ns: 21.0, instructions: Some(14), exits: None, lost: None };
        for phase in [Phase::Calibration, Phase::Measurement] {
            files.append(benchmark, EngineId::Native, phase, 7, &Ok(sample.clone())).expect("write");
        }
        let (event, ring) = (benchmark.event.name().to_owned(), benchmark.ring);
        let expected = Timed { event, ring, engine: EngineId::Native, iterations: 7, roi_ns: 21.0, lost: None };
        assert_eq!(read_runs(dir.path()).expect("read"), [expected]);
        assert!(read_runs(&dir.path().join("nowhere")).is_err());
    }
}
