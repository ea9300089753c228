//! Measuring all of it: calibration, then interleaved rounds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use workloads::Event;

use super::benchmark::{Benchmark, Group, Ring};
use super::calibrate::{self, Next};
use super::cell::Cell;
use super::files::{Files, Phase};
use super::sample::Sample;
use crate::engines::StopFlag;
use crate::host::KvmBackend;
use crate::model::EngineId;
use crate::results::WriteError;
use crate::stats::Bootstrap;
use crate::studio;

/// How many times as long the regions of interest of timers are: they wait most of the time.
const PATIENCE: f64 = 5.0;

/// What to measure and how well.
#[derive(Debug)]
pub struct Plan {
    /// The micro-benchmarks, with their controls.
    pub benchmarks: Vec<Benchmark>,
    /// The engines that the host has.
    pub engines: Vec<EngineId>,
    /// The KVM of this host.
    pub backend: KvmBackend,
    /// Runs of each.
    pub runs: u32,
    /// How long a region of interest should be, nanoseconds.
    pub target_ns: f64,
    /// Seed of the order.
    pub seed: u64,
}

impl Plan {
    /// The chosen benchmarks and, before them, the controls that they need.
    #[must_use]
    pub fn with_controls(chosen: &[Benchmark], all: &[Benchmark]) -> Vec<Benchmark> {
        let needed = |b: &Benchmark| {
            let is = |of: &Benchmark| of.event == b.event && of.ring == b.ring;
            chosen.iter().any(is) || chosen.iter().any(|c| c.control == Some(b.event) && c.ring == b.ring)
        };
        all.iter().filter(|b| needed(b)).cloned().collect()
    }

    fn target(&self, benchmark: &Benchmark) -> f64 {
        if benchmark.group == Group::Time { self.target_ns * PATIENCE } else { self.target_ns }
    }
}

/// Does one run.
pub trait Runner {
    /// Runs the benchmark with so many iterations; an error is why there is no sample.
    ///
    /// # Errors
    /// The run failed, with the reason in one sentence.
    fn run(&mut self, benchmark: &Benchmark, engine: EngineId, iterations: u64) -> Result<Sample, String>;
}

/// Follows the measurement.
pub trait Watcher {
    /// The next run.
    fn begin(&mut self, benchmark: &Benchmark, engine: EngineId, phase: Phase, left: Option<Duration>);
    /// It ended.
    fn end(&mut self) {}
}

/// One benchmark on one engine while it is measured.
struct Pair<'a> {
    benchmark: &'a Benchmark,
    engine: EngineId,
    iterations: u64,
    samples: Vec<Sample>,
    failed: Option<String>,
}

/// Measures what the plan says; yields a cell for each benchmark and engine, in the order of the plan, as far as it came
/// before the user stopped it.
///
/// # Errors
/// The files cannot be written.
pub fn measure(
    plan: &Plan,
    runner: &mut dyn Runner,
    files: &mut Files,
    watcher: &mut dyn Watcher,
    stop: &StopFlag,
) -> Result<Vec<Cell>, WriteError> {
    let mut pairs: Vec<Pair<'_>> = plan
        .benchmarks
        .iter()
        .flat_map(|benchmark| plan.engines.iter().map(move |&engine| (benchmark, engine)))
        .filter(|(benchmark, engine)| benchmark.absent(*engine, plan.backend).is_none())
        .map(|(benchmark, engine)| Pair { benchmark, engine, iterations: 0, samples: Vec::new(), failed: None })
        .collect();
    for pair in &mut pairs {
        calibrate(pair, plan.target(pair.benchmark), runner, files, watcher, stop)?;
    }
    let order = studio::order(pairs.len(), plan.runs, plan.seed);
    let begun = Instant::now();
    for (done, &index) in order.iter().enumerate() {
        if stop.is_stopped() {
            break;
        }
        let Some(pair) = pairs.get_mut(index).filter(|pair| pair.failed.is_none() && pair.iterations > 0) else {
            continue;
        };
        let left = (done > 20).then(|| begun.elapsed().mul_f64((order.len() - done) as f64 / done as f64));
        watcher.begin(pair.benchmark, pair.engine, Phase::Measurement, left);
        let result = runner.run(pair.benchmark, pair.engine, pair.iterations);
        watcher.end();
        if stop.is_stopped() {
            break; // what was cut short says nothing
        }
        files.append(pair.benchmark, pair.engine, Phase::Measurement, pair.iterations, &result)?;
        match result {
            Ok(sample) => pair.samples.push(sample),
            Err(reason) => pair.failed = Some(reason),
        }
    }
    Ok(cells(plan, &pairs))
}

fn calibrate(
    pair: &mut Pair<'_>,
    target_ns: f64,
    runner: &mut dyn Runner,
    files: &mut Files,
    watcher: &mut dyn Watcher,
    stop: &StopFlag,
) -> Result<(), WriteError> {
    let mut iterations = calibrate::FIRST.min(pair.benchmark.most);
    while !stop.is_stopped() {
        watcher.begin(pair.benchmark, pair.engine, Phase::Calibration, None);
        let result = runner.run(pair.benchmark, pair.engine, iterations);
        watcher.end();
        if stop.is_stopped() {
            break;
        }
        files.append(pair.benchmark, pair.engine, Phase::Calibration, iterations, &result)?;
        match result {
            Err(reason) => {
                pair.failed = Some(reason);
                break;
            }
            Ok(sample) => match calibrate::next(iterations, sample.roi_ns, target_ns, pair.benchmark.most) {
                Next::Try(more) => iterations = more,
                Next::Measure(enough) => {
                    pair.iterations = enough;
                    break;
                }
            },
        }
    }
    Ok(())
}

fn cells(plan: &Plan, pairs: &[Pair<'_>]) -> Vec<Cell> {
    let bootstrap = Bootstrap::new(plan.seed);
    let found: HashMap<(Event, Ring, EngineId), &Pair<'_>> =
        pairs.iter().map(|p| ((p.benchmark.event, p.benchmark.ring, p.engine), p)).collect();
    let mut cells = Vec::new();
    for benchmark in &plan.benchmarks {
        for &engine in &plan.engines {
            if let Some(reason) = benchmark.absent(engine, plan.backend) {
                cells.push(Cell::absent(benchmark, engine, reason));
                continue;
            }
            let Some(pair) = found.get(&(benchmark.event, benchmark.ring, engine)) else { continue };
            if let Some(reason) = &pair.failed {
                cells.push(Cell::failed(benchmark, engine, reason.clone()));
                continue;
            }
            let control = benchmark.control.and_then(|event| found.get(&(event, benchmark.ring, engine)));
            let control = control.map_or(&[][..], |pair| &pair.samples);
            // Without what is to be subtracted there is no value.
            if pair.samples.is_empty() || benchmark.control.is_some() && control.is_empty() {
                continue;
            }
            cells.push(Cell::of(benchmark, engine, &pair.samples, control, &bootstrap));
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::micro::benchmarks;
    use crate::micro::sample::Counted;

    /// An engine on which every iteration takes as long as its event's number says.
    struct Made {
        runs: u32,
        broken: Option<Event>,
    }

    impl Runner for Made {
        fn run(&mut self, benchmark: &Benchmark, _: EngineId, iterations: u64) -> Result<Sample, String> {
            self.runs += 1;
            if self.broken == Some(benchmark.event) {
                return Err("it broke".to_owned());
            }
            Ok(Sample {
                iterations,
                roi_ns: iterations as f64 * (10.0 + benchmark.event as u64 as f64),
                instructions: None,
                exits: Some(Counted {
                    io: benchmark.exits.io * iterations,
                    mmio: benchmark.exits.mmio * iterations,
                    hlt: benchmark.exits.hlt * iterations,
                    other: 0,
                }),
                lost: Some(0.001),
            })
        }
    }

    struct Unwatched;

    impl Watcher for Unwatched {
        fn begin(&mut self, _: &Benchmark, _: EngineId, _: Phase, _: Option<Duration>) {}
    }

    fn plan(events: &[Event]) -> Plan {
        let all = benchmarks();
        let chosen: Vec<Benchmark> = all.iter().filter(|b| events.contains(&b.event)).cloned().collect();
        Plan {
            benchmarks: Plan::with_controls(&chosen, &all),
            engines: vec![EngineId::Native, EngineId::Kvm],
            backend: KvmBackend::Pvm,
            runs: 3,
            target_ns: 1e6,
            seed: 1,
        }
    }

    fn measured(plan: &Plan, broken: Option<Event>) -> (Vec<Cell>, u32) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut files = Files::create(dir.path()).expect("files");
        let mut runner = Made { runs: 0, broken };
        let stop = StopFlag::new();
        let cells = measure(plan, &mut runner, &mut files, &mut Unwatched, &stop).expect("it can be written");
        (cells, runner.runs)
    }

    fn cell(cells: &[Cell], event: Event, ring: Ring, engine: EngineId) -> &Cell {
        let is = |c: &&Cell| c.event == event.name() && c.ring == ring && c.engine == engine;
        cells.iter().find(is).expect("the cell")
    }

    #[test]
    fn controls_come_along_and_are_subtracted() {
        let plan = plan(&[Event::Cpuid]);
        let (cells, _) = measured(&plan, None);
        let kvm = cell(&cells, Event::Cpuid, Ring::Three, EngineId::Kvm);
        let expected = (Event::Cpuid as u64 - Event::LoopMove as u64) as f64;
        assert!((kvm.ns.expect("a value") - expected).abs() < 1e-6, "{kvm:?}");
        assert_eq!(cell(&cells, Event::LoopMove, Ring::Zero, EngineId::Kvm).n, 3);
        assert!(cells.iter().all(|c| c.ring == Ring::Three || c.engine != EngineId::Native || c.ns.is_none()));
        assert!(cells.iter().all(|c| c.ns.is_some() != c.note.is_some()), "a value or a reason: {cells:?}");
    }

    #[test]
    fn what_breaks_has_a_reason_and_is_not_run_again() {
        let plan = plan(&[Event::Rdtsc]);
        let (cells, runs) = measured(&plan, Some(Event::Rdtsc));
        let bad = cell(&cells, Event::Rdtsc, Ring::Zero, EngineId::Kvm);
        assert!(bad.wrong && bad.note.as_deref() == Some("it broke"), "{bad:?}");
        // Three of rdtsc, tried once each; three of the control: calibrated in two trials or three, then measured 3 times.
        assert!((3 + 3 * 5..=3 + 3 * 6).contains(&runs), "{runs}");
    }

    #[test]
    fn nothing_is_said_of_what_was_stopped() {
        let plan = plan(&[Event::Rdtsc]);
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut files = Files::create(dir.path()).expect("files");
        let stop = StopFlag::new();
        stop.stop();
        let mut runner = Made { runs: 0, broken: None };
        let cells = measure(&plan, &mut runner, &mut files, &mut Unwatched, &stop).expect("it can be written");
        assert_eq!(runner.runs, 0);
        assert!(cells.iter().all(|c| c.ns.is_none() && !c.wrong));
    }
}
