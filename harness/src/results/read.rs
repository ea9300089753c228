//! Reading a results folder back, also one whose writer was killed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{
    COUNTER_COLUMNS, COUNTERS_CSV, CounterRow, EXPERIMENT_JSON, Experiment, ExperimentMeta, FORMAT, RUN_COLUMNS,
    RUNS_CSV, RunRow, judge,
};

/// Why a results folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such folder, or no `experiment.json` in it.
    #[error(
        "{} holds no experiment.json: not a results folder; name one that evlab studio wrote",
        dir.display()
    )]
    NotResults {
        /// The folder.
        dir: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something that no evlab wrote.
    #[error("{}, line {line}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer evlab wrote it.
    #[error(
        "{} has format {found}, this evlab reads {FORMAT}: use the evlab that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

/// Reads the experiment in `dir` and judges its checksums.
///
/// A last line without its end, as a killed writer leaves it, is dropped with a warning, and so are counters of a run
/// that is not listed.
///
/// # Errors
/// [`ReadError`], which names the file and the line.
pub fn read(dir: &Path) -> Result<Experiment, ReadError> {
    let mut warnings = Vec::new();
    let meta = read_meta(dir)?;
    let mut runs: Vec<RunRow> = read_table(&dir.join(RUNS_CSV), &RUN_COLUMNS, &mut warnings)?;
    let mut counters: Vec<CounterRow> = read_table(&dir.join(COUNTERS_CSV), &COUNTER_COLUMNS, &mut warnings)?;
    let mut listed = HashSet::new();
    for row in &runs {
        if !listed.insert(row.run) {
            warnings.push(format!("{RUNS_CSV}: run {} is listed twice", row.run));
        }
    }
    let all = counters.len();
    counters.retain(|c| listed.contains(&c.run));
    if counters.len() < all {
        let dropped = all - counters.len();
        warnings.push(format!("{COUNTERS_CSV}: {dropped} counters of unfinished runs left out"));
    }
    judge(&mut runs);
    Ok(Experiment { meta, runs, counters, warnings })
}

fn read_meta(dir: &Path) -> Result<ExperimentMeta, ReadError> {
    let path = dir.join(EXPERIMENT_JSON);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(ReadError::NotResults { dir: dir.to_owned() });
        }
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    let corrupt =
        |e: serde_json::Error| ReadError::Corrupt { path: path.clone(), line: e.line() as u64, reason: e.to_string() };
    // The format first: a newer file may differ in everything else.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(corrupt)?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found > u64::from(FORMAT)
    {
        return Err(ReadError::Newer { path, found });
    }
    serde_json::from_slice(&text).map_err(corrupt)
}

fn read_table<R: DeserializeOwned>(
    path: &Path,
    columns: &[&str],
    warnings: &mut Vec<String>,
) -> Result<Vec<R>, ReadError> {
    let text = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    // Every row is one line (see `rows`), so what follows the last line end is a torn row.
    let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    if whole < text.len() {
        warnings.push(format!("{}: the last line is torn and left out", path.display()));
    }
    parse_table(&text[..whole], columns).map_err(|(line, reason)| ReadError::Corrupt {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// The rows of a table, or the line that is wrong and why.
fn parse_table<R: DeserializeOwned>(text: &[u8], columns: &[&str]) -> Result<Vec<R>, (u64, String)> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers().map_err(|_| (1, "the header is not text".to_owned()))?.clone();
    for column in columns {
        if !header.iter().any(|h| h == *column) {
            return Err((1, format!("the column '{column}' is missing")));
        }
    }
    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => {}
            Err(e) => return Err((line, reason(&e))),
        }
        let line = record.position().map_or(line, csv::Position::line);
        rows.push(record.deserialize(Some(&header)).map_err(|e| (line, reason(&e)))?);
    }
}

/// What is wrong, without the position, which the caller gives.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!("{len} fields instead of {expected_len}"),
        csv::ErrorKind::Utf8 { err, .. } => format!("not text: {err}"),
        _ => error.to_string(),
    }
}
