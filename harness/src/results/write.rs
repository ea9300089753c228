//! Writing a results folder while the experiment runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    COUNTER_COLUMNS, COUNTERS_CSV, EXPERIMENT_JSON, ExperimentMeta, HISTOGRAM_COLUMNS, HISTOGRAMS_CSV, RUN_COLUMNS,
    RUNS_CSV, RunRow, counter_rows, histogram_rows,
};
use crate::model::RunRecord;

/// Why a results folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The operating system refused.
    #[error("cannot write {}: {source}; what was measured before is kept", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A value has no representation in the file.
    #[error("cannot encode {}: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        reason: String,
    },
}

/// Appends to the files of one results folder.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    runs: Table,
    counters: Table,
    histograms: Table,
}

impl Writer {
    /// Creates the files in `dir`, which exists and holds none of them.
    ///
    /// # Errors
    /// [`WriteError::Io`] if a file cannot be created or exists already.
    pub fn create(dir: &Path, meta: &ExperimentMeta) -> Result<Self, WriteError> {
        let writer = Self {
            dir: dir.to_owned(),
            runs: Table::create(dir.join(RUNS_CSV), &RUN_COLUMNS)?,
            counters: Table::create(dir.join(COUNTERS_CSV), &COUNTER_COLUMNS)?,
            histograms: Table::create(dir.join(HISTOGRAMS_CSV), &HISTOGRAM_COLUMNS)?,
        };
        // Last, so that a folder with an experiment.json has the other files too.
        writer.write_meta(meta)?;
        Ok(writer)
    }

    /// The results folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends one run. Its counters and histograms come first, so that a run that is listed has all of them.
    ///
    /// # Errors
    /// [`WriteError`]; the files are then as they were before.
    pub fn append(&mut self, record: &RunRecord) -> Result<(), WriteError> {
        let before = (self.counters.len, self.histograms.len);
        let appended = self
            .counters
            .append(&counter_rows(record))
            .and_then(|()| self.histograms.append(&histogram_rows(record)))
            .and_then(|()| self.runs.append(&[RunRow::from(record)]));
        appended.inspect_err(|_| {
            self.counters.cut(before.0);
            self.histograms.cut(before.1);
        })
    }

    /// Replaces `experiment.json` in one step.
    ///
    /// # Errors
    /// [`WriteError`]; the old file is then still there.
    pub fn write_meta(&self, meta: &ExperimentMeta) -> Result<(), WriteError> {
        write_meta(&self.dir.join(EXPERIMENT_JSON), meta)
    }

    /// Replaces `runs.csv` in one step, for verdicts that were reached after a row was written.
    ///
    /// # Errors
    /// [`WriteError`]; the old file is then still there.
    pub fn rewrite_runs(&mut self, rows: &[RunRow]) -> Result<(), WriteError> {
        self.runs.rewrite(&RUN_COLUMNS, rows)
    }
}

/// Replaces an `experiment.json` in one step.
pub(crate) fn write_meta<M: Serialize>(path: &Path, meta: &M) -> Result<(), WriteError> {
    let mut text = serde_json::to_vec_pretty(meta)
        .map_err(|e| WriteError::Encode { path: path.to_owned(), reason: e.to_string() })?;
    text.push(b'\n');
    replace(path, &text)
}

/// Writes a whole file beside `path`, then puts it in its place.
fn replace(path: &Path, text: &[u8]) -> Result<(), WriteError> {
    let io = |source| WriteError::Io { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_data()
    });
    if let Err(source) = written {
        // The half-written copy is of no use; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&beside);
        return Err(io(source));
    }
    std::fs::rename(&beside, path).map_err(io)
}

/// Rows as the text of a CSV file.
fn encode<R: Serialize>(path: &Path, header: Option<&[&str]>, rows: &[R]) -> Result<Vec<u8>, WriteError> {
    let fail = |e: csv::Error| WriteError::Encode { path: path.to_owned(), reason: e.to_string() };
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    if let Some(header) = header {
        writer.write_record(header).map_err(fail)?;
    }
    for row in rows {
        writer.serialize(row).map_err(fail)?;
    }
    writer.into_inner().map_err(|e| WriteError::Encode { path: path.to_owned(), reason: e.to_string() })
}

/// A CSV file that grows row by row, each with one write to the operating system.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    file: File,
    /// Length of the complete rows, bytes.
    len: u64,
}

impl Table {
    /// A new file with this header.
    pub(crate) fn create(path: PathBuf, header: &[&str]) -> Result<Self, WriteError> {
        let text = encode::<RunRow>(&path, Some(header), &[])?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| WriteError::Io { path: path.clone(), source })?;
        let mut table = Self { path, file, len: 0 };
        table.write(&text)?;
        Ok(table)
    }

    fn open(path: PathBuf) -> Result<Self, WriteError> {
        let opened = OpenOptions::new().append(true).open(&path);
        let with_len = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        match with_len {
            Ok((len, file)) => Ok(Self { path, file, len }),
            Err(source) => Err(WriteError::Io { path, source }),
        }
    }

    /// Appends rows; if that fails, the file is as it was before.
    pub(crate) fn append<R: Serialize>(&mut self, rows: &[R]) -> Result<(), WriteError> {
        let text = encode(&self.path, None, rows)?;
        self.write(&text)
    }

    /// Replaces the file in one step.
    pub(crate) fn rewrite<R: Serialize>(&mut self, header: &[&str], rows: &[R]) -> Result<(), WriteError> {
        let text = encode(&self.path, Some(header), rows)?;
        replace(&self.path, &text)?;
        *self = Self::open(self.path.clone())?;
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), WriteError> {
        match self.file.write_all(text) {
            Ok(()) => {
                self.len += text.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.cut(self.len);
                Err(WriteError::Io { path: self.path.clone(), source })
            }
        }
    }

    /// Removes what was written after `len`.
    fn cut(&mut self, len: u64) {
        // Should this fail too, the reader drops the torn row.
        if self.file.set_len(len).is_ok() {
            self.len = len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_in_one_sentence() {
        let mut table = Table::open(PathBuf::from("/dev/full")).expect("open /dev/full");
        let error = table.write(b"row\n").expect_err("/dev/full takes no bytes").to_string();
        assert!(error.contains("/dev/full"), "{error}");
        assert!(error.contains("No space left"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn an_existing_table_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(RUNS_CSV);
        std::fs::write(&path, "precious").expect("write");
        assert!(Table::create(path.clone(), &RUN_COLUMNS).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    }
}
