//! The input of github-action-benchmark, tool `customSmallerIsBetter`: a list of named values, the smaller the better.
//!
//! Source: README of github-action-benchmark, "Custom benchmarks": `name`, `unit`, `value`, and optionally `range` and `extra`.

use serde::Serialize;

use super::super::report::{Measured, Report};
use super::series;

#[derive(Serialize)]
struct Entry {
    name: String,
    unit: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// The times of the head: as multiples of the reference's, which hosts have in common, else nanoseconds.
///
/// # Errors
/// A value has no JSON.
pub fn to_benchmark(report: &Report) -> Result<String, serde_json::Error> {
    let entries: Vec<Entry> = report.measured.iter().map(|measured| entry(report, measured)).collect();
    serde_json::to_string_pretty(&entries)
}

fn entry(report: &Report, measured: &Measured) -> Entry {
    let name = series(&measured.engine.name(), &measured.workload);
    let extra = format!("median of {} runs", measured.n);
    match (report.reference, measured.slowdown) {
        (Some(reference), Some(value)) => Entry {
            name,
            unit: format!("times {reference}"),
            value,
            range: measured
                .slowdown_low
                .zip(measured.slowdown_high)
                .map(|(low, high)| format!("{low:.3} to {high:.3}")),
            extra,
        },
        _ => Entry { name, unit: "ns".to_owned(), value: measured.median_ns, range: None, extra },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::to_benchmark;

    #[test]
    fn values_are_ratios_where_there_is_a_reference() {
        let mut report = failed();
        insta::assert_snapshot!(to_benchmark(&report).expect("JSON"));
        report.reference = None;
        assert!(to_benchmark(&report).expect("JSON").contains("\"unit\": \"ns\""));
    }
}
