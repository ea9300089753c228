//! The files of a measurement: every lap as its run ends, then the table and what it rests on.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cell::Cell;
use crate::model::Setup;
use crate::results::{self, Table, WriteError, write_meta};

/// Every lap.
pub const LAPS_CSV: &str = "warmup-laps.csv";
/// One row for each workload and engine.
pub const WARMUP_CSV: &str = "warmup.csv";
/// What was planned, and the host.
pub const WARMUP_JSON: &str = "warmup.json";

/// Columns of `warmup-laps.csv`, in order.
const LAP_COLUMNS: [&str; 6] = ["run", "engine", "workload", "args", "lap", "ns"];
/// Columns of `warmup.csv`, in order.
pub(super) const CELL_COLUMNS: [&str; 17] = [
    "engine",
    "workload",
    "args",
    "n",
    "class",
    "flat",
    "warm_up",
    "slow_down",
    "no_steady_state",
    "steady_from",
    "steady_ns",
    "steady_low_ns",
    "steady_high_ns",
    "first_over_steady",
    "first_over_steady_low",
    "first_over_steady_high",
    "note",
];

#[derive(Serialize)]
struct LapRow<'a> {
    run: u32,
    engine: Setup,
    workload: &'a str,
    args: String,
    lap: usize,
    ns: String,
}

#[derive(Serialize)]
struct CellRow<'a> {
    engine: Setup,
    workload: &'a str,
    args: String,
    n: usize,
    class: Option<super::Class>,
    flat: usize,
    warm_up: usize,
    slow_down: usize,
    no_steady_state: usize,
    steady_from: Option<usize>,
    steady_ns: Option<String>,
    steady_low_ns: Option<String>,
    steady_high_ns: Option<String>,
    first_over_steady: Option<String>,
    first_over_steady_low: Option<String>,
    first_over_steady_high: Option<String>,
    note: Option<&'a str>,
}

impl<'a> CellRow<'a> {
    fn new(cell: &'a Cell) -> Self {
        let ns = |value: Option<f64>| value.map(|ns| format!("{ns:.1}"));
        let times = |value: Option<f64>| value.map(|times| format!("{times:.4}"));
        Self {
            engine: cell.engine,
            workload: &cell.workload,
            args: cell.args.join(" "),
            n: cell.n,
            class: cell.class,
            flat: cell.classes.flat,
            warm_up: cell.classes.warm_up,
            slow_down: cell.classes.slow_down,
            no_steady_state: cell.classes.no_steady_state,
            steady_from: cell.steady_from,
            steady_ns: ns(cell.steady_ns),
            steady_low_ns: ns(cell.steady_low_ns),
            steady_high_ns: ns(cell.steady_high_ns),
            first_over_steady: times(cell.first_over_steady),
            first_over_steady_low: times(cell.first_over_steady_low),
            first_over_steady_high: times(cell.first_over_steady_high),
            note: cell.note.as_deref(),
        }
    }
}

/// Writes into one folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    laps: Table,
}

impl Files {
    /// Creates the file of the laps in a folder.
    ///
    /// # Errors
    /// It cannot be created, or is there already.
    pub fn create(folder: &Path) -> Result<Self, WriteError> {
        let laps = Table::create(folder.join(LAPS_CSV), &LAP_COLUMNS)?;
        Ok(Self { folder: folder.to_owned(), laps })
    }

    /// Appends the laps of a run; a run without any leaves no row.
    pub(super) fn append(
        &mut self,
        run: u32,
        cell: &results::Cell,
        laps: &Result<Vec<f64>, String>,
    ) -> Result<(), WriteError> {
        let row = |(at, ns): (usize, &f64)| LapRow {
            run,
            engine: cell.engine,
            workload: &cell.workload,
            args: cell.args.join(" "),
            lap: at + 1,
            ns: format!("{ns:.1}"),
        };
        let rows: Vec<LapRow<'_>> = laps.iter().flatten().enumerate().map(row).collect();
        self.laps.append(&rows)
    }

    /// Writes the table of all cells.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_cells(&self, cells: &[Cell]) -> Result<(), WriteError> {
        let rows: Vec<CellRow<'_>> = cells.iter().map(CellRow::new).collect();
        Table::create(self.folder.join(WARMUP_CSV), &CELL_COLUMNS)?.append(&rows)
    }

    /// Writes what the measurement rests on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_meta(&self, meta: &serde_json::Value) -> Result<(), WriteError> {
        write_meta(&self.folder.join(WARMUP_JSON), meta)
    }
}
