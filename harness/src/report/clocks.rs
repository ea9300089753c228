//! Whether the host's clock and the guest's agree, run by run.
//!
//! The host stamps both ends of the region of interest, the guest reads its time-stamp counter there. What lies between
//! stamp and reading, a marker's way, is in the host's time alone. The empty region of interest (`noop`) is nothing but
//! that, so it measures the way, engine by engine, and a longer region may differ by 0.5% of itself and a small multiple of
//! it. Two clocks that should agree are compared because a virtual time-stamp counter may be scaled, offset or trapped by
//! what is below it (Intel SDM volume 3, "TSC offsetting" and "TSC multiplier").

use std::collections::BTreeMap;

use super::groups::{self, Group};
use super::summary::Labels;
use crate::model::{EngineId, Setup, Status};
use crate::results::{Experiment, RunRow};
use crate::stats::median;

/// Disagreement that is worth a word, as a part of the region of interest.
pub const SHARE: f64 = 0.005;
/// The way of the markers where no empty region was measured on the engine, nanoseconds.
pub const ASSUMED_NS: f64 = 100_000.0;

/// How many times the empty region's difference a longer region may have, where the machine stamps markers itself.
pub const MULTIPLE: f64 = 2.0;
/// The same where a thread has to be woken to read them from a pipe.
pub const MULTIPLE_BY_PIPE: f64 = 4.0;

/// How many times the empty region's difference a longer region may have on an engine.
///
/// The empty region is the best case. Its code and data are still in the caches when it ends; after a longer one they are
/// not. And where a thread has to be woken to read a marker, it is still awake when the second one comes right behind the
/// first. In the reference results longer regions have up to 1.5 times the difference of the empty one on `kvm`, and up to
/// 4 times on `native`.
#[must_use]
pub const fn multiple(engine: EngineId) -> f64 {
    match engine {
        EngineId::Native | EngineId::QemuTcg | EngineId::QemuKvm => MULTIPLE_BY_PIPE,
        EngineId::Kvm | EngineId::EmuNaive | EngineId::EmuInterp | EngineId::EmuDbt => MULTIPLE,
    }
}

/// The empty region of interest on one engine: medians over its runs, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Empty {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// Runs with both times.
    pub n: usize,
    /// By the host's clock.
    pub host_ns: f64,
    /// By the guest's time-stamp counter.
    pub guest_ns: f64,
    /// The difference of the two, without its sign.
    pub difference_ns: f64,
}

/// A run whose clocks disagree.
#[derive(Debug, Clone, PartialEq)]
pub struct Flagged {
    /// Number of the run.
    pub run: u32,
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// Label of the workload.
    pub workload: String,
    /// The region of interest by the host's clock, nanoseconds.
    pub host_ns: f64,
    /// By the guest's time-stamp counter, nanoseconds.
    pub guest_ns: f64,
    /// What the two may differ by, nanoseconds.
    pub allowed_ns: f64,
}

impl Flagged {
    /// How much longer the region is by the host's clock, as a part of the guest's time.
    #[must_use]
    pub fn share(&self) -> f64 {
        (self.host_ns - self.guest_ns) / self.guest_ns
    }

    /// What of the disagreement nothing allows, as a part of the guest's time.
    fn excess(&self) -> f64 {
        ((self.host_ns - self.guest_ns).abs() - self.allowed_ns) / self.guest_ns
    }
}

/// The clocks of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Clocks {
    /// The empty region, by engine.
    pub empty: Vec<Empty>,
    /// Runs that were judged: good ones with both times, empty regions left out.
    pub judged: usize,
    /// Those whose clocks disagree, the worst first.
    pub flagged: Vec<Flagged>,
    /// Judged engines without an empty region, for which its difference was assumed.
    pub assumed: Vec<Setup>,
    /// Runs whose guest had a time of its own, which no host clock can check.
    pub own_time: usize,
}

impl Clocks {
    /// Judges the runs of an experiment.
    #[must_use]
    pub fn new(experiment: &Experiment) -> Self {
        let labels = Labels::new(experiment);
        let own = |run: &RunRow| experiment.meta.plan.deterministic && run.engine.id.has_emulated_cpu();
        let (own, shared): (Vec<_>, Vec<_>) =
            experiment.runs.iter().filter_map(|run| Some((run, times(run)?))).partition(|&(run, _)| own(run));
        let (empty, full): (Vec<_>, Vec<_>) =
            shared.into_iter().partition(|(run, _)| groups::group(&run.workload) == Group::Empty);
        let mut clocks = Self {
            empty: empties(&empty),
            judged: full.len(),
            flagged: Vec::new(),
            assumed: Vec::new(),
            own_time: own.len(),
        };
        for (run, (host_ns, guest_ns)) in full {
            let way = clocks.way(run.engine).unwrap_or_else(|| {
                if !clocks.assumed.contains(&run.engine) {
                    clocks.assumed.push(run.engine);
                }
                ASSUMED_NS
            });
            let allowed_ns = SHARE * guest_ns + way;
            if (host_ns - guest_ns).abs() > allowed_ns {
                let (run, engine, workload) = (run.run, run.engine, labels.of(run));
                clocks.flagged.push(Flagged { run, engine, workload, host_ns, guest_ns, allowed_ns });
            }
        }
        clocks.assumed.sort_unstable();
        clocks.flagged.sort_by(|a, b| b.excess().total_cmp(&a.excess()).then(a.run.cmp(&b.run)));
        clocks
    }

    /// What the markers' way may add on an engine, nanoseconds; one whose mechanisms are not its usual ones has the usual
    /// one's markers. `None` where no empty region was measured.
    #[must_use]
    pub fn way(&self, engine: Setup) -> Option<f64> {
        let of = |wanted: Setup| self.empty.iter().find(|e| e.engine == wanted);
        let empty = of(engine).or_else(|| of(Setup::plain(engine.id)))?;
        Some(empty.difference_ns * multiple(engine.id))
    }
}

/// Both times of a good run, host and guest.
fn times(run: &RunRow) -> Option<(f64, f64)> {
    let (host, guest) = (run.roi_host_ns?, run.roi_guest_ns.filter(|&ns| ns > 0)?);
    (run.status == Status::Ok).then_some((host as f64, guest as f64))
}

fn empties(runs: &[(&RunRow, (f64, f64))]) -> Vec<Empty> {
    let mut by_engine: BTreeMap<Setup, Vec<(f64, f64)>> = BTreeMap::new();
    for (run, times) in runs {
        by_engine.entry(run.engine).or_default().push(*times);
    }
    let empty = |(engine, times): (Setup, Vec<(f64, f64)>)| {
        let of = |f: fn(&(f64, f64)) -> f64| median(&times.iter().map(f).collect::<Vec<_>>());
        Some(Empty {
            engine,
            n: times.len(),
            host_ns: of(|t| t.0)?,
            guest_ns: of(|t| t.1)?,
            difference_ns: of(|t| (t.0 - t.1).abs())?,
        })
    };
    by_engine.into_iter().filter_map(empty).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    /// An experiment of these runs: engine, workload, host and guest time.
    fn experiment(runs: &[(EngineId, &str, u64, u64)]) -> Experiment {
        let mut experiment = synthetic::full();
        let model = experiment.runs[0].clone();
        experiment.runs = (1..)
            .zip(runs)
            .map(|(run, &(engine, workload, host, guest))| RunRow {
                run,
                engine: engine.into(),
                workload: workload.into(),
                roi_host_ns: Some(host),
                roi_guest_ns: Some(guest),
                ..model.clone()
            })
            .collect();
        experiment
    }

    fn flagged(clocks: &Clocks) -> Vec<u32> {
        clocks.flagged.iter().map(|f| f.run).collect()
    }

    #[test]
    fn the_empty_region_is_what_markers_may_cost() {
        use EngineId::{Kvm, Native};
        let clocks = Clocks::new(&experiment(&[
            (Kvm, "noop", 10_020, 20),
            (Kvm, "noop", 900_000, 20),
            (Kvm, "noop", 10_030, 30),
            (Native, "noop", 10_020, 20),
            // 0.5% of a millisecond are 5 us; kvm may have 2 x 10 us more, native 4 x 10 us.
            (Kvm, "sieve", 1_024_900, 1_000_000),
            (Kvm, "sieve", 1_025_100, 1_000_000),
            (Native, "sieve", 1_044_900, 1_000_000),
            (Native, "sieve", 1_045_200, 1_000_000),
        ]));
        assert_eq!((clocks.empty[0].n, clocks.empty[1].n), (1, 3));
        assert_eq!((clocks.empty[1].host_ns, clocks.empty[1].difference_ns), (10_030.0, 10_000.0));
        assert_eq!((clocks.judged, flagged(&clocks)), (4, vec![8, 6]));
        assert!(clocks.assumed.is_empty());
    }

    #[test]
    fn a_guest_clock_that_runs_ahead_counts_like_one_that_lags_and_the_worst_comes_first() {
        let clocks = Clocks::new(&experiment(&[
            (EngineId::Kvm, "noop", 20, 20),
            (EngineId::Kvm, "fib", 1_010_000, 1_000_000),
            (EngineId::Kvm, "fib", 500_000, 1_000_000),
            (EngineId::Kvm, "fib", 1_000_000, 1_000_000),
        ]));
        assert_eq!(flagged(&clocks), [3, 2]);
        assert!((clocks.flagged[0].share() + 0.5).abs() < 1e-9);
    }

    #[test]
    fn without_an_empty_region_its_cost_is_assumed_and_said() {
        let clocks = Clocks::new(&experiment(&[
            (EngineId::QemuTcg, "fib", 1_104_000, 1_000_000),
            (EngineId::QemuTcg, "fib", 1_106_000, 1_000_000),
        ]));
        assert_eq!(flagged(&clocks), [2]);
        assert_eq!(clocks.assumed, [Setup::plain(EngineId::QemuTcg)]);
    }

    #[test]
    fn an_engine_with_other_mechanisms_has_the_markers_of_the_usual_one() {
        let mut experiment = experiment(&[
            (EngineId::EmuInterp, "noop", 9_000, 1_000),
            (EngineId::EmuInterp, "fib", 1_015_000, 1_000_000),
        ]);
        experiment.runs[1].engine = Setup::new(EngineId::EmuInterp, "link=off").unwrap();
        let clocks = Clocks::new(&experiment);
        assert_eq!(clocks.way(experiment.runs[1].engine), Some(16_000.0));
        assert!(clocks.flagged.is_empty() && clocks.assumed.is_empty());
    }

    #[test]
    fn what_has_no_second_clock_is_not_judged() {
        let mut experiment = experiment(&[
            (EngineId::EmuDbt, "fib", 1, 1_000_000),
            (EngineId::Kvm, "fib", 1, 1_000_000),
            (EngineId::Kvm, "fib", 1, 1_000_000),
            (EngineId::Kvm, "fib", 1, 1_000_000),
        ]);
        experiment.meta.plan.deterministic = true;
        experiment.runs[2].roi_guest_ns = None;
        experiment.runs[3].status = Status::Mismatch;
        let clocks = Clocks::new(&experiment);
        assert_eq!((clocks.own_time, clocks.judged, flagged(&clocks)), (1, 1, vec![2]));
    }
}
