//! Getting profiles from processes of their own, and times from the files of other commands.

use std::collections::BTreeMap;
use std::path::Path;

use workloads::Event;

use super::data::{Kind, Pace, Profile, Row};
use crate::engines::StopFlag;
use crate::isolation::process::Process;
use crate::micro::{Benchmark, PERIOD_NS, Ring, Timed, benchmarks, read_runs};
use crate::model::{EngineId, RunRecord, Status};
use crate::results::{Experiment, ReadError};
use crate::stats::median;

/// Time limit of a profiling run, seconds. It takes some 200 ns for an instruction.
pub const PROFILE_TIMEOUT_S: u64 = 300;
/// The workload whose region of interest is empty.
pub const EMPTY: &str = "noop";
/// Iterations of a micro-benchmark's loop whose profile is taken: enough for caches and predictors to get used to it.
const ITERATIONS: [u64; 2] = [4_000, 16_000];
/// Windows of the micro-benchmark of the timer's tick, each of some milliseconds: its profile is that of ticks alone.
const WINDOWS: [u64; 2] = [2, 6];
/// Nanoseconds that an instruction takes in the profiles of programs that the timer interrupts: as on a processor, and as on slower and
/// slower emulators.
const PACES: [u32; 3] = [1, 10, 100];
/// The counters of emu-min that belong to a profile: they depend on the guest alone.
const OF_THE_GUEST: [&str; 8] = [
    "exception.pf",
    "flush.space",
    "flush.page",
    "device.io",
    "device.mmio",
    "interrupt",
    "instructions",
    "ring0.instructions",
];

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No process.
    #[error("cannot start a process to profile {name}: {source}")]
    Start {
        /// What should have run.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not end well.
    #[error("cannot profile {name}: {reason}")]
    Failed {
        /// What ran.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// Profiles a workload of the catalogue, or a program of one's own, with these arguments; `empty`, the profile of a program whose region of
/// interest is empty, is subtracted: the guest's clock does not see the markers either. What the timer interrupts is profiled at several
/// paces.
///
/// # Errors
/// [`ProfileError`].
pub fn profile(
    name: &str,
    args: &[String],
    empty: Option<&Profile>,
    sandbox: bool,
    stop: &StopFlag,
) -> Result<Profile, ProfileError> {
    let at = |pace: u32| -> Result<(Profile, f64), ProfileError> {
        let mut words = vec!["profile".to_owned(), name.to_owned(), "--pace".to_owned(), pace.to_string()];
        if !sandbox {
            words.push("--no-sandbox".to_owned());
        }
        words.push("--".to_owned());
        words.extend_from_slice(args);
        let record = run(name, &words, stop)?;
        let mut profile = of_record(Kind::Workload, name, args.to_vec(), &record);
        for (counter, count) in &mut profile.counts {
            *count = (*count - empty.map_or(0.0, |empty| empty.count(counter))).max(0.0);
        }
        Ok((profile, record.roi_guest_ns.unwrap_or(0) as f64))
    };
    let [plain, slower @ ..] = PACES;
    let (mut profile, ns) = at(plain)?;
    if workloads::find(name).is_some_and(|workload| workload.hz != 0) {
        profile.paces.push(Pace { ns, counts: profile.counts.clone() });
        for pace in slower {
            let (Profile { counts, .. }, ns) = at(pace)?;
            profile.paces.push(Pace { ns, counts });
        }
    }
    Ok(profile)
}

/// Profiles one iteration of a micro-benchmark's loop: the difference of two runs, so that what comes before it is not in it. Of the
/// timer's tick it is what the kernel does for one.
///
/// # Errors
/// [`ProfileError`].
pub fn profile_event(benchmark: &Benchmark, sandbox: bool, stop: &StopFlag) -> Result<Profile, ProfileError> {
    let name = event_name(benchmark.event, benchmark.ring);
    let ticks = benchmark.event == Event::Tick;
    let counts = if ticks { WINDOWS } else { ITERATIONS.map(|n| n.min(benchmark.most)) };
    let mut profiles = Vec::new();
    for count in counts {
        let mut words = vec!["profile".to_owned(), benchmark.event.name().to_owned(), "--count".to_owned()];
        words.extend([count.to_string(), "--ring".to_owned(), benchmark.ring.number().to_string()]);
        if !sandbox {
            words.push("--no-sandbox".to_owned());
        }
        let record = run(&name, &words, stop)?;
        profiles.push(of_record(Kind::Micro, &name, Vec::new(), &record));
    }
    let [few, many] = &profiles[..] else {
        return Err(ProfileError::Failed { name, reason: "it was not run".to_owned() });
    };
    let more = |counter: &str| (many.count(counter) - few.count(counter)).max(0.0);
    let iterations = if ticks { more("interrupt") } else { counts[1].saturating_sub(counts[0]) as f64 };
    let each = many.counts.keys().map(|counter| (counter.clone(), more(counter) / iterations.max(1.0)));
    let mut counts: BTreeMap<String, f64> = each.collect();
    if ticks {
        // What is interrupted is not part of the tick.
        counts.retain(|counter, _| !counter.starts_with("ring3.") && !counter.starts_with("code."));
        let kernel = counts.get("ring0.instructions").copied().unwrap_or(0.0);
        counts.insert("instructions".to_owned(), kernel);
    }
    Ok(Profile { counts, ..many.clone() })
}

/// How the rows of a micro-benchmark are called.
#[must_use]
pub fn event_name(event: Event, ring: Ring) -> String {
    format!("{}/{}", event.name(), ring.number())
}

fn run(name: &str, words: &[String], stop: &StopFlag) -> Result<RunRecord, ProfileError> {
    let failed = |reason| ProfileError::Failed { name: name.to_owned(), reason };
    let process = Process::start(words, PROFILE_TIMEOUT_S)
        .map_err(|source| ProfileError::Start { name: name.to_owned(), source })?;
    let finished = process.finish(stop).map_err(|source| ProfileError::Start { name: name.to_owned(), source })?;
    let record = finished.record().map_err(failed)?;
    if record.status != Status::Ok {
        return Err(failed(record.message.unwrap_or_else(|| "it did not end well".to_owned())));
    }
    Ok(record)
}

fn of_record(kind: Kind, name: &str, args: Vec<String>, record: &RunRecord) -> Profile {
    let of_the_guest = |c: &&crate::model::Counter| {
        c.source == "profile" && !c.counter.starts_with("total.")
            || c.source == "emu" && OF_THE_GUEST.contains(&c.counter.as_str())
    };
    let counts: BTreeMap<String, f64> =
        record.counters.iter().filter(of_the_guest).map(|c| (c.counter.clone(), c.value as f64)).collect();
    Profile { kind, name: name.to_owned(), args, image_sha256: record.image_sha256.clone(), counts, paces: Vec::new() }
}

/// Times of runs, by the engine's place, and what was run with which arguments.
type Times = BTreeMap<(usize, String, Vec<String>), Vec<f64>>;

/// Adds a time.
fn note(times: &mut Times, engine: EngineId, name: String, args: Vec<String>, ns: f64) {
    let place = EngineId::ALL.iter().position(|&id| id == engine).unwrap_or(usize::MAX);
    times.entry((place, name, args)).or_default().push(ns);
}

/// The median of each.
fn medians(times: Times, kind: Kind) -> Vec<Row> {
    let row = |((place, name, args), times): ((usize, String, Vec<String>), Vec<f64>)| {
        let engine = *EngineId::ALL.get(place)?;
        Some(Row { engine, kind, name, args, n: times.len(), ns: median(&times)? })
    };
    times.into_iter().filter_map(row).collect()
}

/// The times in a results folder: of each engine, workload and arguments the median of its good runs,
/// by the guest's clock. What does nothing in its region of interest has no time to explain, and is left out.
#[must_use]
pub fn rows_of(experiment: &Experiment) -> Vec<Row> {
    let mut times = Times::new();
    for run in experiment.runs.iter().filter(|run| run.workload != EMPTY) {
        let Some(ns) = run.time_ns().filter(|_| run.status == Status::Ok && run.engine.is_plain()) else { continue };
        let args = run.args.split_whitespace().map(str::to_owned).collect();
        note(&mut times, run.engine.id, run.workload.clone(), args, ns as f64);
    }
    medians(times, Kind::Workload)
}

/// The times of a folder of `evlab micro`: of each engine and event the median time of one iteration; of the timer's tick the time that it
/// takes from a program, less what is lost without a timer. Other timers are left out: they wait.
///
/// # Errors
/// The file cannot be read.
pub fn rows_of_micro(dir: &Path) -> Result<Vec<Row>, ReadError> {
    let all = benchmarks();
    let (mut times, mut noise) = (Times::new(), Times::new());
    for Timed { event, ring, engine, iterations, roi_ns, lost } in read_runs(dir)? {
        if event == Event::Noise.name() {
            note(&mut noise, engine, String::new(), Vec::new(), lost.unwrap_or(0.0) * PERIOD_NS);
            continue;
        }
        let known = all.iter().find(|b| b.event.name() == event && b.ring == ring);
        let Some(benchmark) = known.filter(|b| is_usable(b)) else { continue };
        let each = match benchmark.event {
            Event::Tick => lost.unwrap_or(0.0) * PERIOD_NS,
            _ => roi_ns / iterations.max(1) as f64,
        };
        note(&mut times, engine, event_name(benchmark.event, ring), Vec::new(), each);
    }
    let mut rows = medians(times, Kind::Micro);
    let noise = medians(noise, Kind::Micro);
    let tick = event_name(Event::Tick, Ring::Three);
    for row in rows.iter_mut().filter(|row| row.name == tick) {
        row.ns -= noise.iter().find(|noise| noise.engine == row.engine).map_or(0.0, |noise| noise.ns);
    }
    // A tick that is not told apart from the noise has no cost to tell.
    rows.retain(|row| row.ns > 0.0);
    Ok(rows)
}

/// Whether a micro-benchmark says what an event costs: not timers, which wait, but for the tick; nor pages of 2 MiB, which profiles do not
/// know.
#[must_use]
pub fn is_usable(benchmark: &Benchmark) -> bool {
    (!benchmark.is_timed() || benchmark.event == Event::Tick)
        && !matches!(benchmark.event, Event::Noise | Event::Hot2M | Event::Cold2M | Event::Hypercall)
}
