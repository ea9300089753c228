//! The folder of a measurement, read back.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::benchmark::Benchmark;
use super::catalog::benchmarks;
use super::cell::Cell;
use super::files::{CELL_COLUMNS, MICRO_CSV, MICRO_JSON};
use crate::model::EngineId;
use crate::results::{EngineMeta, ReadError, read_json, read_table};

/// Version of the layout of `micro.json` that this build writes.
const FORMAT: u32 = 1;

/// `micro.json`: what the measurement rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of this layout; absent from files of older versions, which had the same.
    #[serde(default)]
    pub format: u32,
    /// Name and version of the program that measured.
    pub tool: String,
    /// The git commit it was built from, where that is known.
    pub git_commit: Option<String>,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// Seed of the order and of the intervals.
    pub seed: u64,
    /// Runs of each benchmark on each engine.
    pub runs: u32,
    /// How long a region of interest should be, nanoseconds.
    pub target_ns: f64,
    /// Whether guests ran in the sandbox.
    pub sandbox: bool,
    /// The engines asked for, with their versions or the reason why they are missing.
    pub engines: Vec<EngineMeta>,
    /// The machine, as `evlab doctor --json` describes it.
    pub host: Value,
}

impl Meta {
    /// The version of the layout that this build writes.
    pub const FORMAT: u32 = FORMAT;
}

/// A measurement as read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What it rests on.
    pub meta: Meta,
    /// Every benchmark on every engine.
    pub cells: Vec<Cell>,
    /// What was left out of a damaged folder, one sentence each.
    pub warnings: Vec<String>,
}

impl Measured {
    /// The benchmarks that were measured, of those that this version knows.
    #[must_use]
    pub fn benchmarks(&self) -> Vec<Benchmark> {
        let is_in = |b: &Benchmark| self.cells.iter().any(|c| c.event == b.event.name() && c.ring == b.ring);
        benchmarks().into_iter().filter(is_in).collect()
    }

    /// The engines that were measured, in the usual order.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineId> {
        EngineId::ALL.into_iter().filter(|&engine| self.cells.iter().any(|cell| cell.engine == engine)).collect()
    }
}

/// Whether the folder is one of micro-benchmarks.
#[must_use]
pub fn is_micro(dir: &Path) -> bool {
    dir.join(MICRO_JSON).exists()
}

/// Reads the measurement in `dir`.
///
/// # Errors
/// [`ReadError`], which names the file and the line.
pub fn read(dir: &Path) -> Result<Measured, ReadError> {
    let meta = read_json(&dir.join(MICRO_JSON), FORMAT)?;
    let table = dir.join(MICRO_CSV);
    if !table.exists() {
        return Err(ReadError::Unfinished { dir: dir.to_owned(), missing: MICRO_CSV, command: "micro" });
    }
    let mut warnings = Vec::new();
    let cells = read_table(&table, &CELL_COLUMNS, &mut warnings)?;
    Ok(Measured { meta, cells, warnings })
}

/// A measurement for tests of what shows it.
#[cfg(test)]
pub(crate) fn made(host: Value) -> Measured {
    let meta = Meta {
        format: FORMAT,
        tool: "evlab 0.1.0".to_owned(),
        git_commit: None,
        started: "2026-11-22T20:10:00Z".to_owned(),
        seed: 7,
        runs: 3,
        target_ns: 4e6,
        sandbox: true,
        engines: Vec::new(),
        host,
    };
    let of = |(i, b): (usize, &Benchmark)| {
        let engines = [EngineId::Native, EngineId::Kvm, EngineId::EmuDbt];
        engines.map(|e| match e {
            EngineId::Native if b.ring.number() == 0 => Cell::absent(b, e, "a Linux process has no ring 0"),
            _ => Cell::measured(b, e, 1.5 * (i + 1) as f64),
        })
    };
    let cells = benchmarks().iter().filter(|b| !b.is_control()).enumerate().flat_map(of).collect();
    Measured { meta, cells, warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::files::Files;
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(!is_micro(dir.path()));
        let written = made(serde_json::json!({ "hostname": "lab" }));
        let files = Files::create(dir.path()).expect("files");
        files.write_meta(&written.meta).expect("write");
        let error = read(dir.path()).expect_err("the table is missing").to_string();
        assert!(error.contains("stopped before its end; run evlab micro again"), "{error}");
        files.write_cells(&written.cells).expect("write");
        let found = read(dir.path()).expect("read");
        assert!(is_micro(dir.path()) && found == written, "{found:?}");
        assert_eq!(found.engines(), [EngineId::Native, EngineId::Kvm, EngineId::EmuDbt]);
        assert_eq!(found.benchmarks().len(), benchmarks().iter().filter(|b| !b.is_control()).count());
    }

    #[test]
    fn a_file_without_a_format_is_an_older_one() {
        let mut json = serde_json::to_value(made(Value::Null).meta).expect("JSON");
        json.as_object_mut().expect("an object").remove("format");
        assert_eq!(serde_json::from_value::<Meta>(json).expect("readable").format, 0);
    }
}
