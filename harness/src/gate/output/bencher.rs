//! Bencher Metric Format: by benchmark, by measure, a value with its ends.
//!
//! Source: Bencher's reference, "Bencher Metric Format (BMF)": `value`, and optionally `lower_value` and `upper_value`;
//! `latency` is in nanoseconds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::report::Report;
use super::series;

#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// The times of the head: `latency`, and `slowdown` where the reference runs the workload.
///
/// # Errors
/// A value has no JSON.
pub fn to_bencher(report: &Report) -> Result<String, serde_json::Error> {
    let mut benchmarks: BTreeMap<String, BTreeMap<&str, Metric>> = BTreeMap::new();
    for measured in &report.measured {
        let measures = benchmarks.entry(series(&measured.engine.name(), &measured.workload)).or_default();
        measures.insert("latency", Metric { value: measured.median_ns, lower_value: None, upper_value: None });
        if let Some(value) = measured.slowdown {
            let (lower_value, upper_value) = (measured.slowdown_low, measured.slowdown_high);
            measures.insert("slowdown", Metric { value, lower_value, upper_value });
        }
    }
    serde_json::to_string_pretty(&benchmarks)
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::to_bencher;

    #[test]
    fn a_benchmark_has_its_measures() {
        insta::assert_snapshot!(to_bencher(&failed()).expect("JSON"));
    }
}
