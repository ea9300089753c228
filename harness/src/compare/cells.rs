//! The comparison itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::counts::{self, Change};
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
    /// What that says.
    pub verdict: Verdict,
}

/// Two experiments, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was put in relation.
    pub basis: Basis,
    /// The part by which a time may differ and still count as the same.
    pub threshold: f64,
    /// Coverage of each interval: so many intervals together hold their values with a probability of 95%.
    pub level: f64,
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
    let cells: Vec<Compared> =
        pairs.iter().filter_map(|(workload, engine)| sides.cell(workload, *engine, threshold)).collect();
    let means = setups.iter().filter_map(|&engine| sides.mean(&pairs, engine, threshold)).collect();
    let of = |times: &Times| times.0.keys().filter(|key| engines.contains(&key.1.id)).count();
    let shared = old_times.0.keys().filter(|key| new_times.0.contains_key(*key) && engines.contains(&key.1.id)).count();
    Comparison {
        basis,
        threshold,
        level,
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
        Some(self.compared(workload, engine, ratio, threshold))
    }

    /// The geometric mean over the workloads of an engine.
    fn mean(&self, keys: &[&Key], engine: Setup, threshold: f64) -> Option<Compared> {
        let workloads: Vec<&str> =
            keys.iter().filter(|key| key.1 == engine).map(|(workload, _)| workload.as_str()).collect();
        let mut pairs = Vec::new();
        let mut count = 0;
        for workload in &workloads {
            if let Some(more) = self.pairs(workload, engine) {
                pairs.extend(more);
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
        Some(self.compared(&format!("geometric mean of {count}"), engine, ratio, threshold))
    }

    fn compared(&self, workload: &str, engine: Setup, ratio: Estimate, threshold: f64) -> Compared {
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
            verdict: Verdict::of(&ratio, threshold),
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
