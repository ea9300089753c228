//! `evlab gate`: fails on a regression.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use evlab::cli::{GateArgs, Switch, WorkArgs};
use evlab::engines::StopFlag;
use evlab::gate::{
    Against, BUSY, Baseline, Bench, Build, BuildName, Interrupted, Judged, Plan, PlanError, Report, Rules, Setting,
    Standing, Times, Worker, at_once, baseline_of, conduct,
};
use evlab::host::{self, HostInfo};
use evlab::model::EngineId;
use evlab::results::EngineMeta;
use evlab::studio::{self, ChildExecutor, Silent, Work};
use workloads::Profile;

use super::list::{plain_table, trimmed};
use super::{Verdict, experiment, run};

/// Engines of a new baseline where none is named.
const USUAL: [EngineId; 5] =
    [EngineId::Native, EngineId::Kvm, EngineId::EmuDbt, EngineId::EmuInterp, EngineId::EmuNaive];
/// Factor on the quick workloads: runs of a few milliseconds are twice as noisy as runs of tens.
const SIZE: f64 = 3.0;
/// Enough for every workload of the catalogue at that size.
const RAM_MIB: u32 = 64;
const TIMEOUT_S: u64 = 60;
/// The yardstick of times: a program that stays in the caches and, an interpreter itself, strains a processor as one does.
const YARDSTICK: &str = "bytecode";

/// Holds this build against a baseline or another build, or writes a baseline.
pub(crate) fn execute(args: &GateArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    for target in &args.write {
        target.probe().with_context(|| format!("cannot write {}", target.path.display()))?;
    }
    let host = host::describe();
    match (&args.baseline, &args.base_bin) {
        (Some(path), _) if args.update => update(args, path, &host, stop, out),
        (Some(path), _) => against_baseline(args, path, &host, stop, out),
        (None, Some(base)) => against_build(args, base, &host, stop, out),
        (None, None) => bail!("nothing to hold this build against; give --baseline FILE or --base-bin EVLAB"),
    }
}

/// Measures this build, and writes the baseline.
fn update(
    args: &GateArgs,
    path: &Path,
    host: &HostInfo,
    stop: &StopFlag,
    out: &mut dyn Write,
) -> anyhow::Result<Verdict> {
    let plan = new_plan(args, out)?;
    let setting = setting(args, host, format!("the baseline {}", path.display()))?;
    let head = build(BuildName::Head, &plan, None, setting.seed);
    let mut bench = Bench::new(&plan, None, head, setting.seed, progress(args.json), stop).watching_host();
    let programs: Vec<_> = plan.workloads().into_iter().filter_map(workloads::find).copied().collect();
    let Ok(baseline) = baseline_of(&mut bench, &setting, experiment::images(&programs)) else {
        writeln!(out, "stopped; {} is as it was", path.display())?;
        return Ok(Verdict::Interrupted);
    };
    if let Some((_, problem)) = bench.problems().first() {
        bail!(
            "{} of the runs failed, so no baseline was written; the first was {} on {}: {}",
            bench.problems().len(),
            problem.workload,
            problem.engine,
            problem.message
        );
    }
    baseline.write(path)?;
    writeln!(
        out,
        "{} runs: {} holds the counts of {} cells and the times of {}",
        bench.runs(),
        path.display(),
        baseline.exact.len(),
        baseline.times.len()
    )?;
    if let Some(pressure) = baseline.pressure.filter(|pressure| *pressure > BUSY) {
        writeln!(
            out,
            "note: somebody waited for a processor during {:.0}% of the time; times are judged by a baseline only if it was \
             written while nothing else ran",
            pressure * 100.0
        )?;
    }
    Ok(Verdict::Well)
}

/// Holds this build against a baseline.
fn against_baseline(
    args: &GateArgs,
    path: &Path,
    host: &HostInfo,
    stop: &StopFlag,
    out: &mut dyn Write,
) -> anyhow::Result<Verdict> {
    if let Some(option) = args.work.given() {
        bail!("{option} is up to the baseline {}; leave it out, or write a new one with --update", path.display());
    }
    let baseline = Baseline::read(path)?;
    let plan = narrowed(args, &baseline, host)?;
    let setting = setting(args, host, format!("the baseline {}", path.display()))?;
    let head = build(BuildName::Head, &plan, None, setting.seed);
    let mut bench = Bench::new(&plan, None, head, setting.seed, progress(args.json), stop).watching_host();
    let ended = conduct(&mut bench, Against::Baseline(&baseline), &setting);
    conclude(args, ended, out)
}

/// Holds one build against another, side by side.
fn against_build(
    args: &GateArgs,
    base: &Path,
    host: &HostInfo,
    stop: &StopFlag,
    out: &mut dyn Write,
) -> anyhow::Result<Verdict> {
    let plan = new_plan(args, out)?;
    let version = is_evlab(base)?;
    if let Some(head) = &args.head_bin {
        is_evlab(head)?;
    }
    let setting = setting(args, host, format!("{} ({version})", base.display()))?;
    let base_build = build(BuildName::Base, &plan, Some(base), setting.seed);
    let head = build(BuildName::Head, &plan, args.head_bin.as_deref(), setting.seed);
    let mut bench = Bench::new(&plan, Some(base_build), head, setting.seed, progress(args.json), stop);
    let ended = conduct(&mut bench, Against::Build, &setting);
    if let Some((_, problem)) = bench.problems().iter().find(|(build, _)| *build == BuildName::Base) {
        bail!(
            "the base {} cannot be held against: {} on {}: {}",
            base.display(),
            problem.workload,
            problem.engine,
            problem.message
        );
    }
    conclude(args, ended, out)
}

/// The plan of options alone.
fn new_plan(args: &GateArgs, out: &mut dyn Write) -> anyhow::Result<Plan> {
    let needed = args.update && args.times != Times::Off;
    plan_of((&args.engines, &args.workloads), &args.work, needed, !args.json, out)
}

/// The plan of engines and workloads that are named, with the reference and the yardstick if they are `needed`; engines that
/// this host lacks are left out, and `told`.
pub(super) fn plan_of(
    (engines, programs): (&[String], &[String]),
    work: &WorkArgs,
    needed: bool,
    told: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Plan> {
    let usual = engines.is_empty();
    let mut chosen =
        if usual { USUAL.to_vec() } else { studio::select("engine", engines, &EngineId::ALL, |engine| engine.name())? };
    let reference = work.reference.as_deref().map_or(Ok(EngineId::Native), run::engine_named)?;
    // Without it a baseline could be held against nothing.
    if needed && !chosen.contains(&reference) {
        chosen.insert(0, reference);
    }
    let engines: Vec<EngineMeta> =
        if told { experiment::look_for(&chosen, out)? } else { experiment::look_for(&chosen, &mut std::io::stderr())? };
    let programs = studio::select("workload", programs, workloads::catalogue(), |w| w.name)?;
    let size = work.size.unwrap_or(SIZE);
    let works: Vec<Work> = programs.iter().map(|w| Work::of(w, Profile::Quick, size)).collect();
    let setups: Vec<_> = experiment::usable(&engines).into_iter().map(Into::into).collect();
    let mut cells = studio::cells(&setups, &works);
    if cells.is_empty() {
        bail!("none of the chosen workloads runs on the chosen engines; evlab list says which do");
    }
    let yardstick = workloads::find(YARDSTICK).filter(|_| needed);
    if let Some(program) = yardstick.filter(|program| !works.iter().any(|work| work.name == program.name)) {
        cells.extend(studio::cells(&[reference.into()], &[Work::of(program, Profile::Quick, size)]));
    }
    Ok(Plan {
        size,
        ram_mib: work.ram.unwrap_or(RAM_MIB),
        timeout_s: work.timeout.unwrap_or(TIMEOUT_S),
        prefault: true,
        hz: None,
        sandbox: Switch::from(!work.sandbox.no_sandbox).name().to_owned(),
        reference,
        yardstick: yardstick.map(|program| program.name.to_owned()),
        counted_only: if usual { vec![EngineId::EmuNaive] } else { Vec::new() },
        cells,
    })
}

/// What is chosen of a baseline's plan, if this host can do it.
fn narrowed(args: &GateArgs, baseline: &Baseline, host: &HostInfo) -> anyhow::Result<Plan> {
    let engines = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    studio::select("workload", &args.workloads, workloads::catalogue(), |w| w.name)?;
    let mut plan = baseline.plan.clone();
    plan.retain(&engines, &args.workloads, args.times != Times::Off);
    if plan.cells.is_empty() {
        let has: Vec<&str> = baseline.plan.engines().into_iter().map(EngineId::name).collect();
        let has = format!("the engines {} and the workloads {}", has.join(", "), baseline.plan.workloads().join(", "));
        return Err(PlanError::Nothing(has).into());
    }
    if let Some(name) = plan.workloads().into_iter().find(|name| workloads::find(name).is_none()) {
        return Err(PlanError::Workload(name.to_owned()).into());
    }
    let metas = experiment::look_for(&plan.engines(), &mut std::io::sink())?;
    for meta in metas {
        if let (Some(reason), Some(fix)) = (meta.missing, meta.fix) {
            return Err(PlanError::Engine { engine: meta.id, reason, fix }.into());
        }
    }
    let backend = |host: &serde_json::Value| {
        let backend = host.pointer("/kvm/backend").and_then(serde_json::Value::as_str);
        backend.unwrap_or("unknown").to_owned()
    };
    let (base, head) = (backend(&baseline.host), backend(&serde_json::to_value(host)?));
    if base != head && plan.engines().into_iter().any(EngineId::is_on_kvm) {
        return Err(PlanError::Backend { base, head }.into());
    }
    Ok(plan)
}

fn setting<'a>(args: &'a GateArgs, host: &HostInfo, against: String) -> anyhow::Result<Setting<'a>> {
    Ok(Setting {
        against,
        tool: experiment::tool(),
        host: serde_json::to_value(host).context("cannot describe this host")?,
        rules: Rules {
            cell: args.threshold / 100.0,
            mean: args.mean_threshold / 100.0,
            runs: args.runs,
            rerun: args.rerun,
            budget_s: Some(args.budget.as_secs()),
        },
        times: args.times,
        tolerances: &args.tolerance,
        seed: experiment::seed(args.seed),
    })
}

/// A build by its program; this one where none is named.
pub(super) fn build(name: BuildName, plan: &Plan, program: Option<&Path>, seed: u64) -> Build<'static> {
    let executor = |exact: bool| {
        let settings = plan.settings(exact, seed);
        Box::new(match program {
            None => ChildExecutor::of_this_program(settings),
            Some(program) => ChildExecutor::new(absolute(program), settings),
        })
    };
    let exact = (0..at_once()).map(|_| -> Worker<'_> { executor(true) }).collect();
    Build { name, exact, timed: executor(false) }
}

/// The version of a program, which must be an evlab.
fn is_evlab(program: &Path) -> anyhow::Result<String> {
    let named = || format!("cannot run {}; name a build of evlab", program.display());
    let output = Command::new(absolute(program)).arg("--version").stdin(Stdio::null()).output().with_context(named)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || !version.starts_with("evlab ") || version.lines().count() != 1 {
        bail!("{} is not an evlab; name a build of evlab", program.display());
    }
    Ok(version)
}

/// A path that is not looked for in PATH.
fn absolute(program: &Path) -> PathBuf {
    std::path::absolute(program).unwrap_or_else(|_| program.to_owned())
}

/// The progress of a gate, unless something else reads what it prints.
pub(super) fn progress(json: bool) -> impl Fn(u32) -> Box<dyn studio::Progress> {
    move |total| if json { Box::new(Silent) } else { studio::for_terminal(total) }
}

/// Writes and prints what was found.
fn conclude(args: &GateArgs, ended: Result<Report, Interrupted>, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let Ok(report) = ended else {
        writeln!(out, "stopped before there was an answer")?;
        return Ok(Verdict::Interrupted);
    };
    for target in &args.write {
        target.write(&report).with_context(|| format!("cannot write {}", target.path.display()))?;
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, out)?;
    }
    Ok(match report.verdict {
        evlab::gate::Verdict::Pass => Verdict::Well,
        evlab::gate::Verdict::Fail => Verdict::Bad,
        evlab::gate::Verdict::Inconclusive => Verdict::Inconclusive,
    })
}

fn print(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    for failure in &report.failures {
        writeln!(out, "failed ({}): {} on {}: {}", failure.build, failure.workload, failure.engine, failure.message)?;
    }
    for deviation in &report.deviations {
        writeln!(
            out,
            "differs: {} of {} on {}: {} became {}",
            deviation.what, deviation.workload, deviation.engine, deviation.base, deviation.head
        )?;
    }
    let shown = |judged: &&Judged| judged.standing != Standing::Fine || judged.is_mean();
    let rows: Vec<&Judged> = report.times.iter().filter(shown).collect();
    if !rows.is_empty() {
        let mut table = plain_table();
        table.set_header(["ENGINE", "WORKLOAD", "HEAD/BASE", "INTERVAL", "MAY BE", "STANDING"]);
        for judged in rows {
            table.add_row([
                judged.engine.name(),
                judged.workload.clone(),
                format!("{:.3}", judged.ratio),
                format!("{:.3} to {:.3}", judged.low, judged.high),
                format!("{:.2}", 1.0 + judged.threshold),
                judged.standing.name().to_owned(),
            ]);
        }
        writeln!(out, "{}\n", trimmed(&table))?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    if let Some(reference) = report.reference {
        let fine = report.times.iter().filter(|judged| judged.standing == Standing::Fine).count();
        writeln!(out, "{fine} of {} times as multiples of {reference}'s are as in the baseline", report.times.len())?;
    }
    writeln!(out, "{}", report.sentence())?;
    writeln!(
        out,
        "held against {}; {} runs in {:.0} s, seed {}",
        report.against, report.runs, report.seconds, report.seed
    )
}
