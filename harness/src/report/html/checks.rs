//! Whether the runs may be believed: equal checksums, and what went wrong.

use std::collections::BTreeMap;

use super::tables::status;
use super::view::{Cell, Table, Trouble};
use crate::model::{Setup, Status};
use crate::report::summary::{Labels, Summary};
use crate::results::Experiment;

/// What must not be overlooked.
pub(super) fn alerts(experiment: &Experiment, summary: &Summary) -> Vec<String> {
    let mut alerts = Vec::new();
    for cell in summary.cells.iter().filter(|c| c.mismatched()) {
        alerts.push(format!(
            "{} computed something else on {} than the other engines: its times are void.",
            cell.workload, cell.engine
        ));
    }
    let lost = experiment.runs.iter().filter(|r| matches!(r.status, Status::Failed | Status::Timeout)).count();
    if lost > 0 {
        let runs = if lost == 1 { "1 run".to_owned() } else { format!("{lost} runs") };
        alerts.push(format!("{runs} failed or did not end in time; see \u{201c}Agreement\u{201d}."));
    }
    alerts
}

/// One row per workload: what the engines computed.
pub(super) fn checksums(experiment: &Experiment, summary: &Summary) -> Table {
    let labels = Labels::new(experiment);
    let mut table = Table::new("Checksums of each workload", ["workload", "checksum", "computed by", "verdict"]);
    for workload in &summary.workloads {
        let mut by_sum: BTreeMap<&str, BTreeMap<Setup, (usize, bool)>> = BTreeMap::new();
        for run in experiment.runs.iter().filter(|r| labels.of(r) == workload.label) {
            if let Some(sum) = run.checksum.as_deref() {
                let entry = by_sum.entry(sum).or_default().entry(run.engine).or_default();
                entry.0 += 1;
                entry.1 |= run.status == Status::Mismatch;
            }
        }
        for (sum, engines) in by_sum {
            let wrong = engines.values().any(|e| e.1);
            let names: Vec<String> = engines.iter().map(|(e, (n, _))| format!("{e} × {n}")).collect();
            table.rows.push(vec![
                Cell::code(&workload.label),
                Cell::code(sum),
                Cell::text(names.join(", ")),
                if wrong { Cell::bad("MISMATCH") } else { Cell::text("agrees") },
            ]);
        }
    }
    table
}

/// Runs that did not end well.
pub(super) fn troubles(experiment: &Experiment) -> Vec<Trouble> {
    let problems = experiment.meta.problems.iter();
    problems
        .map(|p| Trouble {
            title: format!("Run {}, {} on {}: {}", p.run, p.workload, p.engine, status(p.status)),
            message: p.message.clone(),
            console: p.console.clone(),
        })
        .collect()
}
