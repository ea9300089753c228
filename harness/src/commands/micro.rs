//! `evlab micro`: what one event costs on each engine.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use evlab::cli::MicroArgs;
use evlab::engines::StopFlag;
use evlab::host::{self, HostInfo};
use evlab::micro::{
    self, Benchmark, Cell, ChildRunner, Files, Group, MICRO_CSV, Meta, Phase, Plan, Watcher, benchmarks, table,
};
use evlab::model::{EngineId, Setup};
use evlab::report::{self, REPORT_HTML};
use evlab::results::{Cell as Shown, EngineMeta};
use evlab::studio::{self, Progress};

use super::list::{plain_table, trimmed};
use super::{Verdict, experiment};

/// Runs of each, full and quick.
const RUNS: u32 = 5;
const RUNS_QUICK: u32 = 3;
/// How long a region of interest should be, nanoseconds, full and quick.
const TARGET_NS: f64 = 20e6;
const TARGET_NS_QUICK: f64 = 4e6;

/// Measures the events and prints the table.
pub(crate) fn execute(args: &MicroArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let all = benchmarks();
    let chosen = choose(args, &all)?;
    if args.list {
        list(&chosen, out)?;
        return Ok(Verdict::Well);
    }
    let engines = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    // With --json, standard output is for JSON alone.
    let mut errors = std::io::stderr();
    let notes: &mut dyn Write = if args.json { &mut errors } else { out };
    let found = experiment::look_for(&engines, notes)?;
    let engines = experiment::usable(&found);
    if engines.is_empty() {
        bail!("this host has none of the chosen engines; evlab doctor says how to get them");
    }
    let host = host::describe();
    for caution in host.cautions() {
        writeln!(notes, "note: {caution}")?;
    }
    let plan = Plan {
        benchmarks: Plan::with_controls(&chosen, &all),
        engines,
        backend: host.kvm.backend,
        runs: args.runs.unwrap_or(if args.quick { RUNS_QUICK } else { RUNS }),
        target_ns: if args.quick { TARGET_NS_QUICK } else { TARGET_NS },
        seed: experiment::seed(args.seed),
    };
    let folder =
        studio::prepare(args.out.as_deref(), host.hostname.as_deref().unwrap_or_default(), jiff::Timestamp::now())?;
    let dir = folder.path.clone();
    let mut files = match Files::create(&dir) {
        Ok(files) => files,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    files.write_meta(&meta(&plan, &found, &host, args)?)?;
    writeln!(notes, "seed {}, results in {}", plan.seed, dir.display())?;
    notes.flush()?;

    let mut runner = ChildRunner { no_sandbox: args.sandbox.no_sandbox, stop };
    let mut watcher = Shower::new(&plan);
    let cells = micro::measure(&plan, &mut runner, &mut files, &mut watcher, stop);
    watcher.progress.finish();
    let cells = cells?;
    files.write_cells(&cells)?;
    report::render_micro(&dir)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &cells)?;
        writeln!(out)?;
    } else {
        print(&plan.benchmarks, &plan.engines, &cells, out)?;
        writeln!(out, "\nreport: {}", dir.join(REPORT_HTML).display())?;
        writeln!(out, "all values with their intervals: {}", dir.join(MICRO_CSV).display())?;
    }
    if stop.is_stopped() {
        return Ok(Verdict::Interrupted);
    }
    Ok(if cells.iter().any(|cell| cell.wrong) { Verdict::Bad } else { Verdict::Well })
}

fn choose(args: &MicroArgs, all: &[Benchmark]) -> anyhow::Result<Vec<Benchmark>> {
    let shown: Vec<Benchmark> = all.iter().filter(|benchmark| !benchmark.is_control()).cloned().collect();
    let chosen = studio::select("event", &args.events, &shown, |benchmark| benchmark.event.name())?;
    let chosen: Vec<Benchmark> =
        chosen.into_iter().filter(|b| args.ring.is_none_or(|ring| b.ring.number() == ring)).collect();
    if let ([], Some(ring)) = (&chosen[..], args.ring) {
        bail!("none of these events is measured in ring {ring}; leave --ring out");
    }
    Ok(chosen)
}

fn list(chosen: &[Benchmark], out: &mut dyn Write) -> std::io::Result<()> {
    for group in Group::SHOWN {
        let mut table = plain_table();
        table.set_header([group.name().to_uppercase().as_str(), "RING", "ONE OPERATION"]);
        let mut any = false;
        for benchmark in chosen.iter().filter(|benchmark| benchmark.group == group) {
            table.add_row([benchmark.event.name(), &benchmark.ring.number().to_string(), benchmark.summary]);
            any = true;
        }
        if any {
            writeln!(out, "{}\n", trimmed(&table))?;
        }
    }
    Ok(())
}

/// Prints the table, the reasons for what is missing, and whether exits were as expected.
pub(super) fn print(
    benchmarks: &[Benchmark],
    engines: &[EngineId],
    cells: &[Cell],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for group in Group::SHOWN {
        let rows = table::rows(group, benchmarks, cells, engines);
        if rows.is_empty() {
            continue;
        }
        let mut table = plain_table();
        let title = group.name().to_uppercase();
        let columns = [title.as_str(), "RING", "INSTR", "EXITS"].into_iter().chain(engines.iter().map(|e| e.name()));
        table.set_header(columns);
        for row in rows {
            table.add_row([row.event, row.ring, row.instructions, row.exits].into_iter().chain(row.values));
        }
        writeln!(out, "{}\n", trimmed(&table))?;
    }
    for reason in table::reasons(benchmarks, cells, engines) {
        writeln!(out, "- {reason}")?;
    }
    let checked = cells.iter().filter(|cell| cell.exits.is_some()).count();
    let wrong = cells.iter().filter(|cell| cell.exits.is_some() && cell.wrong).count();
    match (checked, wrong) {
        (0, _) => Ok(()),
        (_, 0) => writeln!(out, "exits are as expected in all {checked} cells where they can be counted"),
        _ => writeln!(out, "exits are NOT as expected in {wrong} of {checked} cells"),
    }
}

/// What the measurement rests on.
fn meta(plan: &Plan, engines: &[EngineMeta], host: &HostInfo, args: &MicroArgs) -> anyhow::Result<Meta> {
    let tool = experiment::tool();
    Ok(Meta {
        format: Meta::FORMAT,
        tool: tool.version,
        git_commit: tool.git_commit,
        started: jiff::Timestamp::now().to_string(),
        seed: plan.seed,
        runs: plan.runs,
        target_ns: plan.target_ns,
        sandbox: !args.sandbox.no_sandbox,
        engines: engines.to_vec(),
        host: serde_json::to_value(host).context("cannot describe this host")?,
    })
}

/// Shows how far it is.
pub(crate) struct Shower {
    pub(crate) progress: Box<dyn Progress>,
    runs: u32,
}

impl Shower {
    pub(crate) fn new(plan: &Plan) -> Self {
        // How many trials calibration needs shows only then; about 4.
        let pairs = plan.benchmarks.len() * plan.engines.len();
        let total = u32::try_from(pairs).unwrap_or(u32::MAX).saturating_mul(plan.runs + 4);
        Self { progress: studio::for_terminal(total), runs: 0 }
    }
}

impl Watcher for Shower {
    fn begin(&mut self, benchmark: &Benchmark, engine: EngineId, phase: Phase, left: Option<Duration>) {
        self.runs += 1;
        let what = match phase {
            Phase::Calibration => format!("calibrating {benchmark}"),
            Phase::Measurement => benchmark.to_string(),
        };
        let cell = Shown { engine: Setup::plain(engine), workload: what, args: Vec::new() };
        self.progress.begin(self.runs, &cell, left);
    }

    fn end(&mut self) {
        self.progress.end();
    }
}
