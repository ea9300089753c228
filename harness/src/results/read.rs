//! Reading a results folder back, also one whose writer was killed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{
    COUNTER_COLUMNS, COUNTERS_CSV, CounterRow, EXPERIMENT_JSON, Experiment, ExperimentMeta, FORMAT, HISTOGRAM_COLUMNS,
    HISTOGRAMS_CSV, HistogramRow, RUN_COLUMNS, RUNS_CSV, RunRow, judge,
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
    /// A measurement was stopped before its end, so the table of its values was never written.
    #[error("{} holds no {missing}: the measurement was stopped before its end; run evlab {command} again", dir.display())]
    Unfinished {
        /// The folder.
        dir: PathBuf,
        /// The file.
        missing: &'static str,
        /// The command that writes it.
        command: &'static str,
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
        "{} has format {found}, this evlab reads {known}: use the evlab that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that this evlab knows.
        known: u32,
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
    let meta: ExperimentMeta = read_meta(dir, FORMAT)?;
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
    let mut histograms = read_histograms(dir, &mut warnings)?;
    // With the counters of a run that is not listed, which are warned of, its histograms go.
    histograms.retain(|h| listed.contains(&h.run));
    judge(&mut runs);
    Ok(Experiment { meta, runs, counters, histograms, warnings })
}

/// The histograms; none in a folder of a version that wrote no such file.
fn read_histograms(dir: &Path, warnings: &mut Vec<String>) -> Result<Vec<HistogramRow>, ReadError> {
    let path = dir.join(HISTOGRAMS_CSV);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rows: Vec<HistogramRow> = read_table(&path, &HISTOGRAM_COLUMNS, warnings)?;
    match rows.iter().position(|row| row.from_ns >= row.to_ns || row.count == 0) {
        // The header is line 1.
        Some(i) => Err(ReadError::Corrupt {
            path,
            line: i as u64 + 2,
            reason: "a bucket without width or without content".to_owned(),
        }),
        None => Ok(rows),
    }
}

/// Reads the `experiment.json` in `dir`, of a format up to `format`.
pub(crate) fn read_meta<M: DeserializeOwned>(dir: &Path, format: u32) -> Result<M, ReadError> {
    match read_json(&dir.join(EXPERIMENT_JSON), format) {
        Err(ReadError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Err(ReadError::NotResults { dir: dir.to_owned() })
        }
        other => other,
    }
}

/// Reads a JSON file of a format up to `format`.
pub(crate) fn read_json<M: DeserializeOwned>(path: &Path, format: u32) -> Result<M, ReadError> {
    let text = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let corrupt = |e: serde_json::Error| ReadError::Corrupt {
        path: path.to_owned(),
        line: e.line() as u64,
        reason: e.to_string(),
    };
    // The format first: a newer file may differ in everything else.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(corrupt)?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found > u64::from(format)
    {
        return Err(ReadError::Newer { path: path.to_owned(), found, known: format });
    }
    serde_json::from_slice(&text).map_err(corrupt)
}

/// The whole rows of a table.
pub(crate) fn read_table<R: DeserializeOwned>(
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

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::model::{EngineId, Status};
    use crate::results::testing::{meta, record};
    use crate::results::{Writer, counter_rows, histogram_rows};

    /// A folder with two runs.
    fn folder() -> TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut writer = Writer::create(dir.path(), &meta()).expect("create");
        writer.append(&record(1, EngineId::Native)).expect("append");
        writer.append(&record(2, EngineId::Kvm)).expect("append");
        dir
    }

    fn edit(dir: &TempDir, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = dir.path().join(file);
        let mut text = fs::read(&path).expect("read");
        change(&mut text);
        fs::write(&path, text).expect("write");
    }

    fn error(dir: &TempDir) -> String {
        let text = read(dir.path()).expect_err("the folder is damaged").to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = folder();
        let found = read(dir.path()).expect("read");
        assert_eq!(found.meta, meta());
        let records = [record(1, EngineId::Native), record(2, EngineId::Kvm)];
        assert_eq!(found.runs, records.iter().map(RunRow::from).collect::<Vec<_>>());
        assert_eq!(found.counters, records.iter().flat_map(counter_rows).collect::<Vec<_>>());
        assert_eq!(found.histograms, records.iter().flat_map(histogram_rows).collect::<Vec<_>>());
        assert_eq!(found.histograms.len(), 4);
        assert!(found.warnings.is_empty());
        let header = fs::read_to_string(dir.path().join(RUNS_CSV)).expect("read");
        assert_eq!(header.lines().next(), Some(RUN_COLUMNS.join(",").as_str()));
        let header = fs::read_to_string(dir.path().join(COUNTERS_CSV)).expect("read");
        assert_eq!(header.lines().next(), Some(COUNTER_COLUMNS.join(",").as_str()));
        let header = fs::read_to_string(dir.path().join(HISTOGRAMS_CSV)).expect("read");
        assert_eq!(header.lines().next(), Some(HISTOGRAM_COLUMNS.join(",").as_str()));
    }

    #[test]
    fn a_folder_without_histograms_is_an_older_one() {
        let dir = folder();
        fs::remove_file(dir.path().join(HISTOGRAMS_CSV)).expect("remove");
        let found = read(dir.path()).expect("read");
        assert!((found.histograms.is_empty(), found.counters.len()) == (true, 4) && found.warnings.is_empty());
    }

    #[test]
    fn arguments_with_odd_characters_stay_one_row() {
        let fresh = tempfile::tempdir().expect("temporary folder");
        let mut odd = record(1, EngineId::Kvm);
        odd.args = vec!["a\nb".into(), "\"quoted\", yes".into()];
        Writer::create(fresh.path(), &meta()).and_then(|mut w| w.append(&odd)).expect("append");
        let found = read(fresh.path()).expect("read");
        assert_eq!(found.runs[0].args, "a b \"quoted\", yes");
    }

    #[test]
    fn a_torn_last_line_is_left_out_with_its_counters() {
        let dir = folder();
        edit(&dir, RUNS_CSV, |text| text.truncate(text.len() - 10));
        let found = read(dir.path()).expect("a torn row is no fault of the user");
        assert_eq!(found.runs.len(), 1);
        assert!(found.counters.iter().all(|c| c.run == 1) && found.histograms.iter().all(|h| h.run == 1));
        assert_eq!(found.warnings.len(), 2, "{:?}", found.warnings);
    }

    #[test]
    fn an_empty_table_is_an_experiment_without_runs() {
        let dir = folder();
        edit(&dir, RUNS_CSV, Vec::clear);
        assert!(read(dir.path()).expect("read").runs.is_empty());
    }

    #[test]
    fn damage_is_named_by_file_and_line() {
        let dir = folder();
        edit(&dir, RUNS_CSV, |text| {
            let at = text.windows(6).position(|w| w == b"native").expect("the engine of run 1");
            text[at] = b'N';
        });
        let text = error(&dir);
        assert!(text.contains("runs.csv, line 2:"), "{text}");
        let dir = folder();
        edit(&dir, COUNTERS_CSV, |text| text.extend(b"3,vmm,exit.io,many\n"));
        assert!(error(&dir).contains("counters.csv, line 6:"), "{}", error(&dir));
        edit(&dir, COUNTERS_CSV, |text| text.extend(b"\xff\xfe,,,\n"));
        assert!(error(&dir).contains("counters.csv, line 6:"), "{}", error(&dir));
        edit(&dir, COUNTERS_CSV, |text| text[0] = b'x');
        assert!(error(&dir).contains("the column 'run' is missing"), "{}", error(&dir));
        let dir = folder();
        edit(&dir, HISTOGRAMS_CSV, |text| text.extend(b"2,exit.io,7,7,1\n"));
        assert!(error(&dir).contains("histograms.csv, line 6: a bucket without width"), "{}", error(&dir));
        let dir = folder();
        edit(&dir, EXPERIMENT_JSON, |text| text.truncate(40));
        assert!(error(&dir).contains("experiment.json, line "), "{}", error(&dir));
        edit(&dir, EXPERIMENT_JSON, |text| *text = b"{\"format\": 99}".into());
        assert!(error(&dir).contains("use the evlab that wrote it"), "{}", error(&dir));
    }

    #[test]
    fn a_folder_of_something_else_is_not_results() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(error(&dir).contains("not a results folder"));
        let missing = read(&dir.path().join("missing")).expect_err("it is not there").to_string();
        assert!(missing.contains("not a results folder"), "{missing}");
    }

    #[test]
    fn checksums_are_judged_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut writer = Writer::create(dir.path(), &meta()).expect("create");
        let mut wrong = record(1, EngineId::Kvm);
        wrong.checksum = Some("0".repeat(16));
        writer.append(&wrong).expect("append");
        writer.append(&record(2, EngineId::Native)).expect("append");
        let found = read(dir.path()).expect("read");
        assert_eq!(found.runs[0].status, Status::Mismatch);
        assert_eq!(found.runs[1].status, Status::Ok);
        writer.rewrite_runs(&found.runs).expect("rewrite");
        writer.append(&record(3, EngineId::Native)).expect("append to the new file");
        assert_eq!(read(dir.path()).expect("read").runs.len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_cut_anywhere_keeps_the_rows_before_it(cut in 0usize..2000) {
            let dir = folder();
            let mut rows = 0;
            edit(&dir, RUNS_CSV, |text| {
                text.truncate(cut);
                rows = text.iter().filter(|&&b| b == b'\n').count().saturating_sub(1);
            });
            prop_assert_eq!(read(dir.path()).expect("read").runs.len(), rows);
        }

        #[test]
        fn no_damage_makes_it_panic(
            file in prop::sample::select(vec![RUNS_CSV, COUNTERS_CSV, HISTOGRAMS_CSV, EXPERIMENT_JSON]),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let dir = folder();
            edit(&dir, file, |text| {
                for (at, byte) in edits {
                    let at = at.index(text.len());
                    text[at] = byte;
                }
            });
            if let Err(error) = read(dir.path()) {
                prop_assert!(error.to_string().contains(file));
            }
        }
    }
}
