//! What an experiment says, for programs.

use serde_json::{Value, json};

use super::data::Data;
use super::summary::Cell;
use crate::ablation::Row;
use crate::results::Experiment;
use crate::stats::Estimate;

/// Cells, means and, of an ablation, steps, under the names of `summary.csv` and `ablation.csv`; times in nanoseconds.
#[must_use]
pub fn to_json(experiment: &Experiment) -> Value {
    let data = Data::new(experiment);
    let summary = &data.summary;
    let cells: Vec<Value> = summary.cells.iter().map(|cell| of_cell(cell, summary.slowdown(cell))).collect();
    let means: Vec<Value> = summary
        .means
        .iter()
        .map(|mean| {
            let mut json = json!({
                "engine": mean.engine,
                "group": if mean.system { "system" } else { "programs" },
                "workloads": mean.workloads,
            });
            estimate(&mut json, ["slowdown", "slowdown_low", "slowdown_high"], Some(mean.estimate));
            json
        })
        .collect();
    let meta = &experiment.meta;
    let mut json = json!({
        "state": meta.state,
        "seed": meta.plan.seed,
        "runs": experiment.runs.len(),
        "cells": cells,
        "means": means,
        "problems": meta.problems,
    });
    if let Some(analysis) = &data.analysis {
        let step = |row: &Row| of_step(row, &analysis.steps[row.step]);
        json["steps"] = analysis.rows.iter().map(step).collect();
    }
    json
}

fn of_cell(cell: &Cell, slowdown: Option<Estimate>) -> Value {
    let mut json = json!({ "engine": cell.engine, "workload": cell.workload, "n": cell.n });
    estimate(&mut json, ["median_ns", "ci_low_ns", "ci_high_ns"], cell.median);
    estimate(&mut json, ["slowdown", "slowdown_low", "slowdown_high"], slowdown);
    json
}

fn of_step(row: &Row, step: &crate::ablation::Step) -> Value {
    let mut json = json!({
        "workload": row.workload,
        "step": step.name,
        "mechanisms": step.engine.mechanisms().map(|m| m.to_string()),
        "n": row.n,
    });
    estimate(&mut json, ["median_ns", "ci_low_ns", "ci_high_ns"], row.median);
    estimate(&mut json, ["slowdown", "slowdown_low", "slowdown_high"], row.slowdown);
    estimate(&mut json, ["factor", "factor_low", "factor_high"], row.factor);
    json
}

/// Adds a value and the ends of its interval, each `null` where there is none.
fn estimate(json: &mut Value, names: [&str; 3], estimate: Option<Estimate>) {
    let interval = estimate.and_then(|estimate| estimate.interval);
    let values = [estimate.map(|e| e.value), interval.map(|i| i.low), interval.map(|i| i.high)];
    for (name, value) in names.into_iter().zip(values) {
        json[name] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn it_says_what_summary_csv_says() {
        let experiment = synthetic::full();
        let json = to_json(&experiment);
        let csv = Data::new(&experiment).summary.to_csv().expect("a table");
        let mut rows = csv::Reader::from_reader(csv.as_bytes());
        let names = rows.headers().expect("a header").clone();
        let cells = json["cells"].as_array().expect("a list");
        for (cell, row) in cells.iter().zip(rows.records()) {
            for (name, text) in names.iter().zip(&row.expect("a row")) {
                match &cell[name] {
                    Value::Null => assert_eq!(text, "", "{name} of {cell}"),
                    Value::String(word) => assert_eq!(text, word),
                    number => {
                        let (number, text) = (number.as_f64().expect("a number"), text.parse::<f64>().expect("one"));
                        assert!((number - text).abs() <= 0.5_f64.min(text.abs() * 0.01 + 1e-4), "{name} of {cell}");
                    }
                }
            }
        }
        assert_eq!(cells.len(), Data::new(&experiment).summary.cells.len());
        assert!(json["means"].as_array().is_some_and(|means| !means.is_empty()), "{json}");
        assert!(json.get("steps").is_none(), "it is no ablation");
    }

    #[test]
    fn an_ablation_has_its_steps() {
        let json = to_json(&synthetic::ablation());
        let steps = json["steps"].as_array().expect("a list");
        assert!(steps.iter().any(|step| step["step"] == "+decode" && step["factor"].is_number()), "{steps:?}");
    }
}
