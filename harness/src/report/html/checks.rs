//! Whether the runs may be believed: equal checksums, agreeing clocks, and what went wrong.

use std::collections::BTreeMap;

use super::tables::status;
use super::view::{Cell, Table, Trouble};
use crate::model::{Setup, Status};
use crate::report::summary::{Labels, Summary};
use crate::report::units;
use crate::results::Experiment;
use crate::stats::median;

/// Disagreement of the two clocks that is worth a word.
const CLOCK_SHARE: f64 = 0.005;
/// What two markers may cost, nanoseconds: host time between the timestamp and the guest's own reading.
const MARKERS_NS: f64 = 100_000.0;

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

/// Whether host and guest measured the same time: a sentence, and the cells that disagree.
pub(super) fn clock(experiment: &Experiment, summary: &Summary) -> (String, Table) {
    let labels = Labels::new(experiment);
    let mut table = Table::new(
        "Cells whose clocks disagree",
        ["workload", "engine", "host clock", "guest clock", "difference", "share"],
    );
    let (mut compared, mut markers) = (0, 0);
    for cell in &summary.cells {
        let pairs: Vec<(f64, f64)> = experiment
            .runs
            .iter()
            .filter(|r| r.engine == cell.engine && r.status == Status::Ok && labels.of(r) == cell.workload)
            .filter_map(|r| Some((r.roi_host_ns? as f64, r.roi_guest_ns? as f64)))
            .collect();
        let of = |f: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(f).collect::<Vec<_>>());
        let (Some(host), Some(guest), Some(gap)) = (of(|p| p.0), of(|p| p.1), of(|p| p.0 - p.1)) else { continue };
        compared += 1;
        if host <= 0.0 || gap.abs() / host <= CLOCK_SHARE {
            continue;
        }
        if gap.abs() <= MARKERS_NS {
            markers += 1;
            continue;
        }
        table.rows.push(vec![
            Cell::code(&cell.workload),
            Cell::code(cell.engine.name()),
            Cell::number(Some(host), units::time),
            Cell::number(Some(guest), units::time),
            Cell::number(Some(gap), units::time),
            Cell { class: "num bad", ..Cell::number(Some(gap / host), |s| format!("{:+.2}%", s * 100.0)) },
        ]);
    }
    (verdict(compared, markers, table.rows.len()), table)
}

fn verdict(compared: usize, markers: usize, apart: usize) -> String {
    if compared == 0 {
        return "No run has both a host and a guest time.".to_owned();
    }
    let agree = compared - markers - apart;
    let mut text = format!(
        "The host stamps both ends of the region of interest, and the guest reads its time-stamp counter there. In {agree} \
         of {compared} cells the two medians agree within 0.5%."
    );
    if markers > 0 {
        text.push_str(&format!(
            " In {markers} they differ by more than 0.5% but less than 0.1 ms: the region is so short that the cost of the \
             markers themselves shows."
        ));
    }
    if apart > 0 {
        text.push_str(&format!(" In {apart} they disagree by more than both; treat these times with care."));
    }
    text
}
