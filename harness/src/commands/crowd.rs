//! `evlab crowd`: guests side by side.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use evlab::cli::CrowdArgs;
use evlab::crowd::{self, CrowdMeta, CrowdPlan, CrowdWriter, Ended, FORMAT, PointRow, Processes};
use evlab::engines::StopFlag;
use evlab::host::{self, HostInfo};
use evlab::model::{EngineId, Setup};
use evlab::results::{EngineMeta, State};
use evlab::studio::{self, ChildExecutor, PlanError, Settings};
use serde_json::json;
use workloads::{Profile, Workload};

use super::Verdict;
use super::experiment;

/// Runs more and more guests side by side, then prints and draws what became of them.
pub(crate) fn execute(args: &CrowdArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let chosen = engines(args)?;
    let workload = workload(args, &chosen)?;
    let settings = experiment::settings(&args.machine(), &chosen)?;
    let setups = args.emu.setups(chosen.iter().copied())?;
    let available_mib = crowd::available_mib();
    crowd::check_room(args.guests.most(), args.ram, available_mib)?;
    // With --json, standard output is for JSON alone.
    let mut errors = std::io::stderr();
    let notes: &mut dyn Write = if args.json { &mut errors } else { &mut *out };
    let engines = experiment::look_for(&chosen, notes)?;
    let usable = experiment::usable(&engines);
    let setups: Vec<Setup> = setups.into_iter().filter(|setup| usable.contains(&setup.id)).collect();
    if setups.is_empty() {
        bail!("this host has none of the chosen engines ({})", reasons(&engines));
    }
    let host = host::describe();
    for caution in host.cautions() {
        writeln!(notes, "note: {caution}")?;
    }
    let mut meta = describe(args, &workload, settings, engines, &host, available_mib)?;
    let folder =
        studio::prepare(args.out.as_deref(), host.hostname.as_deref().unwrap_or_default(), jiff::Timestamp::now())?;
    let dir = folder.path.clone();
    let mut writer = match CrowdWriter::create(&dir, &meta) {
        Ok(writer) => writer,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    let rounds = setups.len() * meta.plan.guests.len() * args.runs as usize;
    writeln!(
        notes,
        "{rounds} rounds: {} engines x {} guests x {}, {}, seed {}, results in {}",
        setups.len(),
        args.guests,
        args.runs,
        workload.name,
        meta.plan.seed,
        dir.display()
    )?;
    notes.flush()?;
    let mut crew = Processes::new(ChildExecutor::of_this_program(settings));
    let mut progress = studio::for_terminal(u32::try_from(rounds)?);
    let words = |size: f64| workload.args(Profile::Full, size);
    let ended = crowd::conduct(&mut meta, &setups, &words, &mut writer, &mut crew, progress.as_mut(), stop);
    let ended = ended.inspect_err(|_| {
        meta.state = State::Interrupted;
        // The disk may be full for this too; then the file says that the experiment still runs.
        let _ = writer.write_meta(&meta);
    })?;
    conclude(&ended, &dir, args.json, out)
}

/// The engines that are named; those that are worth the time where none is.
fn engines(args: &CrowdArgs) -> Result<Vec<EngineId>, PlanError> {
    let mut chosen = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    if args.engines.is_empty() {
        chosen.retain(|&engine| engine != EngineId::EmuNaive);
        if workloads::find(&args.workload).is_some_and(|workload| !workload.native) {
            chosen.retain(|&engine| engine != EngineId::Native);
        }
    }
    Ok(chosen)
}

/// The workload, if every engine that is named can run it.
fn workload(args: &CrowdArgs, engines: &[EngineId]) -> anyhow::Result<Workload> {
    let name = args.workload.trim();
    let Some(workload) = workloads::find(name) else {
        return Err(PlanError::unknown("workload", name, workloads::catalogue().iter().map(|w| w.name)).into());
    };
    if !workload.native && engines.contains(&EngineId::Native) {
        bail!("{name} does not run on native: it needs the guest kernel, which a Linux process does not have");
    }
    let scales = |param: &workloads::Param| param.scale != workloads::Scale::Fixed;
    if args.size.is_none() && !workload.params.iter().any(scales) {
        bail!("the work of {name} cannot be made longer, so guests would hardly overlap; choose another workload");
    }
    Ok(*workload)
}

/// Why each engine is missing.
fn reasons(engines: &[EngineMeta]) -> String {
    let reason = |e: &EngineMeta| {
        let (missing, fix) = (e.missing.as_deref()?, e.fix.as_deref()?);
        Some(format!("{}: {missing}; {fix}", e.id))
    };
    engines.iter().filter_map(reason).collect::<Vec<_>>().join("; ")
}

/// Everything that is known before the first round.
fn describe(
    args: &CrowdArgs,
    workload: &Workload,
    settings: Settings,
    engines: Vec<EngineMeta>,
    host: &HostInfo,
    available_mib: u64,
) -> anyhow::Result<CrowdMeta> {
    let cpus = std::thread::available_parallelism().context("cannot find out how many processors there are")?;
    Ok(CrowdMeta {
        format: FORMAT,
        state: State::Running,
        tool: experiment::tool(),
        started: jiff::Timestamp::now().to_string(),
        ended: None,
        plan: CrowdPlan {
            workload: workload.name.to_owned(),
            guests: args.guests.sizes().to_vec(),
            rounds: args.runs,
            seed: experiment::seed(args.seed),
            cpus: u32::try_from(cpus.get())?,
            size: args.size,
            ram_mib: settings.ram_mib,
            timeout_s: settings.timeout_s,
            prefault: settings.prefault,
            cpu: settings.cpu.name().to_owned(),
            hz: settings.hz,
            sandbox: settings.sandbox,
            available_mib,
            works: Vec::new(),
        },
        host: serde_json::to_value(host).context("cannot describe this host")?,
        engines,
        images: experiment::images(std::slice::from_ref(workload)),
        problems: Vec::new(),
    })
}

/// Renders what was measured and says how it went.
fn conclude(ended: &Ended, dir: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let kept = || format!("the measurements are in {0}; evlab report {0} renders them", dir.display());
    let found = crowd::read(dir).with_context(kept)?;
    crowd::render(dir).with_context(kept)?;
    if json {
        let points = crowd::summarize(&found.meta.plan, &found.rows);
        let points: Vec<PointRow> = points.iter().map(PointRow::from).collect();
        let record = json!({
            "folder": dir,
            "state": found.meta.state,
            "plan": found.meta.plan,
            "points": points,
            "problems": found.meta.problems,
        });
        serde_json::to_writer_pretty(&mut *out, &record)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}\n", crowd::crowd_table(&found).trim_end())?;
        for problem in &found.meta.problems {
            writeln!(out, "{problem}")?;
        }
        if ended.state == State::Interrupted {
            writeln!(out, "stopped after {} of {} rounds", ended.done, ended.planned)?;
        } else if ended.well {
            writeln!(out, "all guests computed the same")?;
        }
        writeln!(out, "charts: {}", dir.join(evlab::report::PLOTS).display())?;
    }
    Ok(match (ended.state, ended.well) {
        (State::Interrupted, _) => Verdict::Interrupted,
        (_, true) => Verdict::Well,
        (_, false) => Verdict::Bad,
    })
}
