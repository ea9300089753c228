//! What the runs of one micro-benchmark on one engine say together.

use serde::{Deserialize, Serialize};

use super::benchmark::{Benchmark, Group, Measure, Ring};
use super::sample::Sample;
use crate::model::EngineId;
use crate::stats::{Bootstrap, Estimate, median};

/// One micro-benchmark on one engine: a value, or why there is none. One row of `micro.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the event.
    pub event: String,
    /// The ring it happens in.
    pub ring: Ring,
    /// What it is about.
    pub group: Group,
    /// The engine.
    pub engine: EngineId,
    /// Runs that were measured.
    pub n: usize,
    /// Iterations of each.
    pub iterations: u64,
    /// Nanoseconds of one operation, the control subtracted: the median.
    pub ns: Option<f64>,
    /// Lower end of its 95% interval.
    pub ci_low_ns: Option<f64>,
    /// Upper end.
    pub ci_high_ns: Option<f64>,
    /// Guest instructions of one operation, the control's subtracted, where the engine counts them.
    pub instructions: Option<f64>,
    /// Exits of one operation, where the machine is ours: those of the expected kinds, and nothing subtracted.
    pub exits: Option<f64>,
    /// Exits that one operation should take.
    pub exits_expected: f64,
    /// Why there is no value, or what is wrong with it.
    pub note: Option<String>,
    /// Whether the note tells of something that should not be.
    pub wrong: bool,
}

impl Cell {
    /// A cell without a value, for a reason that is known and right.
    pub(super) fn absent(benchmark: &Benchmark, engine: EngineId, reason: &str) -> Self {
        Self { note: Some(reason.to_owned()), ..Self::empty(benchmark, engine) }
    }

    /// A cell without a value, because its runs failed.
    pub(super) fn failed(benchmark: &Benchmark, engine: EngineId, reason: String) -> Self {
        Self { note: Some(reason), wrong: true, ..Self::empty(benchmark, engine) }
    }

    /// A cell with a value, for tests of what shows it.
    #[cfg(test)]
    pub(crate) fn measured(benchmark: &Benchmark, engine: EngineId, ns: f64) -> Self {
        let interval = (Some(ns * 0.9), Some(ns * 1.1));
        Self { n: 5, ns: Some(ns), ci_low_ns: interval.0, ci_high_ns: interval.1, ..Self::empty(benchmark, engine) }
    }

    fn empty(benchmark: &Benchmark, engine: EngineId) -> Self {
        Self {
            event: benchmark.event.name().to_owned(),
            ring: benchmark.ring,
            group: benchmark.group,
            engine,
            n: 0,
            iterations: 0,
            ns: None,
            ci_low_ns: None,
            ci_high_ns: None,
            instructions: None,
            exits: None,
            exits_expected: benchmark.exits.total() as f64 / benchmark.operations as f64,
            note: None,
            wrong: false,
        }
    }

    /// What the samples say, those of the control subtracted.
    pub(super) fn of(
        benchmark: &Benchmark,
        engine: EngineId,
        samples: &[Sample],
        control: &[Sample],
        bootstrap: &Bootstrap,
    ) -> Self {
        let each = |samples: &[Sample]| -> Vec<f64> {
            samples.iter().filter_map(|sample| iteration_ns(benchmark.measure, sample)).collect()
        };
        let key = format!("{}/{}/{engine}", benchmark.event.name(), benchmark.ring.number());
        let scale = 1.0 / benchmark.operations as f64;
        let estimate = bootstrap.difference(&key, &each(samples), &each(control));
        let shown = estimate.map(|e| shifted(e, benchmark.wait_ns, scale));
        let per_iteration = |samples: &[Sample]| -> Option<f64> {
            let counts: Option<Vec<f64>> =
                samples.iter().map(|s| Some(s.instructions? as f64 / s.iterations as f64)).collect();
            median(&counts?)
        };
        let instructions = per_iteration(samples).map(|own| (own - per_iteration(control).unwrap_or(0.0)) * scale);
        let exits = samples.last().and_then(|sample| {
            let counted = sample.exits?;
            let kinds = counted.io + counted.mmio + counted.hlt;
            Some(kinds as f64 / sample.iterations as f64 * scale)
        });
        let note = samples.iter().find_map(|sample| sample.objection(benchmark));
        Self {
            n: samples.len(),
            iterations: samples.last().map_or(0, |sample| sample.iterations),
            ns: shown.map(|e| e.value),
            ci_low_ns: shown.and_then(|e| e.interval).map(|i| i.low),
            ci_high_ns: shown.and_then(|e| e.interval).map(|i| i.high),
            instructions: instructions.map(tidy),
            exits,
            wrong: note.is_some(),
            note,
            ..Self::empty(benchmark, engine)
        }
    }
}

/// Nanoseconds of one iteration, nothing subtracted.
fn iteration_ns(measure: Measure, sample: &Sample) -> Option<f64> {
    match measure {
        Measure::Time => Some(sample.roi_ns / sample.iterations as f64),
        Measure::Lost => sample.lost.map(|part| part * 1e6),
    }
}

fn shifted(estimate: Estimate, wait_ns: f64, scale: f64) -> Estimate {
    let shift = |ns: f64| (ns - wait_ns) * scale;
    Estimate {
        value: shift(estimate.value),
        interval: estimate.interval.map(|i| crate::stats::Interval { low: shift(i.low), high: shift(i.high) }),
    }
}

/// Three decimals: the region of interest holds a few instructions besides the loop.
fn tidy(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use workloads::Event;

    use super::super::sample::Counted;
    use super::*;
    use crate::micro::benchmarks;

    fn benchmark(event: Event, ring: Ring) -> Benchmark {
        benchmarks().into_iter().find(|b| b.event == event && b.ring == ring).expect("it is measured")
    }

    fn sample(iterations: u64, roi_ns: f64, io: u64) -> Sample {
        Sample {
            iterations,
            roi_ns,
            instructions: Some(3 * iterations),
            exits: Some(Counted { io, mmio: 0, hlt: 0, other: 0 }),
            lost: None,
        }
    }

    #[test]
    fn the_control_is_subtracted() {
        let port = benchmark(Event::PortOut, Ring::Three);
        let own = [sample(100, 2_500.0, 100), sample(100, 2_700.0, 100), sample(100, 2_600.0, 100)];
        let control = [sample(1000, 1_000.0, 0), sample(1000, 1_000.0, 0), sample(1000, 1_000.0, 0)];
        let cell = Cell::of(&port, EngineId::Kvm, &own, &control, &Bootstrap::new(1));
        assert_eq!((cell.ns, cell.exits, cell.exits_expected), (Some(25.0), Some(1.0), 1.0));
        assert_eq!((cell.ci_low_ns, cell.ci_high_ns), (Some(24.0), Some(26.0)));
        assert_eq!((cell.instructions, cell.wrong, cell.n), (Some(0.0), false, 3));
    }

    #[test]
    fn one_exit_too_many_is_noticed() {
        let port = benchmark(Event::PortOut, Ring::Three);
        let cell = Cell::of(&port, EngineId::Kvm, &[sample(100, 1.0, 101)], &[], &Bootstrap::new(1));
        let note = cell.note.expect("a note");
        assert!(cell.wrong && note.contains("101 port") && note.contains("expected are 100, 0, 0, 0"), "{note}");
        let silent = benchmark(Event::Syscall, Ring::Three);
        assert!(Cell::of(&silent, EngineId::Kvm, &[sample(100, 1.0, 0)], &[], &Bootstrap::new(1)).note.is_none());
        assert!(Cell::of(&silent, EngineId::Kvm, &[sample(100, 1.0, 1)], &[], &Bootstrap::new(1)).wrong);
    }

    #[test]
    fn a_wait_and_several_operations_are_taken_into_account() {
        let mut timer = benchmark(Event::HaltWake, Ring::Zero);
        timer.wait_ns = 200.0;
        timer.operations = 2;
        let mut own = sample(10, 5_000.0, 30);
        own.exits = Some(Counted { io: 30, mmio: 0, hlt: 10, other: 7 });
        let cell = Cell::of(&timer, EngineId::Kvm, &[own], &[], &Bootstrap::new(1));
        assert_eq!((cell.ns, cell.ci_low_ns), (Some(150.0), None));
        assert_eq!((cell.exits, cell.wrong), (Some(2.0), false), "{:?}", cell.note);
    }
}
