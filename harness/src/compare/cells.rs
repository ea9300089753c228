//! The comparison itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::counts::{self, Change};
use super::evidence::{self, Sample};
use super::verdict::Verdict;
use crate::model::{EngineId, Setup, Status};
use crate::results::{Experiment, RunRow};
use crate::stats::{Bootstrap, Estimate, Pair, median};

/// One engine with one workload, in both experiments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload, with its arguments.
    pub workload: String,
    /// Runs in the first experiment.
    pub old_n: usize,
    /// Runs in the second.
    pub new_n: usize,
    /// Median time in the first, nanoseconds.
    pub old_ns: f64,
    /// Median time in the second, nanoseconds.
    pub new_ns: f64,
    /// New over old: of times, or of ratios to the reference engine.
    pub ratio: f64,
    /// Lower end of its interval.
    pub ratio_low: Option<f64>,
    /// Upper end.
    pub ratio_high: Option<f64>,
    /// The p-value of the two-sided Mann-Whitney test between the two sides, by itself.
    #[serde(default)]
    pub p: Option<f64>,
    /// The same with Holm's correction for all cells and means.
    #[serde(default)]
    pub p_adjusted: Option<f64>,
    /// What that says.
    pub verdict: Verdict,
    /// What the interval alone says, where the test cannot confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<Verdict>,
}

/// Two experiments, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was put in relation.
    pub basis: Basis,
    /// The part by which a time may differ and still count as the same.
    pub threshold: f64,
    /// Nominal coverage of each interval: Bonferroni's, so that all of them together would have 95%. The bootstrap of few
    /// runs does not reach it: of five it is their range.
    pub level: f64,
    /// How many tests were made: one for each cell and mean.
    #[serde(default)]
    pub comparisons: usize,
    /// Runs on each side below which no single cell can be called faster or slower among so many.
    #[serde(default)]
    pub runs_needed: usize,
    /// The cells that both have, by workload and engine.
    pub cells: Vec<Compared>,
    /// The geometric mean of each engine's ratios.
    pub means: Vec<Compared>,
    /// Exact counts that changed.
    pub changes: Vec<Change>,
    /// Workloads that compute something else now.
    pub mismatches: Vec<String>,
    /// Cells that only one of them has.
    pub unpaired: usize,
}

impl Comparison {
    /// Whether something became worse: a time, or a result.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        !self.mismatches.is_empty() || self.all().any(|cell| cell.verdict == Verdict::Slower)
    }

    /// Whether something could not be told.
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        self.all().any(|cell| cell.verdict == Verdict::Inconclusive)
    }

    /// Cells that seem to differ and have too few runs to tell so.
    #[must_use]
    pub fn short_of_runs(&self) -> usize {
        let short = |cell: &&Compared| cell.suspected.is_some() && cell.old_n.min(cell.new_n) < self.runs_needed;
        self.cells.iter().filter(short).count()
    }

    fn all(&self) -> impl Iterator<Item = &Compared> {
        self.cells.iter().chain(&self.means)
    }
}

/// Workload with its arguments, and engine.
type Key = (String, Setup);

/// The times of one experiment.
struct Times(BTreeMap<Key, Vec<f64>>);

impl Times {
    fn of(experiment: &Experiment, wanted: impl Fn(&RunRow) -> bool) -> Self {
        let mut times: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        for run in experiment.runs.iter().filter(|run| run.status == Status::Ok && wanted(run)) {
            if let Some(ns) = run.time_ns() {
                times.entry((label(run), run.engine)).or_default().push(ns as f64);
            }
        }
        Self(times)
    }

    fn get(&self, workload: &str, engine: Setup) -> &[f64] {
        self.0.get(&(workload.to_owned(), engine)).map_or(&[], Vec::as_slice)
    }
}

fn label(run: &RunRow) -> String {
    if run.args.is_empty() { run.workload.clone() } else { format!("{} {}", run.workload, run.args) }
}

/// Compares the cells that both experiments have, of these engines.
#[must_use]
pub fn compare(old: &Experiment, new: &Experiment, basis: Basis, engines: &[EngineId], threshold: f64) -> Comparison {
    let wanted = |run: &RunRow| engines.contains(&run.engine.id);
    let reference = match basis {
        Basis::Times => None,
        Basis::Ratios(engine) => Some(engine),
    };
    // The reference is needed, whether it is compared or not.
    let needed = |run: &RunRow| wanted(run) || Some(run.engine.id) == reference;
    let (old_times, new_times) = (Times::of(old, needed), Times::of(new, needed));
    let pairs: Vec<&Key> = old_times
        .0
        .keys()
        .filter(|key| new_times.0.contains_key(*key) && engines.contains(&key.1.id) && Some(key.1.id) != reference)
        .collect();
    let setups: Vec<Setup> = {
        let mut setups: Vec<Setup> = pairs.iter().map(|key| key.1).collect();
        setups.sort_unstable();
        setups.dedup();
        setups
    };
    // Bonferroni: all intervals together hold with 95%.
    let level = 1.0 - 0.05 / (pairs.len() + setups.len()).max(1) as f64;
    let bootstrap = Bootstrap { level, ..Bootstrap::new(new.meta.plan.seed) };
    let sides = Sides { old: &old_times, new: &new_times, reference, bootstrap };
    let mut cells: Vec<Compared> =
        pairs.iter().filter_map(|(workload, engine)| sides.cell(workload, *engine, threshold)).collect();
    let mut means: Vec<Compared> = setups.iter().filter_map(|&engine| sides.mean(&pairs, engine, threshold)).collect();
    let comparisons = cells.len() + means.len();
    evidence::confirm(cells.iter_mut().chain(&mut means));
    let of = |times: &Times| times.0.keys().filter(|key| engines.contains(&key.1.id)).count();
    let shared = old_times.0.keys().filter(|key| new_times.0.contains_key(*key) && engines.contains(&key.1.id)).count();
    Comparison {
        basis,
        threshold,
        level,
        comparisons,
        runs_needed: evidence::runs_needed(comparisons),
        cells,
        means,
        changes: counts::changes(old, new, wanted),
        mismatches: mismatches(old, new),
        unpaired: of(&old_times) + of(&new_times) - 2 * shared,
    }
}

struct Sides<'a> {
    old: &'a Times,
    new: &'a Times,
    reference: Option<EngineId>,
    bootstrap: Bootstrap,
}

impl Sides<'_> {
    /// What is divided: new over old, and, where there is a reference, its old over its new.
    fn pairs(&self, workload: &str, engine: Setup) -> Option<Vec<Pair<'_>>> {
        let pair = Pair { numerator: self.new.get(workload, engine), baseline: self.old.get(workload, engine) };
        let Some(reference) = self.reference.map(Setup::plain) else { return Some(vec![pair]) };
        let of_reference =
            Pair { numerator: self.old.get(workload, reference), baseline: self.new.get(workload, reference) };
        let there = !of_reference.numerator.is_empty() && !of_reference.baseline.is_empty();
        there.then(|| vec![pair, of_reference])
    }

    fn cell(&self, workload: &str, engine: Setup, threshold: f64) -> Option<Compared> {
        let pairs = self.pairs(workload, engine)?;
        let ratio = self.bootstrap.product(&format!("{workload}/{}", engine.name()), &pairs)?;
        let p = evidence::p_value(&[self.sample(workload, engine)?]);
        Some(self.compared(workload, engine, ratio, p, threshold))
    }

    /// What is tested: the times of both sides, as multiples of the reference's median where there is one.
    fn sample(&self, workload: &str, engine: Setup) -> Option<Sample> {
        let times = |side: &Times| -> Option<Vec<f64>> {
            let unit = match self.reference.map(Setup::plain) {
                Some(reference) => median(side.get(workload, reference))?,
                None => 1.0,
            };
            Some(side.get(workload, engine).iter().map(|ns| ns / unit).collect())
        };
        Some(Sample { new: times(self.new)?, old: times(self.old)? })
    }

    /// The geometric mean over the workloads of an engine.
    fn mean(&self, keys: &[&Key], engine: Setup, threshold: f64) -> Option<Compared> {
        let workloads: Vec<&str> =
            keys.iter().filter(|key| key.1 == engine).map(|(workload, _)| workload.as_str()).collect();
        let (mut pairs, mut samples) = (Vec::new(), Vec::new());
        let mut count = 0;
        for workload in &workloads {
            if let (Some(more), Some(sample)) = (self.pairs(workload, engine), self.sample(workload, engine)) {
                pairs.extend(more);
                samples.push(sample);
                count += 1;
            }
        }
        if count < 2 {
            return None;
        }
        let product = self.bootstrap.product(&format!("mean/{}", engine.name()), &pairs)?;
        let root = |value: f64| value.powf(1.0 / f64::from(count));
        let interval = product.interval.map(|i| crate::stats::Interval { low: root(i.low), high: root(i.high) });
        let ratio = Estimate { value: root(product.value), interval };
        let p = evidence::p_value(&samples);
        Some(self.compared(&format!("geometric mean of {count}"), engine, ratio, p, threshold))
    }

    fn compared(&self, workload: &str, engine: Setup, ratio: Estimate, p: Option<f64>, threshold: f64) -> Compared {
        let (old, new) = (self.old.get(workload, engine), self.new.get(workload, engine));
        Compared {
            engine,
            workload: workload.to_owned(),
            old_n: old.len(),
            new_n: new.len(),
            old_ns: median(old).unwrap_or(0.0),
            new_ns: median(new).unwrap_or(0.0),
            ratio: ratio.value,
            ratio_low: ratio.interval.map(|i| i.low),
            ratio_high: ratio.interval.map(|i| i.high),
            p,
            p_adjusted: None,
            verdict: Verdict::of(&ratio, threshold),
            suspected: None,
        }
    }
}

/// Workloads whose checksums differ between the experiments.
fn mismatches(old: &Experiment, new: &Experiment) -> Vec<String> {
    let checksums = |experiment: &Experiment| -> BTreeMap<String, String> {
        let ok = experiment.runs.iter().filter(|run| run.status == Status::Ok);
        ok.filter_map(|run| Some((label(run), run.checksum.clone()?))).collect()
    };
    let old = checksums(old);
    let differs = |(workload, checksum): (String, String)| {
        let before = old.get(&workload)?;
        (*before != checksum).then(|| format!("{workload}: {before} became {checksum}"))
    };
    checksums(new).into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn all() -> Vec<EngineId> {
        EngineId::ALL.to_vec()
    }

    /// The experiment with all times of one engine multiplied.
    fn scaled(experiment: &Experiment, engine: EngineId, factor: f64) -> Experiment {
        let mut scaled = experiment.clone();
        for run in scaled.runs.iter_mut().filter(|run| run.engine.id == engine) {
            let scale = |ns: u64| (ns as f64 * factor) as u64;
            (run.roi_host_ns, run.roi_guest_ns) = (run.roi_host_ns.map(scale), run.roi_guest_ns.map(scale));
        }
        scaled
    }

    #[test]
    fn an_experiment_is_like_itself() {
        let experiment = synthetic::full();
        let same = compare(&experiment, &experiment, Basis::Times, &all(), 0.05);
        assert!(!same.cells.is_empty() && !same.is_worse(), "{same:?}");
        assert!(same.cells.iter().all(|cell| (cell.ratio - 1.0).abs() < 1e-12));
        assert!(same.changes.is_empty() && same.mismatches.is_empty() && same.unpaired == 0);
    }

    #[test]
    fn a_slower_engine_is_found_whatever_the_host() {
        let old = synthetic::full();
        let slower = scaled(&old, EngineId::EmuInterp, 3.0);
        let found = compare(&old, &slower, Basis::Times, &all(), 0.05);
        for cell in found.cells.iter().chain(&found.means) {
            let expected = if cell.engine.id == EngineId::EmuInterp { 3.0 } else { 1.0 };
            assert!((cell.ratio / expected - 1.0).abs() < 0.01, "{cell:?}");
        }
        assert!(found.is_worse());
        // On a host twice as slow all times double, and ratios to native stay.
        let mut other = slower;
        for engine in EngineId::ALL {
            other = scaled(&other, engine, 2.0);
        }
        let found = compare(&old, &other, Basis::Ratios(EngineId::Native), &all(), 0.05);
        assert!(found.cells.iter().all(|cell| cell.engine.id != EngineId::Native));
        for cell in &found.cells {
            let expected = if cell.engine.id == EngineId::EmuInterp { 3.0 } else { 1.0 };
            assert!((cell.ratio / expected - 1.0).abs() < 0.01, "{cell:?}");
        }
    }

    /// The experiment with that many times the runs, whose times differ a little.
    fn repeated(experiment: &Experiment, times: u64) -> Experiment {
        let mut more = experiment.clone();
        more.runs.clear();
        for i in 0..times {
            more.runs.extend(experiment.runs.iter().cloned().map(|mut run| {
                let vary = |ns: u64| ns + ns / 10_000 * i + i;
                (run.roi_host_ns, run.roi_guest_ns) = (run.roi_host_ns.map(vary), run.roi_guest_ns.map(vary));
                run
            }));
        }
        more
    }

    #[test]
    fn few_runs_make_a_suspicion_and_enough_make_a_verdict() {
        let old = synthetic::full();
        let few = compare(&old, &scaled(&old, EngineId::EmuInterp, 3.0), Basis::Times, &all(), 0.05);
        let of_interp = |found: &Comparison| -> Vec<Compared> {
            found.cells.iter().filter(|cell| cell.engine.id == EngineId::EmuInterp).cloned().collect()
        };
        assert!(few.runs_needed > 5, "{}", few.runs_needed);
        assert_eq!(few.short_of_runs(), of_interp(&few).len());
        for cell in of_interp(&few) {
            assert_eq!((cell.verdict, cell.suspected), (Verdict::Inconclusive, Some(Verdict::Slower)), "{cell:?}");
        }
        // All workloads together leave no doubt.
        let mean = few.means.iter().find(|mean| mean.engine.id == EngineId::EmuInterp).expect("a mean");
        assert!(mean.verdict == Verdict::Slower && mean.p_adjusted.is_some_and(|p| p < 1e-6), "{mean:?}");
        let old = repeated(&old, 2);
        let enough = compare(&old, &scaled(&old, EngineId::EmuInterp, 3.0), Basis::Times, &all(), 0.05);
        assert_eq!(enough.short_of_runs(), 0);
        assert!(of_interp(&enough).iter().all(|cell| cell.verdict == Verdict::Slower), "{enough:?}");
    }

    #[test]
    fn counts_and_results_that_change_are_told() {
        let old = synthetic::full();
        let mut new = old.clone();
        let run = new.runs.iter_mut().find(|run| run.checksum.is_some()).expect("a run");
        let workload = run.workload.clone();
        for run in new.runs.iter_mut().filter(|run| run.workload == workload) {
            run.checksum = Some("feedfeedfeedfeed".to_owned());
            run.guest_instructions = run.guest_instructions.map(|count| count + 1);
        }
        let found = compare(&old, &new, Basis::Times, &all(), 0.05);
        assert!(!found.mismatches.is_empty() && found.is_worse());
        let counted = old.runs.iter().any(|run| run.workload == workload && run.guest_instructions.is_some());
        let told =
            found.changes.iter().any(|change| change.counter == "guest_instructions" && change.new == change.old + 1);
        assert_eq!(told, counted, "{:?}", found.changes);
    }
}
