//! The pages of measurements that are no experiment with engines and workloads: a few sections each.

use askama::Template;
use serde_json::Value;

use super::frame::Frame;
use super::view::{Cell, Fact, Figure, Part, Table};
use super::{about, attacks, events};
use crate::crowd::{Crowd, Point};
use crate::isolation::Tested;
use crate::micro::Measured;
use crate::report::ReportError;
use crate::report::charts::Chart;
use crate::report::units;
use crate::results::EngineMeta;
use crate::stats::{Estimate, Interval};
use crate::warmup::{Class, Warmup};

#[derive(Template)]
#[template(path = "sheet.html")]
struct Sheet {
    frame: Frame,
    alerts: Vec<String>,
    warnings: Vec<String>,
    backend: Option<(String, String)>,
    /// Heading of the section.
    heading: &'static str,
    part: Part,
    /// Engines that the host lacks.
    missing: Vec<super::view::Missing>,
    host: Vec<Fact>,
    /// The files that it was rendered from.
    files: &'static str,
}

impl Sheet {
    fn render_page(self) -> Result<String, ReportError> {
        Ok(self.render()? + "\n")
    }
}

/// When and where, in one line.
fn subtitle(started: &str, host: &Value, tool: &str) -> String {
    about::line(started, host, tool)
}

/// The page of micro-benchmarks.
pub(crate) fn micro(measured: &Measured) -> Result<String, ReportError> {
    let meta = &measured.meta;
    let wrong = measured.cells.iter().filter(|cell| cell.wrong);
    let alert = |cell: &crate::micro::Cell| {
        let note = cell.note.as_deref().unwrap_or("it failed");
        format!("{} in ring {} on {}: {note}.", cell.event, cell.ring.number(), cell.engine)
    };
    let sheet = Sheet {
        frame: Frame::new("What one event costs", subtitle(&meta.started, &meta.host, &meta.tool)),
        alerts: wrong.map(alert).collect(),
        warnings: measured.warnings.clone(),
        backend: backend(&meta.host, measured.engines().iter().any(|engine| engine.is_on_kvm())),
        heading: "Micro-benchmarks",
        part: events::part(Some(measured))?,
        missing: about::missing(&meta.engines),
        host: about::host(&meta.host),
        files: "micro.json and micro.csv",
    };
    sheet.render_page()
}

/// The page of the isolation suite.
pub(crate) fn isolation(tested: &Tested) -> Result<String, ReportError> {
    let meta = &tested.meta;
    let sheet = Sheet {
        frame: Frame::new("Are hostile guests contained?", subtitle(&meta.started, &meta.host, &meta.tool.version)),
        alerts: attacks::alerts(tested),
        warnings: tested.warnings.clone(),
        backend: backend(&meta.host, tested.engines().iter().any(|engine| engine.is_on_kvm())),
        heading: "Isolation",
        part: attacks::part(Some(tested)),
        missing: about::missing(&meta.engines),
        host: about::host(&meta.host),
        files: "isolation.json and isolation.csv",
    };
    sheet.render_page()
}

/// The page of a crowd.
pub(crate) fn crowd(found: &Crowd, points: &[Point], charts: &[Chart]) -> Result<String, ReportError> {
    let meta = &found.meta;
    let plan = &meta.plan;
    let figures = charts.iter().map(|chart| Figure::of(chart, crowd_caption(&chart.name))).collect::<Result<_, _>>()?;
    let intro = format!(
        "{} on {} processors, {} rounds of each engine with each number of guests, seed {}. All guests of a round start at once, \
         each in a process of its own.",
        plan.workload, plan.cpus, plan.rounds, plan.seed
    );
    let problem = |p: &crate::crowd::CrowdProblem| p.to_string();
    let sheet = Sheet {
        frame: Frame::new("Guests side by side", subtitle(&meta.started, &meta.host, &meta.tool.version)),
        alerts: meta.problems.iter().map(problem).collect(),
        warnings: found.warnings.clone(),
        backend: backend(&meta.host, points.iter().any(|point| point.engine.id.is_on_kvm())),
        heading: "Consolidation",
        part: Part {
            is_there: true,
            intro: vec![intro],
            figures,
            tables: vec![crowd_table(points)],
            notes: Vec::new(),
        },
        missing: about::missing(&meta.engines),
        host: about::host(&meta.host),
        files: "experiment.json and crowd.csv",
    };
    sheet.render_page()
}

fn crowd_caption(name: &str) -> &'static str {
    match name {
        "throughput" => {
            "How much work all guests get done together, against one guest alone. Up to the number of processors the ideal is one \
             guest's work more for each guest; beyond it there is nothing left to add, and what falls is the price of sharing."
        }
        _ => {
            "What each guest takes of the host's memory as a proportional set size: a page that n processes share counts as an nth \
             in each, so that the guests' sizes add up to what they take together."
        }
    }
}

fn crowd_table(points: &[Point]) -> Table {
    let mut table = Table::new(
        "Each engine with each number of guests",
        [
            "engine",
            "guests",
            "n",
            "throughput",
            "of ideal",
            "slowdown of a guest",
            "fairness",
            "memory per guest",
            "start-up",
            "CPU time per run",
        ],
    );
    let ratio = |estimate: Option<Estimate>| {
        let interval = estimate.and_then(|e| e.interval);
        let note = interval.map_or(String::new(), |i| format!("{}–{}", units::number(i.low), units::number(i.high)));
        Cell::number(estimate.map(|e| e.value), units::ratio).with_note(note)
    };
    for point in points {
        table.rows.push(vec![
            Cell::code(point.engine.name()),
            Cell::count(Some(point.guests.into())),
            Cell::count(Some(point.n as u64)),
            ratio(point.throughput),
            Cell::number(point.of_ideal, units::percent),
            ratio(point.slowdown),
            Cell::number(Some(point.fairness), |f| format!("{f:.3}")),
            Cell::number(point.pss, |bytes| format!("{} MiB", units::number(bytes / f64::from(1 << 20)))),
            Cell::number(point.startup_ns, units::time),
            Cell::number(point.cpu_ns, units::time),
        ]);
    }
    table
}

/// The page of warm-ups.
pub(crate) fn warmup(found: &Warmup) -> Result<String, ReportError> {
    let text = |key: &str| found.meta.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| found.meta.get(key).and_then(Value::as_u64).unwrap_or_default();
    let host = found.meta.get("host").cloned().unwrap_or_default();
    let engines: Vec<EngineMeta> =
        found.meta.get("engines").and_then(|e| serde_json::from_value(e.clone()).ok()).unwrap_or_default();
    let intro = format!(
        "{} runs of {} laps of the same work, each run one process. Steady is a program from the lap on after which nothing \
         changes any more; first over steady says how much dearer its first lap is.",
        number("runs"),
        number("laps")
    );
    let failed = found.cells.iter().filter_map(|cell| Some((cell, cell.note.as_deref()?)));
    let sheet = Sheet {
        frame: Frame::new("From when on is a program steady?", subtitle(text("started"), &host, text("tool"))),
        alerts: failed.map(|(cell, note)| format!("{} on {}: {note}.", cell.workload, cell.engine)).collect(),
        warnings: found.warnings.clone(),
        backend: backend(&host, found.cells.iter().any(|cell| cell.engine.id.is_on_kvm())),
        heading: "Warm-up",
        part: Part { is_there: true, intro: vec![intro], tables: vec![warmup_table(found)], ..Part::default() },
        missing: about::missing(&engines),
        host: about::host(&host),
        files: "warmup.json and warmup.csv",
    };
    sheet.render_page()
}

fn warmup_table(found: &Warmup) -> Table {
    let mut table = Table::new(
        "Each workload on each engine",
        ["workload", "engine", "n", "class", "steady from lap", "steady time of a lap", "first over steady"],
    );
    let ends = |low: Option<f64>, high: Option<f64>| low.zip(high).map(|(low, high)| Interval { low, high });
    for cell in found.cells.iter().filter(|cell| cell.n > 0) {
        let parts =
            cell.classes.occurring().iter().map(|(class, n)| format!("{n} {class}")).collect::<Vec<_>>().join(", ");
        let mixed = cell.class == Some(Class::Inconsistent);
        let first = ends(cell.first_over_steady_low, cell.first_over_steady_high);
        let first = first.map_or(String::new(), |i| format!("{}–{}", units::number(i.low), units::number(i.high)));
        let steady = ends(cell.steady_low_ns, cell.steady_high_ns).map_or(String::new(), units::time_interval);
        table.rows.push(vec![
            Cell::code(&cell.workload),
            Cell::code(cell.engine.name()),
            Cell::count(Some(cell.n as u64)),
            Cell::text(cell.class.map_or("–", |class| class.name())).with_note(if mixed {
                parts
            } else {
                String::new()
            }),
            Cell::count(cell.steady_from.map(|lap| lap as u64)),
            Cell::number(cell.steady_ns, units::time).with_note(steady),
            Cell::number(cell.first_over_steady, units::ratio).with_note(first),
        ]);
    }
    table
}

/// The warning on the KVM backend, where guests ran on KVM.
fn backend(host: &Value, on_kvm: bool) -> Option<(String, String)> {
    on_kvm.then(|| about::warning(host)).flatten()
}
