//! From a results folder to `summary.csv`, charts, a page and a table for the terminal.
//!
//! Whatever was measured is rendered: a complete experiment, an interrupted one, one without a single run. Files appear
//! whole or not at all. Names and texts from a results folder are untrusted and leave here only escaped.

pub mod charts;
pub mod clocks;
mod companions;
pub mod counters;
mod data;
pub mod groups;
mod html;
mod json;
pub mod ladder;
mod sheets;
pub mod summary;
#[cfg(test)]
pub(crate) mod synthetic;
mod terminal;
mod terminal_ablation;
pub mod units;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use companions::CompanionError;
pub(crate) use html::crowd as crowd_page;
pub use json::to_json;
pub(crate) use sheets::page as write_page;
pub use sheets::{render_isolation, render_micro, render_warmup};
pub(crate) use terminal::styled;
pub use terminal::{Look, table, terminal_table};

use crate::ablation;
use crate::calibration::{CALIBRATION_JSON, Calibration, CalibrationError};
use crate::results::{self, ReadError};
use charts::{Chart, ChartError};
use companions::Companions;
use data::Data;

/// Name of the file with one row per engine and workload.
pub const SUMMARY_CSV: &str = "summary.csv";
/// Name of the file with one row per workload and step of an ablation.
pub const ABLATION_CSV: &str = "ablation.csv";
/// Name of the page.
pub const REPORT_HTML: &str = "report.html";
/// Name of the folder with the charts.
pub const PLOTS: &str = "plots";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The page.
    pub html: PathBuf,
    /// The charts: an SVG and a PNG of each.
    pub plots: Vec<PathBuf>,
    /// The table of medians and slowdowns.
    pub summary: PathBuf,
    /// The table of steps, of an ablation.
    pub ablation: Option<PathBuf>,
    /// The folder of the micro-benchmarks that the page shows.
    pub micro: Option<PathBuf>,
    /// The folder of the isolation suite that the page shows.
    pub isolation: Option<PathBuf>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The results folder could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A folder cannot be shown beside the experiment.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The page could not be filled in.
    #[error("cannot render {REPORT_HTML}: {0}")]
    Page(#[from] askama::Error),
    /// A table could not be formatted.
    #[error("cannot format a table: {0}")]
    Csv(#[from] csv::Error),
}

/// Renders the experiment in `dir` into files beside its measurements.
///
/// Micro-benchmarks and the isolation suite are shown too: those in the folders `with`, or else the newest of the same host
/// and KVM backend in the folders beside `dir`.
///
/// # Errors
/// [`ReportError`], in one sentence that names the file.
pub fn render(dir: &Path, with: &[PathBuf]) -> Result<Rendered, ReportError> {
    let mut experiment = results::read(dir)?;
    let calibration = calibration_of(dir, &experiment.meta.host).unwrap_or_else(|error| {
        experiment.warnings.push(error.to_string());
        None
    });
    let companions = Companions::of(dir, &experiment.meta.host, with)?;
    let data = Data::new(&experiment).calibrated(calibration).beside(companions);
    let charts = charts::all(&data);
    let rendered = Rendered {
        html: dir.join(REPORT_HTML),
        plots: plots(&dir.join(PLOTS), &charts)?,
        summary: dir.join(SUMMARY_CSV),
        ablation: data.analysis.as_ref().map(|_| dir.join(ABLATION_CSV)),
        micro: data.companions.micro.as_ref().map(|found| found.dir.clone()),
        isolation: data.companions.isolation.as_ref().map(|found| found.dir.clone()),
    };
    write(&rendered.summary, data.summary.to_csv()?.as_bytes())?;
    if let (Some(path), Some(analysis)) = (&rendered.ablation, &data.analysis) {
        write(path, ablation::to_csv(analysis)?.as_bytes())?;
    }
    let page = html::page(&data, &charts)?;
    write(&rendered.html, page.as_bytes())?;
    Ok(rendered)
}

/// The calibration of this host beside the folder, if there is one.
fn calibration_of(dir: &Path, host: &serde_json::Value) -> Result<Option<Calibration>, CalibrationError> {
    let Some(beside) = std::path::absolute(dir).ok().and_then(|dir| Some(dir.parent()?.join(CALIBRATION_JSON))) else {
        return Ok(None);
    };
    Ok(Calibration::read(&beside)?.filter(|calibration| calibration.is_of(host)))
}

/// Writes charts, an SVG and a PNG of each.
pub(crate) fn plots(dir: &Path, charts: &[Chart]) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReportError::Write { path, source }
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let mut written = Vec::new();
    for chart in charts {
        let svg = dir.join(&chart.name).with_extension("svg");
        write(&svg, chart.svg()?.as_bytes())?;
        let png = svg.with_extension("png");
        // The encoder picks the format by the ending.
        let scratch = scratch(dir, ".png").map_err(failed(&png))?.into_temp_path();
        chart.png(&scratch)?;
        scratch.persist(&png).map_err(|e| failed(&png)(e.error))?;
        written.extend([svg, png]);
    }
    Ok(written)
}

/// Writes a file so that readers see the old one or the new one, never a part.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    let failed = |source| ReportError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = scratch(dir, ".tmp").map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

fn scratch(dir: &Path, suffix: &str) -> io::Result<tempfile::NamedTempFile> {
    // Results are to be shared, unlike most temporary files.
    tempfile::Builder::new()
        .prefix(".report-")
        .suffix(suffix)
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir)
}

#[cfg(test)]
mod tests;
