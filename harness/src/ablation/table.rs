//! `ablation.csv`.

use super::analysis::Analysis;
use crate::stats::Estimate;

/// Columns of `ablation.csv`, in order.
pub const ABLATION_COLUMNS: [&str; 13] = [
    "workload",
    "step",
    "mechanisms",
    "n",
    "median_ns",
    "ci_low_ns",
    "ci_high_ns",
    "slowdown",
    "slowdown_low",
    "slowdown_high",
    "factor",
    "factor_low",
    "factor_high",
];

/// The rows of an ablation: whole nanoseconds, ratios with four decimals, as in `summary.csv`.
///
/// # Errors
/// Only where memory runs out: the rows are plain.
pub fn to_csv(analysis: &Analysis) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(ABLATION_COLUMNS)?;
    for row in &analysis.rows {
        let step = &analysis.steps[row.step];
        let mechanisms = step.engine.mechanisms().map(|m| m.to_string()).unwrap_or_default();
        let mut record = vec![row.workload.clone(), step.name.clone(), mechanisms, row.n.to_string()];
        record.extend(numbers(row.median, 0));
        record.extend(numbers(row.slowdown, 4));
        record.extend(numbers(row.factor, 4));
        writer.write_record(record)?;
    }
    let bytes = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A value and its interval; empty where there is none.
fn numbers(estimate: Option<Estimate>, decimals: usize) -> [String; 3] {
    let text = |value: Option<f64>| value.map(|v| format!("{v:.decimals$}")).unwrap_or_default();
    let interval = estimate.and_then(|e| e.interval);
    [text(estimate.map(|e| e.value)), text(interval.map(|i| i.low)), text(interval.map(|i| i.high))]
}
