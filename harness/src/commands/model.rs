//! The costs of `evlab explain` and `evlab predict`: found, or measured.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use evlab::cli::{CostArgs, SandboxArgs};
use evlab::engines::StopFlag;
use evlab::explain::{self, Costs, Data, EMPTY, HostKey, Kind, Profile, Row};
use evlab::host::{self, HostInfo};
use evlab::micro::{self, Benchmark, ChildRunner, Files, MICRO_JSON, Plan, Ring, benchmarks};
use evlab::model::{EngineId, Setup, Status};
use evlab::results::{Cell, read};
use evlab::stats::median;
use evlab::studio::{self, ChildExecutor, Executor, RunSpec, Settings, Work};
use serde::Deserialize;
use workloads::{Event, Profile as Size, Workload};

use super::experiment::{self, Design};
use super::profile::RAM_MIB;
use super::run::program;

/// Runs of each cell, full and quick.
const RUNS: u32 = 3;
const RUNS_QUICK: u32 = 1;
/// How long a region of interest of a micro-benchmark should be, nanoseconds, full and quick.
const TARGET_NS: f64 = 4e6;
const TARGET_NS_QUICK: f64 = 1e6;
/// Time limit of a run, seconds.
const TIMEOUT_S: u64 = 60;

/// The micro-benchmarks that costs are fitted to: those of events that workloads hold in unlike proportions. The first are the most
/// telling.
const EVENTS: [(Event, Ring); 48] = [
    (Event::Syscall, Ring::Three),
    (Event::Integer, Ring::Three),
    (Event::Load, Ring::Three),
    (Event::Store, Ring::Three),
    (Event::Multiply, Ring::Three),
    (Event::Float, Ring::Three),
    (Event::PageFault, Ring::Three),
    (Event::TlbMiss, Ring::Three),
    (Event::Quotient, Ring::Three),
    (Event::FloatDivide, Ring::Three),
    (Event::FloatPacked, Ring::Three),
    (Event::Vector, Ring::Three),
    (Event::Unforeseen, Ring::Three),
    (Event::CopyString, Ring::Three),
    (Event::FillString, Ring::Three),
    (Event::SearchString, Ring::Three),
    (Event::CompareString, Ring::Three),
    (Event::DataFault, Ring::Three),
    (Event::Interrupt, Ring::Three),
    (Event::Protect, Ring::Three),
    (Event::PortOut, Ring::Three),
    (Event::MmioWrite, Ring::Three),
    (Event::Cpuid, Ring::Three),
    (Event::Cold4K, Ring::Three),
    (Event::CallRet, Ring::Three),
    (Event::DirectPages, Ring::Three),
    (Event::IndirectPages, Ring::Three),
    (Event::LargeBlocks, Ring::Three),
    (Event::ColdLarge, Ring::Three),
    (Event::SelfModify, Ring::Three),
    (Event::TlbHit, Ring::Three),
    (Event::Within256K, Ring::Three),
    (Event::Within2M, Ring::Three),
    (Event::Within16M, Ring::Three),
    (Event::Independent, Ring::Three),
    (Event::StreamRead, Ring::Three),
    (Event::StreamNear, Ring::Three),
    (Event::StreamWrite, Ring::Three),
    (Event::Unmap, Ring::Three),
    (Event::Yield, Ring::Three),
    (Event::Tick, Ring::Three),
    (Event::Noise, Ring::Three),
    (Event::Loop, Ring::Zero),
    (Event::PortOut, Ring::Zero),
    (Event::Rdmsr, Ring::Zero),
    (Event::Cr3, Ring::Zero),
    (Event::Invlpg, Ring::Zero),
    (Event::SwitchPrivate, Ring::Zero),
];

/// How many of them with `--quick`.
const EVENTS_QUICK: usize = 8;

/// A model's costs, and what else the commands need.
pub(crate) struct Found {
    /// The costs, with what they were fitted to.
    pub(crate) costs: Costs,
    /// The engines to speak of: chosen, there, and with costs.
    pub(crate) engines: Vec<EngineId>,
}

/// The costs to use on the chosen engines; `None` if the user stopped their measurement.
pub(crate) fn find(
    args: &CostArgs,
    wanted: &[String],
    sandbox: &SandboxArgs,
    stop: &StopFlag,
    notes: &mut dyn Write,
) -> anyhow::Result<Option<Found>> {
    let chosen = studio::select("engine", wanted, &EngineId::ALL, |engine| engine.name())?;
    let host = host::describe();
    let key = HostKey::of(&host);
    let kernel = kernel_sha256();
    let has = |costs: &Costs| chosen.iter().all(|engine| wanted.is_empty() || costs.data.engines().contains(engine));
    let costs = match &args.costs {
        Some(dir) => Some(Costs::read(dir, &key, &kernel)?),
        None if args.measure || args.quick || args.cost_runs.is_some() || args.out.is_some() => None,
        None => {
            Costs::newest(Path::new("results"), &key, &kernel).filter(|(_, costs)| has(costs)).map(|(dir, costs)| {
                // A note that cannot be written is no reason to stop.
                let _ = writeln!(notes, "costs of {} in {}", costs.measured, dir.display());
                costs
            })
        }
    };
    let costs = match costs {
        Some(costs) => costs,
        None => match measure(args, &chosen, &host, sandbox, stop, notes)? {
            Some(costs) => costs,
            None => return Ok(None),
        },
    };
    let costs = match &args.micro {
        Some(dir) => with_events(costs, dir, &key, sandbox, stop, notes)?,
        None => costs,
    };
    let known = costs.data.engines();
    if let Some(lacking) = chosen.iter().find(|engine| !wanted.is_empty() && !known.contains(engine)) {
        bail!(
            "there are no costs for {lacking}: it was not there, or not chosen, when they were measured; --measure does it again"
        );
    }
    let engines = chosen.into_iter().filter(|engine| known.contains(engine)).collect();
    Ok(Some(Found { costs, engines }))
}

fn kernel_sha256() -> String {
    experiment::images(&[]).into_iter().next().map(|image| image.sha256).unwrap_or_default()
}

/// Measures workloads and micro-benchmarks, profiles them all, and writes the costs that fit.
fn measure(
    args: &CostArgs,
    chosen: &[EngineId],
    host: &HostInfo,
    sandbox: &SandboxArgs,
    stop: &StopFlag,
    notes: &mut dyn Write,
) -> anyhow::Result<Option<Costs>> {
    writeln!(notes, "measuring costs on this host; they are kept in costs.json")?;
    let found = experiment::look_for(chosen, notes)?;
    let engines = experiment::usable(&found);
    let seed = experiment::seed(args.seed);
    let design = Design {
        quick: true,
        runs: runs(args),
        precision: None,
        budget: None,
        seed: Some(seed),
        fixed_setup: false,
        size: 1.0,
        cells: engines.iter().flat_map(|&engine| cells(engine, args.quick)).collect(),
        programs: workloads::catalogue().to_vec(),
        setups: engines.iter().copied().map(Setup::plain).collect(),
        emu: None,
        ablation: Vec::new(),
    };
    let settings = settings(sandbox);
    let measured = experiment::measure(&design, settings, found, args.out.as_deref(), stop, notes)?;
    let dir = measured.dir;
    if stop.is_stopped() {
        return Ok(None);
    }
    let mut rows = explain::rows_of(&read(&dir)?);
    let Some(events) = measure_events(args, engines, host, &dir, seed, sandbox, stop)? else { return Ok(None) };
    rows.extend(events);
    let profiles = profiles_of(&rows, sandbox, stop, notes)?;
    let now = jiff::Timestamp::now().to_string();
    let costs = Costs::of(Data { rows, profiles }, experiment::tool(), HostKey::of(host), kernel_sha256(), now);
    let path = costs.write(&dir)?;
    writeln!(notes, "costs: {}", path.display())?;
    Ok(Some(costs))
}

/// Runs of each program and each micro-benchmark.
fn runs(args: &CostArgs) -> u32 {
    args.cost_runs.unwrap_or(if args.quick { RUNS_QUICK } else { RUNS })
}

/// The workloads on an engine, each at two sizes: so large that the noise of a run is small on a fast engine, and so small that a slow
/// one takes seconds at most.
fn cells(engine: EngineId, quick: bool) -> Vec<Cell> {
    let sizes: &[(Size, f64)] = match engine {
        _ if quick => &[(Size::Quick, 1.0)],
        EngineId::Native | EngineId::Kvm | EngineId::QemuKvm => &[(Size::Full, 1.0), (Size::Full, 2.0)],
        EngineId::EmuDbt | EngineId::EmuInterp | EngineId::QemuTcg => &[(Size::Quick, 1.0), (Size::Full, 1.0)],
        EngineId::EmuNaive => &[(Size::Quick, 0.5), (Size::Quick, 1.0)],
    };
    let sized = |workload: &Workload| {
        let mut works: Vec<Work> = sizes.iter().map(|&(profile, size)| Work::of(workload, profile, size)).collect();
        // What does not grow is the same at all sizes.
        works.dedup();
        works
    };
    let works: Vec<Work> = workloads::catalogue().iter().filter(|w| w.name != EMPTY).flat_map(sized).collect();
    studio::cells(&[Setup::plain(engine)], &works)
}

/// What the runs of these commands share.
fn settings(sandbox: &SandboxArgs) -> Settings {
    Settings {
        ram_mib: RAM_MIB,
        timeout_s: TIMEOUT_S,
        prefault: true,
        cpu: emu_min::Model::highest(),
        hz: None,
        deterministic: false,
        setup_seed: None,
        sandbox: !sandbox.no_sandbox,
    }
}

/// Measures micro-benchmarks into the folder; `None` if the user stopped it.
fn measure_events(
    args: &CostArgs,
    engines: Vec<EngineId>,
    host: &HostInfo,
    dir: &Path,
    seed: u64,
    sandbox: &SandboxArgs,
    stop: &StopFlag,
) -> anyhow::Result<Option<Vec<Row>>> {
    let all = benchmarks();
    let count = if args.quick { EVENTS_QUICK } else { EVENTS.len() };
    let wanted = |b: &&Benchmark| EVENTS.iter().take(count).any(|&(event, ring)| b.event == event && b.ring == ring);
    let plan = Plan {
        benchmarks: all.iter().filter(wanted).cloned().collect(),
        engines,
        backend: host.kvm.backend,
        runs: runs(args),
        target_ns: if args.quick { TARGET_NS_QUICK } else { TARGET_NS },
        seed,
    };
    let mut files = Files::create(dir)?;
    let mut runner = ChildRunner { no_sandbox: sandbox.no_sandbox, stop };
    let mut watcher = super::micro::Shower::new(&plan);
    let cells = micro::measure(&plan, &mut runner, &mut files, &mut watcher, stop);
    watcher.progress.finish();
    cells?;
    if stop.is_stopped() {
        return Ok(None);
    }
    Ok(Some(explain::rows_of_micro(dir)?))
}

/// The profile of everything that there is a time of.
fn profiles_of(
    rows: &[Row],
    sandbox: &SandboxArgs,
    stop: &StopFlag,
    notes: &mut dyn Write,
) -> anyhow::Result<Vec<Profile>> {
    let mut wanted: Vec<(Kind, &str, &[String])> = rows.iter().map(|row| (row.kind, &*row.name, &*row.args)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    writeln!(notes, "profiling {} programs", wanted.len())?;
    notes.flush()?;
    let empty = explain::profile(EMPTY, &[], None, !sandbox.no_sandbox, stop)?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(&(kind, name, words)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(profile_of(kind, name, words, &empty, sandbox, stop)?);
        }
        anyhow::Ok(done)
    };
    // Nothing is timed meanwhile, so all cores may work.
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..host::processors()).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut profiles = Vec::new();
    for result in done {
        profiles.extend(result.map_err(|_| anyhow::anyhow!("profiling failed unexpectedly"))??);
    }
    // In an order that does not depend on the threads.
    profiles.sort_by(|a, b| (a.kind, &a.name, &a.args).cmp(&(b.kind, &b.name, &b.args)));
    Ok(profiles)
}

fn profile_of(
    kind: Kind,
    name: &str,
    words: &[String],
    empty: &Profile,
    sandbox: &SandboxArgs,
    stop: &StopFlag,
) -> anyhow::Result<Profile> {
    if kind == Kind::Workload {
        return Ok(explain::profile(name, words, Some(empty), !sandbox.no_sandbox, stop)?);
    }
    let all = benchmarks();
    let benchmark = all.iter().find(|b| explain::event_name(b.event, b.ring) == name);
    let benchmark = benchmark.with_context(|| format!("there is no event {name}"))?;
    Ok(explain::profile_event(benchmark, !sandbox.no_sandbox, stop)?)
}

/// The costs with the events of a folder of `evlab micro` in place of their own.
fn with_events(
    costs: Costs,
    dir: &Path,
    key: &HostKey,
    sandbox: &SandboxArgs,
    stop: &StopFlag,
    notes: &mut dyn Write,
) -> anyhow::Result<Costs> {
    #[derive(Deserialize)]
    struct Meta {
        host: HostInfo,
    }
    let path = dir.join(MICRO_JSON);
    let cannot = || format!("cannot read {}; name a folder that evlab micro wrote", path.display());
    let text = std::fs::read(&path).with_context(cannot)?;
    let meta: Meta = serde_json::from_slice(&text).with_context(cannot)?;
    if let Some(difference) = HostKey::of(&meta.host).difference(key) {
        bail!("the events in {} are not of this host: {difference}; measure them here with evlab micro", dir.display());
    }
    let Costs { mut data, tool, measured, host, kernel_sha256, .. } = costs;
    data.rows.retain(|row| row.kind != Kind::Micro);
    let rows = explain::rows_of_micro(dir)?;
    let unknown: Vec<Row> = rows.iter().filter(|row| data.profile(row).is_none()).cloned().collect();
    if !unknown.is_empty() {
        data.profiles.extend(profiles_of(&unknown, sandbox, stop, notes)?);
    }
    data.rows.extend(rows);
    Ok(Costs::of(data, tool, host, kernel_sha256, measured))
}

/// A program that was measured here and now.
pub(crate) struct Sampled {
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Its profile.
    pub(crate) profile: Profile,
    /// Its time on each engine that can run it.
    pub(crate) rows: Vec<Row>,
    /// Runs that did not end well, a sentence each.
    pub(crate) problems: Vec<String>,
}

/// Profiles a program, then runs it `runs` times on each engine, interleaved.
pub(crate) fn sample(
    name: &str,
    words: &[String],
    engines: &[EngineId],
    runs: u32,
    seed: Option<u64>,
    sandbox: &SandboxArgs,
    stop: &StopFlag,
) -> anyhow::Result<Sampled> {
    let (found, args) = program(name, words, RAM_MIB, 1.0, Size::Full)?;
    let empty = explain::profile(EMPTY, &[], None, !sandbox.no_sandbox, stop)?;
    let profile = explain::profile(name, &args, Some(&empty), !sandbox.no_sandbox, stop)?;
    let setups: Vec<Setup> = engines.iter().copied().map(Setup::plain).collect();
    let cells = studio::cells(&setups, &[Work { name: name.to_owned(), args: args.clone(), native: found.native }]);
    let mut executor = ChildExecutor::of_this_program(settings(sandbox));
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); cells.len()];
    let mut problems = Vec::new();
    let order = studio::order(cells.len(), runs, experiment::seed(seed));
    let mut progress = studio::for_terminal(u32::try_from(order.len())?);
    for (run, &index) in (1..).zip(&order) {
        let (Some(cell), Some(times)) = (cells.get(index), times.get_mut(index)) else { continue };
        if stop.is_stopped() {
            break;
        }
        progress.begin(run, cell, None);
        let record = executor.execute(&spec(run, cell, &profile), stop);
        progress.end();
        match record.roi_guest_ns.or(record.roi_host_ns).filter(|&ns| record.status == Status::Ok && ns > 0) {
            Some(ns) => times.push(ns as f64),
            None => {
                let message = record.message.unwrap_or_else(|| "it has no region of interest".to_owned());
                problems.push(format!("{name} on {}: {message}", cell.engine));
            }
        }
    }
    progress.finish();
    problems.dedup();
    let rows = cells.iter().zip(&times).filter_map(|(cell, times)| {
        let (engine, args) = (cell.engine.id, args.clone());
        Some(Row { engine, kind: Kind::Workload, name: name.to_owned(), args, n: times.len(), ns: median(times)? })
    });
    Ok(Sampled { rows: rows.collect(), args, profile, problems })
}

fn spec(run: u32, cell: &Cell, profile: &Profile) -> RunSpec {
    RunSpec { run, cell: cell.clone(), image_sha256: profile.image_sha256.clone() }
}
