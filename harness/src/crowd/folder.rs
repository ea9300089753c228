//! The results folder of a crowd: written while it runs, read back, rendered.

use std::path::{Path, PathBuf};

use super::meta::{CrowdMeta, FORMAT};
use super::rows::{COLUMNS, GuestRow, judge};
use super::summary::{PointRow, SUMMARY_COLUMNS, summarize};
use crate::report::charts::crowd as charts;
use crate::report::{self, PLOTS, ReportError, SUMMARY_CSV};
use crate::results::{EXPERIMENT_JSON, ReadError, Table, WriteError, read_meta, read_table, write_meta};

/// Name of the file with one row per guest of every round.
pub const CROWD_CSV: &str = "crowd.csv";

/// A crowd as read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Crowd {
    /// What was planned, where it ran, and how it ended.
    pub meta: CrowdMeta,
    /// The guests, in the order in which their rounds ended.
    pub rows: Vec<GuestRow>,
    /// What was left out of a damaged folder, one sentence each.
    pub warnings: Vec<String>,
}

/// Appends to a results folder.
#[derive(Debug)]
pub struct CrowdWriter {
    dir: PathBuf,
    table: Table,
}

impl CrowdWriter {
    /// Creates the files in `dir`, which exists and holds none of them.
    ///
    /// # Errors
    /// [`WriteError`] if a file cannot be created or exists already.
    pub fn create(dir: &Path, meta: &CrowdMeta) -> Result<Self, WriteError> {
        let writer = Self { dir: dir.to_owned(), table: Table::create(dir.join(CROWD_CSV), &COLUMNS)? };
        // Last, so that a folder with an experiment.json has the other file too.
        writer.write_meta(meta)?;
        Ok(writer)
    }

    /// Appends the guests of a round.
    ///
    /// # Errors
    /// [`WriteError`]; the file is then as it was before.
    pub fn append(&mut self, round: &[GuestRow]) -> Result<(), WriteError> {
        self.table.append(round)
    }

    /// Replaces `crowd.csv` in one step, for verdicts that were reached after a row was written.
    ///
    /// # Errors
    /// [`WriteError`]; the old file is then still there.
    pub fn rewrite(&mut self, rows: &[GuestRow]) -> Result<(), WriteError> {
        self.table.rewrite(&COLUMNS, rows)
    }

    /// Replaces `experiment.json` in one step.
    ///
    /// # Errors
    /// [`WriteError`]; the old file is then still there.
    pub fn write_meta(&self, meta: &CrowdMeta) -> Result<(), WriteError> {
        write_meta(&self.dir.join(EXPERIMENT_JSON), meta)
    }
}

/// Whether the folder is a crowd's.
#[must_use]
pub fn is_crowd(dir: &Path) -> bool {
    dir.join(CROWD_CSV).exists()
}

/// Reads the crowd in `dir` and judges its checksums.
///
/// # Errors
/// [`ReadError`], which names the file and the line.
pub fn read(dir: &Path) -> Result<Crowd, ReadError> {
    let mut warnings = Vec::new();
    let meta: CrowdMeta = read_meta(dir, FORMAT)?;
    let mut rows: Vec<GuestRow> = read_table(&dir.join(CROWD_CSV), &COLUMNS, &mut warnings)?;
    judge(&mut rows);
    Ok(Crowd { meta, rows, warnings })
}

/// Renders the crowd in `dir` into `summary.csv`, charts and a page beside its measurements; returns the files.
///
/// # Errors
/// [`ReportError`], in one sentence that names the file.
pub fn render(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let crowd = read(dir)?;
    let points = summarize(&crowd.meta.plan, &crowd.rows);
    let summary = dir.join(SUMMARY_CSV);
    let rows: Vec<PointRow> = points.iter().map(PointRow::from).collect();
    let mut text = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    text.write_record(SUMMARY_COLUMNS)?;
    for row in &rows {
        text.serialize(row)?;
    }
    let text = text.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    report::write(&summary, &text)?;
    let mut files = vec![summary];
    let charts = charts::all(&crowd.meta.plan, &points);
    files.extend(report::plots(&dir.join(PLOTS), &charts)?);
    files.push(report::write_page(dir, &report::crowd_page(&crowd, &points, &charts)?)?);
    Ok(files)
}
