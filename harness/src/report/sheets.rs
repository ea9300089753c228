//! Renders the folders of measurements that are no experiment: micro-benchmarks, the isolation suite, warm-ups.

use std::path::{Path, PathBuf};

use super::{PLOTS, REPORT_HTML, ReportError, charts, html, plots, write};
use crate::{isolation, micro, warmup};

/// Renders the micro-benchmarks in `dir` into charts and a page beside their values; returns the files.
///
/// # Errors
/// [`ReportError`], in one sentence that names the file.
pub fn render_micro(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let measured = micro::read(dir)?;
    let mut files = plots(&dir.join(PLOTS), &charts::of_events(&measured.benchmarks(), &measured.cells))?;
    files.push(page(dir, &html::micro(&measured)?)?);
    Ok(files)
}

/// Renders the findings of the isolation suite in `dir` into a page beside them; returns the files.
///
/// # Errors
/// [`ReportError`], in one sentence that names the file.
pub fn render_isolation(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    Ok(vec![page(dir, &html::isolation(&isolation::read(dir)?)?)?])
}

/// Renders the warm-ups in `dir` into a page beside them; returns the files.
///
/// # Errors
/// [`ReportError`], in one sentence that names the file.
pub fn render_warmup(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    Ok(vec![page(dir, &html::warmup(&warmup::read(dir)?)?)?])
}

/// Writes the page of a folder; returns its path.
pub(crate) fn page(dir: &Path, text: &str) -> Result<PathBuf, ReportError> {
    let path = dir.join(REPORT_HTML);
    write(&path, text.as_bytes())?;
    Ok(path)
}
