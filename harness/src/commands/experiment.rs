//! What every experiment is made of: its engines, its plan, its folder, its runs, its report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use evlab::ablation::Step;
use evlab::cli::{DesignArgs, MachineArgs, MeasureArgs, Switch};
use evlab::engines::{self, Availability, StopFlag};
use evlab::host::{self, HostInfo};
use evlab::model::{EngineId, Setup};
use evlab::report::{self, Rendered, units};
use evlab::results::{
    Cell, EngineMeta, Experiment, ExperimentMeta, FORMAT, ImageMeta, Plan, Problem, SetUp, State, Tool, Writer, read,
};
use evlab::studio::{self, ChildExecutor, Outcome, Reached, Settings, Work};
use sha2::{Digest, Sha256};
use workloads::{Profile, Workload};

use super::Verdict;

/// What is to be measured.
pub(crate) struct Design {
    /// Smaller work.
    pub(crate) quick: bool,
    /// Runs of each cell.
    pub(crate) runs: u32,
    /// Relative half width that the intervals of ratios must have.
    pub(crate) precision: Option<f64>,
    /// Time for all runs.
    pub(crate) budget: Option<Duration>,
    /// Seed of the order; drawn where there is none.
    pub(crate) seed: Option<u64>,
    /// Whether stack and program lie at the same place in every run.
    pub(crate) fixed_setup: bool,
    /// Factor on the amount of work.
    pub(crate) size: f64,
    /// The cells, where they are chosen one by one; else all programs on all engines.
    pub(crate) cells: Vec<Cell>,
    /// The workloads.
    pub(crate) programs: Vec<Workload>,
    /// The engines that the host has, with their mechanisms.
    pub(crate) setups: Vec<Setup>,
    /// What `--emu` chose.
    pub(crate) emu: Option<String>,
    /// The steps, if it is an ablation.
    pub(crate) ablation: Vec<Step>,
}

/// Runs of each cell, full and quick.
const RUNS: u32 = 5;
const RUNS_QUICK: u32 = 3;

impl Design {
    /// A design of that extent with nothing to measure yet.
    pub(crate) fn new(quick: bool, measure: &MeasureArgs, design: &DesignArgs) -> Self {
        Self {
            quick,
            runs: measure.runs.unwrap_or(if quick { RUNS_QUICK } else { RUNS }),
            precision: design.precision,
            budget: design.budget,
            seed: measure.seed,
            fixed_setup: design.fixed_setup,
            size: measure.machine.size,
            cells: Vec::new(),
            programs: Vec::new(),
            setups: Vec::new(),
            emu: None,
            ablation: Vec::new(),
        }
    }
}

/// Where an experiment speaks to.
pub(crate) struct Output<'a> {
    out: &'a mut dyn Write,
    /// Standard output is for JSON alone: what is for people goes to standard error.
    json: bool,
    errors: std::io::Stderr,
}

impl<'a> Output<'a> {
    /// For people, or as JSON.
    pub(crate) fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json, errors: std::io::stderr() }
    }

    /// Where notes for people go.
    pub(crate) fn notes(&mut self) -> &mut dyn Write {
        if self.json { &mut self.errors } else { self.out }
    }
}

/// What the runs of these machines share.
pub(crate) fn settings(machine: &MachineArgs, engines: &[EngineId]) -> anyhow::Result<Settings> {
    Ok(Settings {
        ram_mib: machine.ram,
        timeout_s: machine.timeout,
        prefault: machine.prefault.is_on(),
        cpu: machine.model(engines)?,
        hz: machine.hz,
        deterministic: machine.deterministic,
        setup_seed: None,
        sandbox: !machine.sandbox.no_sandbox,
    })
}

/// Looks which of the engines this host has, and says which not.
pub(crate) fn look_for(engines: &[EngineId], out: &mut dyn Write) -> std::io::Result<Vec<EngineMeta>> {
    let engines: Vec<EngineMeta> = engines.iter().copied().map(engine_meta).collect();
    for engine in &engines {
        if let (Some(missing), Some(fix)) = (&engine.missing, &engine.fix) {
            writeln!(out, "without {}: {missing}; {fix}", engine.id)?;
        }
    }
    Ok(engines)
}

/// The engines that the host has.
pub(crate) fn usable(engines: &[EngineMeta]) -> Vec<EngineId> {
    engines.iter().filter(|e| e.missing.is_none()).map(|e| e.id).collect()
}

/// Measures all of it, then renders the report.
pub(crate) fn run(
    design: &Design,
    settings: Settings,
    engines: Vec<EngineMeta>,
    folder: Option<&Path>,
    stop: &StopFlag,
    output: &mut Output<'_>,
) -> anyhow::Result<Verdict> {
    let measured = measure(design, settings, engines, folder, stop, output.notes())?;
    conclude(&measured.outcome, &measured.meta, &measured.dir, output)
}

/// What was measured, and where it is.
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) meta: ExperimentMeta,
    pub(crate) dir: PathBuf,
}

/// Measures all of it.
pub(crate) fn measure(
    design: &Design,
    settings: Settings,
    engines: Vec<EngineMeta>,
    folder: Option<&Path>,
    stop: &StopFlag,
    out: &mut dyn Write,
) -> anyhow::Result<Measured> {
    let host = host::describe();
    for caution in host.cautions() {
        writeln!(out, "note: {caution}")?;
    }
    let mut meta = plan(design, settings, engines, &host)?;
    let name = host.hostname.as_deref().unwrap_or_default();
    let folder = studio::prepare(folder, name, jiff::Timestamp::now())?;
    let dir = folder.path.clone();
    let mut writer = match Writer::create(&dir, &meta) {
        Ok(writer) => writer,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    announce(&meta, &dir, out)?;
    let drawn = meta.plan.setup == Some(SetUp::Drawn);
    let settings = Settings { setup_seed: drawn.then_some(meta.plan.seed), ..settings };
    let mut executor = ChildExecutor::of_this_program(settings);
    let mut progress = studio::live(u32::try_from(meta.order.len())?, &meta.plan.cells);
    let ended = studio::conduct(&mut meta, &mut writer, &mut executor, progress.as_mut(), stop);
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(error) => {
            progress.finish();
            meta.state = State::Interrupted;
            // The disk may be full for this too; then the file says that the experiment still runs.
            let _ = writer.write_meta(&meta);
            return Err(error.into());
        }
    };
    Ok(Measured { outcome, meta, dir })
}

/// Whether this host has the engine.
fn engine_meta(id: EngineId) -> EngineMeta {
    match engines::engine(id).availability() {
        Availability::Available { version } => EngineMeta { id, version: Some(version), missing: None, fix: None },
        Availability::Missing { reason, fix } => {
            EngineMeta { id, version: None, missing: Some(reason), fix: Some(fix) }
        }
    }
}

/// Everything that is known before the first run.
fn plan(
    design: &Design,
    settings: Settings,
    engines: Vec<EngineMeta>,
    host: &HostInfo,
) -> anyhow::Result<ExperimentMeta> {
    let profile = if design.quick { Profile::Quick } else { Profile::Full };
    let works: Vec<Work> = design.programs.iter().map(|w| Work::of(w, profile, design.size)).collect();
    let cells = if design.cells.is_empty() { studio::cells(&design.setups, &works) } else { design.cells.clone() };
    if design.setups.is_empty() {
        bail!("this host has none of the chosen engines; evlab doctor says how to get them");
    }
    if cells.is_empty() {
        bail!("none of the chosen workloads runs on the chosen engines; evlab list says which do");
    }
    let seed = self::seed(design.seed);
    // Counts that are to be the same in every run need the same set-up.
    let fixed = design.fixed_setup || settings.deterministic;
    Ok(ExperimentMeta {
        format: FORMAT,
        state: State::Running,
        tool: tool(),
        started: jiff::Timestamp::now().to_string(),
        ended: None,
        order: studio::order(cells.len(), design.runs, seed),
        plan: Plan {
            profile: if design.quick { "quick" } else { "full" }.to_owned(),
            runs_per_cell: design.runs,
            precision: design.precision,
            budget_s: design.budget.map(|budget| budget.as_secs()),
            size: design.size,
            seed,
            ram_mib: settings.ram_mib,
            timeout_s: settings.timeout_s,
            prefault: settings.prefault,
            cpu: Some(settings.cpu.name().to_owned()),
            hz: settings.hz,
            deterministic: settings.deterministic,
            setup: Some(if fixed { SetUp::Fixed } else { SetUp::Drawn }),
            sandbox: Some(Switch::from(settings.sandbox).name().to_owned()),
            emu: design.emu.clone(),
            ablation: design.ablation.clone(),
            cells,
        },
        host: serde_json::to_value(host).context("cannot describe this host")?,
        engines,
        images: images(&design.programs),
        commands: Vec::new(),
        problems: Vec::new(),
    })
}

/// This program.
pub(crate) fn tool() -> Tool {
    Tool {
        version: concat!("evlab ", env!("CARGO_PKG_VERSION")).to_owned(),
        git_commit: option_env!("EVLAB_GIT_COMMIT").map(str::to_owned),
    }
}

/// The seed that was asked for, or else one that is drawn: short enough to be typed again.
pub(crate) fn seed(asked: Option<u64>) -> u64 {
    asked.unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

/// The kernel and the programs, with their hashes.
pub(crate) fn images(programs: &[Workload]) -> Vec<ImageMeta> {
    std::iter::once(("kernel", workloads::kernel()))
        .chain(programs.iter().map(|w| (w.name, w.elf)))
        .map(|(name, elf)| ImageMeta {
            name: name.to_owned(),
            sha256: Sha256::digest(elf).iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: elf.len() as u64,
        })
        .collect()
}

fn announce(meta: &ExperimentMeta, dir: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    let plan = &meta.plan;
    writeln!(
        out,
        "{} runs: {} cells x {}{}, seed {}, results in {}",
        meta.order.len(),
        plan.cells.len(),
        plan.runs_per_cell,
        more(plan),
        plan.seed,
        dir.display()
    )?;
    out.flush()
}

/// What is run beside the planned rounds.
fn more(plan: &Plan) -> String {
    let precision = plan.precision.map(units::percentage);
    let budget = plan.budget_s.map(|seconds| format!("{:#}", jiff::SignedDuration::from_secs(seconds.cast_signed())));
    match (precision, budget) {
        (None, None) => String::new(),
        (Some(precision), None) => format!(", more where a ratio is not known to {precision} yet"),
        (None, Some(budget)) => format!(", more until {budget} are over"),
        (Some(precision), Some(budget)) => {
            format!(", more where a ratio is not known to {precision} yet, until {budget} are over")
        }
    }
}

/// How many cells have the precision that was asked for, and which not.
fn precision(reached: &Reached, out: &mut dyn Write) -> std::io::Result<()> {
    let all = reached.precise + reached.imprecise.len();
    let wanted = units::percentage(reached.precision);
    writeln!(out, "{} of {all} ratios are known to {wanted} (half the 95% interval)", reached.precise)?;
    for cell in &reached.imprecise {
        let width = cell.half_width.map_or_else(|| "no interval".to_owned(), units::percentage);
        writeln!(out, "  not {} on {}: {width} after {} good runs", cell.workload, cell.engine, cell.n)?;
    }
    Ok(())
}

/// Renders what was measured and says how it went.
fn conclude(outcome: &Outcome, meta: &ExperimentMeta, dir: &Path, output: &mut Output<'_>) -> anyhow::Result<Verdict> {
    let kept = || format!("the measurements are in {0}; evlab report {0} renders them", dir.display());
    let experiment = read(dir).with_context(kept)?;
    let rendered = if outcome.done > 0 { Some(report::render(dir, &[]).with_context(kept)?) } else { None };
    if output.json {
        print_json(&experiment, dir, rendered.as_ref().map(|rendered| rendered.html.as_path()), output.out)?;
    }
    let shows_table = !output.json;
    let out = output.notes();
    match rendered {
        Some(rendered) => {
            if shows_table {
                writeln!(out, "{}", report::terminal_table(&experiment).trim_end())?;
            }
            if let Some(reached) = &outcome.reached {
                precision(reached, out)?;
            }
            writeln!(out, "\nreport: {}", rendered.html.display())?;
            if meta.plan.profile == "full" && meta.plan.ablation.is_empty() {
                not_in_it(&rendered, dir, out)?;
            }
        }
        None => writeln!(out, "nothing was measured")?,
    }
    for problem in &meta.problems {
        writeln!(out, "{}", describe(problem))?;
    }
    if outcome.state == State::Interrupted {
        writeln!(out, "stopped after {} of {} runs", outcome.done, meta.order.len())?;
        return Ok(Verdict::Interrupted);
    }
    let bad = !outcome.mismatches.is_empty() || outcome.failed > 0;
    if !bad {
        writeln!(out, "all engines computed the same, workload by workload")?;
    }
    Ok(if bad { Verdict::Bad } else { Verdict::Well })
}

/// Says what the report could show besides, and how.
fn not_in_it(rendered: &Rendered, dir: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    let missing = [
        (rendered.micro.is_none(), "what one event costs", "evlab micro --quick"),
        (rendered.isolation.is_none(), "whether hostile guests are contained", "evlab isolation"),
    ];
    let missing: Vec<_> = missing.iter().filter(|(is_missing, ..)| *is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let whats: Vec<&str> = missing.iter().map(|(_, what, _)| *what).collect();
    let commands: Vec<&str> = missing.iter().map(|(_, _, command)| *command).collect();
    let again = format!("evlab report {}", dir.display());
    writeln!(out, "it can also show {}: {}, then {again}", whats.join(" and "), commands.join(", "))
}

/// What an experiment says, as JSON; with its folder, and the page if there is one.
pub(crate) fn print_json(
    experiment: &Experiment,
    dir: &Path,
    html: Option<&Path>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut json = report::to_json(experiment);
    json["folder"] = dir.display().to_string().into();
    json["report"] = html.map(|html| html.display().to_string()).into();
    serde_json::to_writer_pretty(&mut *out, &json)?;
    Ok(writeln!(out)?)
}

fn describe(problem: &Problem) -> String {
    let word = match problem.status {
        evlab::model::Status::Mismatch => "mismatch: ",
        _ => "",
    };
    format!("run {}: {} on {}: {word}{}", problem.run, problem.workload, problem.engine, problem.message)
}
