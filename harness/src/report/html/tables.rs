//! The tables of numbers.

use std::collections::BTreeSet;

use super::view::{Cell, Table};
use crate::host::KvmBackend;
use crate::meaning::{self, quadrant::PARTS};
use crate::model::{EngineId, Setup, Status};
use crate::report::charts::{started_engines, startup_times};
use crate::report::counters::Counters;
use crate::report::summary::{Cell as Measured, Labels, Summary};
use crate::report::units;
use crate::results::Experiment;
use crate::stats::{Bootstrap, Estimate, Outliers};

/// One row per workload, one column per engine: the ratio, and below it its interval and the time.
///
/// `planned` is the number of runs of each cell; cells with another number say so.
pub(super) fn slowdown(summary: &Summary, planned: u32) -> Table {
    let mut table = Table::new("Slowdown and time of each workload on each engine", ["workload"]);
    table.head.extend(summary.engines.iter().map(ToString::to_string));
    for workload in &summary.workloads {
        let mut name = Cell::code(&workload.label).with_note(workload.group.title());
        if workload.baseline == Some(EngineId::Kvm) {
            name = name.with_note("against kvm");
        }
        let mut row = vec![name];
        row.extend(summary.engines.iter().map(|&engine| {
            let cell = summary.cell(engine, &workload.label);
            cell.map_or_else(|| Cell::number(None, units::ratio), |cell| measured(cell, planned))
        }));
        table.rows.push(row);
    }
    for (system, name) in [(false, "programs"), (true, "system")] {
        if !summary.means.iter().any(|m| m.system == system) {
            continue;
        }
        let mut row = vec![Cell::text("geometric mean").with_note(name)];
        row.extend(summary.engines.iter().map(|&engine| match summary.mean(engine, system) {
            Some(m) => ratio(&m.estimate).with_note(interval(&m.estimate)).with_note(format!("over {}", m.workloads)),
            None => Cell::number(None, units::ratio),
        }));
        table.foot.push(row);
    }
    table
}

fn measured(cell: &Measured, planned: u32) -> Cell {
    let lost: Vec<String> = cell.lost.iter().map(|&(s, n)| format!("{n} × {}", status(s))).collect();
    let n = if cell.n == planned as usize { String::new() } else { format!("n = {}", cell.n) };
    let time = cell.median.map(|m| units::time(m.value)).unwrap_or_default();
    if !lost.is_empty() {
        return Cell::bad(lost.join(", ")).with_note(time).with_note(n);
    }
    let far = outliers(cell.outliers);
    match (&cell.ratio, &cell.median) {
        (Some(r), _) => ratio(r).with_note(interval(r)).with_note(time).with_note(n).with_note(far),
        (None, Some(m)) => Cell::number(Some(m.value), units::time).with_note(n).with_note(far),
        (None, None) => Cell::number(None, units::ratio),
    }
}

/// `1 outlier`, `2 outliers, 1 severe`, or nothing.
fn outliers(found: Outliers) -> String {
    let plural = if found.total() == 1 { "" } else { "s" };
    match (found.total(), found.severe) {
        (0, _) => String::new(),
        (1, 1) => "1 severe outlier".to_owned(),
        (all, 0) => format!("{all} outlier{plural}"),
        (all, severe) => format!("{all} outlier{plural}, {severe} severe"),
    }
}

fn ratio(estimate: &Estimate) -> Cell {
    Cell::number(Some(estimate.value), units::ratio)
}

/// `1.01–1.03`, or nothing.
fn interval(estimate: &Estimate) -> String {
    estimate.interval.map_or(String::new(), |i| format!("{}–{}", units::number(i.low), units::number(i.high)))
}

/// How a run ended, as the page says it.
pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Ok => "untimed",
        Status::Mismatch => "MISMATCH",
        Status::Failed => "FAILED",
        Status::Timeout => "TIMEOUT",
        Status::Interrupted => "interrupted",
    }
}

/// One row per cell that has exits.
pub(super) fn exits(summary: &Summary, counters: &Counters) -> Table {
    let mut table = Table::new(
        "Exits of each workload on each engine",
        ["workload", "engine", "exits", "per ms", "ns each", "by reason"],
    );
    for cell in &summary.cells {
        let Some(exits) = counters.exits(cell.engine, &cell.workload) else { continue };
        let ms = cell.median.map(|m| m.value / 1e6).filter(|_| !exits.whole_run);
        let reasons: Vec<String> =
            exits.reasons.iter().map(|(name, n)| format!("{name} {}", units::count(*n as u64))).collect();
        let note = match (exits.by_kvm, exits.whole_run) {
            (_, true) => "counted by KVM, whole run",
            (true, false) => "counted by KVM",
            (false, false) => "",
        };
        let served = counters.get(cell.engine, &cell.workload, "vmm", "serve_ns").filter(|_| exits.total > 0.0);
        table.rows.push(vec![
            Cell::code(&cell.workload),
            Cell::code(cell.engine.name()),
            Cell::number(Some(exits.total), |n| units::count(n as u64)).with_note(note),
            Cell::number(ms.map(|ms| exits.total / ms), units::number),
            Cell::number(served.map(|ns| ns / exits.total), units::number),
            Cell::text(reasons.join(", ")),
        ]);
    }
    table
}

/// One row per cell and reason that the machine counted, and one per device of port I/O: how many, how long, what share.
pub(super) fn exit_times(summary: &Summary, counters: &Counters) -> Table {
    let mut table = Table::new(
        "Exits by reason, with their latencies",
        [
            "workload",
            "engine",
            "reason",
            "exits a run",
            "served in: median",
            "99%",
            "longest",
            "stay before: median",
            "99%",
            "serving, share of ROI",
        ],
    );
    for cell in &summary.cells {
        let get = |name: &str| counters.get(cell.engine, &cell.workload, "vmm", name);
        let known = |name: String| counters.where_known(cell.engine, &cell.workload, "vmm", &name);
        for name in counters.names(cell.engine, &cell.workload, "vmm") {
            // Counts of a reason (`io`) or of a device (`io.pit`): those that have a time.
            let Some(reason) = name.strip_prefix("exit.").filter(|_| get(&format!("{name}_ns")).is_some()) else {
                continue;
            };
            let Some(count) = get(&name).filter(|&n| n > 0.0) else { continue };
            let time = |end: &str| Cell::number(known(format!("exit.{reason}.{end}")), units::time);
            let stay = |end: &str| Cell::number(known(format!("run.{reason}.{end}")), units::time);
            let share = get(&format!("{name}_ns")).zip(cell.median).map(|(ns, roi)| ns / roi.value);
            table.rows.push(vec![
                Cell::code(&cell.workload),
                Cell::code(cell.engine.name()),
                Cell::code(reason),
                Cell::number(Some(count), |n| units::count(n as u64)),
                time("p50_ns"),
                time("p99_ns"),
                time("max_ns"),
                stay("p50_ns"),
                stay("p99_ns"),
                Cell::number(share, |s| units::percent(s.min(1.0))),
            ]);
        }
    }
    table
}

/// One row per cell whose region of interest is divided: each part's time and share, and how far off one may be.
pub(super) fn quadrants(summary: &Summary, counters: &Counters) -> Table {
    let mut table = Table::new("Guest and host, user and kernel", ["workload", "engine"]);
    table.head.extend(PARTS.iter().map(|(_, title)| (*title).to_owned()));
    table.head.push("error of a part, at most".to_owned());
    for cell in &summary.cells {
        let Some(parts) = counters.quadrants(cell.engine, &cell.workload) else { continue };
        let all: f64 = parts.iter().sum();
        let mut row = vec![Cell::code(&cell.workload), Cell::code(cell.engine.name())];
        row.extend(parts.iter().map(|&part| {
            let known = Some(part).filter(|&p| p > 0.0);
            Cell::number(known, units::time).with_note(known.map_or(String::new(), |p| units::percent(p / all)))
        }));
        let error = counters.quadrant_error(cell.engine, &cell.workload);
        let share = error.map_or(String::new(), |e| units::percent((e / all).min(1.0)));
        row.push(Cell::number(error, units::time).with_note(share));
        table.rows.push(row);
    }
    table
}

/// What KVM itself counted, and what each of that means: one row per counter that is not 0 everywhere.
pub(super) fn kvm_statistics(summary: &Summary, counters: &Counters, backend: Option<KvmBackend>) -> Table {
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|e| e.id.is_on_kvm()).collect();
    let mut table = Table::new("What KVM counted", ["counter", "meaning"]);
    table.head.extend(engines.iter().map(|e| format!("{e}, most")));
    let cells = || summary.cells.iter().filter(|cell| cell.engine.id.is_on_kvm());
    let names: BTreeSet<String> = cells().flat_map(|c| counters.names(c.engine, &c.workload, "kvm")).collect();
    // In the region of interest, or else in total.
    let plain: BTreeSet<&str> = names.iter().map(|name| name.strip_prefix("total.").unwrap_or(name)).collect();
    for name in plain {
        let most = |engine: Setup| {
            let of = |c: &Measured| {
                let get = |name: &str| counters.get(c.engine, &c.workload, "kvm", name);
                let value = get(name).or_else(|| get(&format!("total.{name}")))?;
                Some((value, c.workload.clone()))
            };
            let values = cells().filter(|c| c.engine == engine).filter_map(of);
            values.max_by(|a, b| a.0.total_cmp(&b.0))
        };
        let values: Vec<_> = engines.iter().map(|&engine| most(engine)).collect();
        if values.iter().flatten().all(|v| v.0 == 0.0) {
            continue;
        }
        let mut row = vec![Cell::code(name), Cell::text(meaning::text("kvm", name, backend))];
        row.extend(values.into_iter().map(|most| match most {
            Some((value, workload)) if value > 0.0 => {
                Cell::number(Some(value), |n| units::count(n as u64)).with_note(workload)
            }
            other => Cell::number(other.map(|o| o.0), units::number),
        }));
        table.rows.push(row);
    }
    table
}

/// One row per engine that has start-up times.
pub(super) fn startup(experiment: &Experiment) -> Table {
    let mut table =
        Table::new("Start-up time of each engine", ["engine", "n", "median", "95% interval", "least", "most"]);
    let bootstrap = Bootstrap::new(experiment.meta.plan.seed);
    for engine in started_engines(experiment) {
        let times = startup_times(experiment, engine);
        let Some(estimate) = bootstrap.median(&format!("startup/{engine}"), &times) else { continue };
        let least = times.iter().copied().reduce(f64::min);
        let most = times.iter().copied().reduce(f64::max);
        table.rows.push(vec![
            Cell::code(engine.name()),
            Cell::number(Some(times.len() as f64), units::short),
            Cell::number(Some(estimate.value), units::time),
            Cell::text(estimate.interval.map_or("–".to_owned(), units::time_interval)),
            Cell::number(least, units::time),
            Cell::number(most, units::time),
        ]);
    }
    table
}

/// Most runs that the page lists, so that it stays a page; `runs.csv` has them all.
pub(super) const MOST_RUNS: usize = 4000;

/// Every run as it was recorded, up to [`MOST_RUNS`].
pub(super) fn runs(experiment: &Experiment) -> Table {
    let mut table = Table::new(
        "Every run",
        [
            "run",
            "engine",
            "workload",
            "status",
            "checksum",
            "ROI, host ns",
            "ROI, guest ns",
            "start-up ns",
            "wall ns",
            "instructions",
        ],
    );
    let labels = Labels::new(experiment);
    for run in experiment.runs.iter().take(MOST_RUNS) {
        let ended = match run.status {
            Status::Ok => Cell::text("ok"),
            other => Cell::bad(status(other)),
        };
        table.rows.push(vec![
            Cell::count(Some(run.run.into())),
            Cell::code(run.engine.name()),
            Cell::code(labels.of(run)),
            ended,
            Cell::code(run.checksum.clone().unwrap_or_default()),
            Cell::count(run.roi_host_ns),
            Cell::count(run.roi_guest_ns),
            Cell::count(run.startup_ns),
            Cell::count(Some(run.wall_ns)),
            Cell::count(run.guest_instructions),
        ]);
    }
    table.long()
}
