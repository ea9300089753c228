//! The folder of a measurement, read back.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::cell::{Cell, Classes};
use super::classify::Class;
use super::files::{CELL_COLUMNS, WARMUP_CSV, WARMUP_JSON};
use crate::model::Setup;
use crate::results::{ReadError, read_json, read_table};

/// Version of the layout of `warmup.json` up to which this build reads it; no version has written one so far.
const FORMAT: u32 = 1;

/// A measurement as read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Warmup {
    /// What it rests on, as `warmup.json` has it.
    pub meta: Value,
    /// Every workload on every engine.
    pub cells: Vec<Cell>,
    /// What was left out of a damaged folder, one sentence each.
    pub warnings: Vec<String>,
}

/// One row of `warmup.csv`.
#[derive(Debug, Deserialize)]
struct Row {
    engine: Setup,
    workload: String,
    args: String,
    n: usize,
    class: Option<Class>,
    flat: usize,
    warm_up: usize,
    slow_down: usize,
    no_steady_state: usize,
    steady_from: Option<usize>,
    steady_ns: Option<f64>,
    steady_low_ns: Option<f64>,
    steady_high_ns: Option<f64>,
    first_over_steady: Option<f64>,
    first_over_steady_low: Option<f64>,
    first_over_steady_high: Option<f64>,
    note: Option<String>,
}

impl From<Row> for Cell {
    fn from(row: Row) -> Self {
        Self {
            engine: row.engine,
            workload: row.workload,
            args: row.args.split_whitespace().map(str::to_owned).collect(),
            n: row.n,
            class: row.class,
            classes: Classes {
                flat: row.flat,
                warm_up: row.warm_up,
                slow_down: row.slow_down,
                no_steady_state: row.no_steady_state,
            },
            steady_from: row.steady_from,
            steady_ns: row.steady_ns,
            steady_low_ns: row.steady_low_ns,
            steady_high_ns: row.steady_high_ns,
            first_over_steady: row.first_over_steady,
            first_over_steady_low: row.first_over_steady_low,
            first_over_steady_high: row.first_over_steady_high,
            note: row.note,
        }
    }
}

/// Whether the folder is one of `evlab warmup`.
#[must_use]
pub fn is_warmup(dir: &Path) -> bool {
    dir.join(WARMUP_JSON).exists()
}

/// Reads the measurement in `dir`.
///
/// # Errors
/// [`ReadError`], which names the file and the line.
pub fn read(dir: &Path) -> Result<Warmup, ReadError> {
    let meta = read_json(&dir.join(WARMUP_JSON), FORMAT)?;
    let table = dir.join(WARMUP_CSV);
    if !table.exists() {
        return Err(ReadError::Unfinished { dir: dir.to_owned(), missing: WARMUP_CSV, command: "warmup" });
    }
    let mut warnings = Vec::new();
    let rows: Vec<Row> = read_table(&table, &CELL_COLUMNS, &mut warnings)?;
    Ok(Warmup { meta, cells: rows.into_iter().map(Cell::from).collect(), warnings })
}

#[cfg(test)]
mod tests {
    use super::super::cell::Run;
    use super::super::changepoint::tests::noisy;
    use super::super::files::Files;
    use super::*;
    use crate::model::EngineId;
    use crate::results;
    use crate::stats::Bootstrap;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let cell =
            results::Cell { engine: EngineId::EmuDbt.into(), workload: "sieve".into(), args: vec!["1000".into()] };
        let runs: Vec<Run> = (0..3).filter_map(|seed| Run::new(noisy(seed, 40, 0.01))).collect();
        let measured = Cell::of(&cell, &runs, None, &Bootstrap::new(1));
        let failed = Cell::of(&cell, &[], Some("it failed".into()), &Bootstrap::new(1));
        let files = Files::create(dir.path()).expect("files");
        files.write_meta(&serde_json::json!({ "laps": 40 })).expect("write");
        assert!(is_warmup(dir.path()) && read(dir.path()).expect_err("no table").to_string().contains("warmup again"));
        files.write_cells(&[measured.clone(), failed.clone()]).expect("write");
        let found = read(dir.path()).expect("read");
        assert_eq!(found.meta["laps"], 40);
        // Times are written with one decimal.
        let near = |a: Option<f64>, b: Option<f64>| (a.unwrap_or_default() - b.unwrap_or_default()).abs() < 0.1;
        assert!(near(found.cells[0].steady_ns, measured.steady_ns), "{found:?}");
        assert_eq!((found.cells[0].class, found.cells[0].classes), (measured.class, measured.classes));
        assert_eq!(found.cells[1], failed);
    }
}
