//! What an experiment says: one cell per engine and workload, and a mean per engine.

use std::collections::BTreeMap;

use serde::Serialize;

use super::groups::{self, Group};
use crate::model::{EngineId, Setup, Status};
use crate::results::{Experiment, Plan, RunRow};
use crate::stats::{Bootstrap, Estimate, Outliers, Pair};

/// Columns of `summary.csv`, in order.
pub const SUMMARY_COLUMNS: [&str; 9] =
    ["engine", "workload", "n", "median_ns", "ci_low_ns", "ci_high_ns", "slowdown", "slowdown_low", "slowdown_high"];

/// One engine with one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// Label of the workload.
    pub workload: String,
    /// Runs that count: status `ok`, with a time.
    pub n: usize,
    /// Runs that do not count, by how they ended; `ok` here means without a usable time.
    pub lost: Vec<(Status, usize)>,
    /// The time of the region of interest, nanoseconds.
    pub median: Option<Estimate>,
    /// How many times longer than the baseline of the workload.
    pub ratio: Option<Estimate>,
    /// Runs that count and lie far from the rest. They stay in.
    pub outliers: Outliers,
}

impl Cell {
    /// Whether some run computed something else than it should.
    #[must_use]
    pub fn mismatched(&self) -> bool {
        self.lost.iter().any(|&(s, _)| s == Status::Mismatch)
    }
}

/// One workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its label: the name, and the arguments where the experiment has it with different ones.
    pub label: String,
    /// What kind it is.
    pub group: Group,
    /// What ratios are against: `native`, or `kvm` where native does not apply; `None` where neither has a time.
    pub baseline: Option<EngineId>,
}

/// The geometric mean of an engine's slowdowns over a group of workloads.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// Over the system workloads rather than the programs.
    pub system: bool,
    /// The mean slowdown against native.
    pub estimate: Estimate,
    /// Over how many workloads.
    pub workloads: usize,
}

/// The experiment in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Engines planned or run, in the usual order.
    pub engines: Vec<Setup>,
    /// Workloads planned or run, by group, else in the order of the plan.
    pub workloads: Vec<Workload>,
    /// Cells planned or run, by workload and engine in the orders above.
    pub cells: Vec<Cell>,
    /// Means of the engines other than native.
    pub means: Vec<Mean>,
    /// The times behind the cells, for other comparisons.
    samples: Samples,
}

/// Times by workload and engine, and how they are compared.
#[derive(Debug, Clone, PartialEq)]
struct Samples {
    bootstrap: Bootstrap,
    times: BTreeMap<Key, Vec<f64>>,
}

impl Samples {
    fn of(&self, label: &str, engine: impl Into<Setup>) -> &[f64] {
        self.times.get(&(label.to_owned(), engine.into())).map_or(&[], Vec::as_slice)
    }

    fn pair(&self, label: &str, numerator: Setup, baseline: Setup) -> Pair<'_> {
        Pair { numerator: self.of(label, numerator), baseline: self.of(label, baseline) }
    }
}

impl Summary {
    /// Summarises an experiment; intervals are seeded with the experiment's seed.
    #[must_use]
    pub fn new(experiment: &Experiment) -> Self {
        Builder::new(experiment).build()
    }

    /// The cell of an engine and a workload, where it was planned or run.
    #[must_use]
    pub fn cell(&self, engine: impl Into<Setup>, workload: &str) -> Option<&Cell> {
        let engine = engine.into();
        self.cells.iter().find(|c| c.engine == engine && c.workload == workload)
    }

    /// How many times longer than native a cell takes; `None` where its ratio is to another engine.
    #[must_use]
    pub fn slowdown(&self, cell: &Cell) -> Option<Estimate> {
        let baseline = self.workload(&cell.workload).and_then(|w| w.baseline);
        cell.ratio.filter(|_| baseline == Some(EngineId::Native))
    }

    /// The workload with a label.
    #[must_use]
    pub fn workload(&self, label: &str) -> Option<&Workload> {
        self.workloads.iter().find(|w| w.label == label)
    }

    /// The mean of an engine over the programs, or over the system workloads.
    #[must_use]
    pub fn mean(&self, engine: impl Into<Setup>, system: bool) -> Option<&Mean> {
        let engine = engine.into();
        self.means.iter().find(|m| m.engine == engine && m.system == system)
    }

    /// Outliers of all cells, and how many runs they are of.
    #[must_use]
    pub fn outliers(&self) -> (Outliers, usize) {
        self.cells.iter().fold((Outliers::default(), 0), |(sum, runs), cell| {
            let one = cell.outliers;
            (Outliers { mild: sum.mild + one.mild, severe: sum.severe + one.severe }, runs + cell.n)
        })
    }

    /// How many times the time of `baseline` another engine takes for a workload; `key` names the comparison.
    #[must_use]
    pub fn ratio_of(&self, key: &str, workload: &str, numerator: Setup, baseline: Setup) -> Option<Estimate> {
        let pair = self.samples.pair(workload, numerator, baseline);
        self.samples.bootstrap.ratio(&format!("{key}/{workload}"), pair)
    }

    /// The geometric mean of such ratios over several workloads.
    #[must_use]
    pub fn mean_ratio(&self, key: &str, workloads: &[&str], numerator: Setup, baseline: Setup) -> Option<Estimate> {
        let pairs: Vec<Pair<'_>> =
            workloads.iter().map(|label| self.samples.pair(label, numerator, baseline)).collect();
        self.samples.bootstrap.geometric_mean(&format!("{key}/mean"), &pairs)
    }

    /// `summary.csv`.
    ///
    /// # Errors
    /// Only where memory runs out: the rows are plain.
    pub fn to_csv(&self) -> Result<String, csv::Error> {
        // The header is written here, since a summary without cells has one too.
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.write_record(SUMMARY_COLUMNS)?;
        for cell in &self.cells {
            writer.serialize(SummaryRow::new(cell, self.slowdown(cell)))?;
        }
        let bytes = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One row of `summary.csv`: whole nanoseconds, slowdowns with four decimals.
#[derive(Serialize)]
struct SummaryRow<'a> {
    engine: Setup,
    workload: &'a str,
    n: usize,
    median_ns: Option<String>,
    ci_low_ns: Option<String>,
    ci_high_ns: Option<String>,
    slowdown: Option<String>,
    slowdown_low: Option<String>,
    slowdown_high: Option<String>,
}

impl<'a> SummaryRow<'a> {
    fn new(cell: &'a Cell, slowdown: Option<Estimate>) -> Self {
        let ns = |v: f64| format!("{v:.0}");
        let times = |v: f64| format!("{v:.4}");
        let interval = cell.median.and_then(|m| m.interval);
        let ratio_interval = slowdown.and_then(|s| s.interval);
        Self {
            engine: cell.engine,
            workload: &cell.workload,
            n: cell.n,
            median_ns: cell.median.map(|m| ns(m.value)),
            ci_low_ns: interval.map(|i| ns(i.low)),
            ci_high_ns: interval.map(|i| ns(i.high)),
            slowdown: slowdown.map(|s| times(s.value)),
            slowdown_low: ratio_interval.map(|i| times(i.low)),
            slowdown_high: ratio_interval.map(|i| times(i.high)),
        }
    }
}

/// The label under which each run's workload appears.
#[derive(Debug)]
pub struct Labels {
    /// Names that occur with more than one list of arguments: different work, so never pooled.
    ambiguous: Vec<String>,
}

impl Labels {
    /// Looks through plan and runs.
    #[must_use]
    pub fn new(experiment: &Experiment) -> Self {
        let run = experiment.runs.iter().map(|r| (r.workload.clone(), r.args.clone()));
        Self::among(planned(&experiment.meta.plan).chain(run))
    }

    /// Looks through the plan alone, which says all of an experiment whose runs are as planned.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        Self::among(planned(plan))
    }

    fn among(works: impl Iterator<Item = (String, String)>) -> Self {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let mut ambiguous = Vec::new();
        for (name, args) in works {
            let known = first.entry(name.clone()).or_insert_with(|| args.clone());
            if *known != args && !ambiguous.contains(&name) {
                ambiguous.push(name);
            }
        }
        Self { ambiguous }
    }

    /// The label of a workload with these arguments.
    #[must_use]
    pub fn label(&self, workload: &str, args: &str) -> String {
        if self.ambiguous.iter().any(|a| a == workload) {
            format!("{workload} {args}").trim_end().to_owned()
        } else {
            workload.to_owned()
        }
    }

    /// The label of a run's workload.
    #[must_use]
    pub fn of(&self, run: &RunRow) -> String {
        self.label(&run.workload, &run.args)
    }
}

/// Names and arguments of the planned workloads.
fn planned(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    plan.cells.iter().map(|c| (c.workload.clone(), c.args.join(" ")))
}

type Key = (String, Setup);

struct Builder {
    engines: Vec<Setup>,
    order: Vec<(String, Group)>,
    planned: Vec<Key>,
    samples: Samples,
    lost: BTreeMap<Key, Vec<(Status, usize)>>,
}

impl Builder {
    fn new(experiment: &Experiment) -> Self {
        let labels = Labels::new(experiment);
        let mut builder = Self {
            engines: Vec::new(),
            order: Vec::new(),
            planned: Vec::new(),
            samples: Samples { bootstrap: Bootstrap::new(experiment.meta.plan.seed), times: BTreeMap::new() },
            lost: BTreeMap::new(),
        };
        for cell in &experiment.meta.plan.cells {
            let label = labels.label(&cell.workload, &cell.args.join(" "));
            builder.plan(&cell.workload, label, cell.engine);
        }
        for run in &experiment.runs {
            builder.run(labels.of(run), run);
        }
        builder.engines.sort_unstable();
        // Stable, so inside a group the order stays the plan's.
        builder.order.sort_by_key(|&(_, group)| group);
        builder
    }

    fn plan(&mut self, name: &str, label: String, engine: Setup) {
        if !self.engines.contains(&engine) {
            self.engines.push(engine);
        }
        if !self.order.iter().any(|(l, _)| *l == label) {
            self.order.push((label.clone(), groups::group(name)));
        }
        let key = (label, engine);
        if !self.planned.contains(&key) {
            self.planned.push(key);
        }
    }

    fn run(&mut self, label: String, run: &RunRow) {
        self.plan(&run.workload, label.clone(), run.engine);
        let key = (label, run.engine);
        match (run.status, run.time_ns()) {
            (Status::Ok, Some(ns)) => self.samples.times.entry(key).or_default().push(ns as f64),
            (status, _) => {
                let lost = self.lost.entry(key).or_default();
                match lost.iter_mut().find(|(s, _)| *s == status) {
                    Some((_, n)) => *n += 1,
                    None => lost.push((status, 1)),
                }
            }
        }
    }

    fn baseline(&self, label: &str) -> Option<EngineId> {
        [EngineId::Native, EngineId::Kvm].into_iter().find(|&e| !self.samples.of(label, e).is_empty())
    }

    fn build(self) -> Summary {
        let workloads: Vec<Workload> = self
            .order
            .iter()
            .map(|(label, group)| Workload { label: label.clone(), group: *group, baseline: self.baseline(label) })
            .collect();
        let mut cells = Vec::new();
        for workload in &workloads {
            for &engine in &self.engines {
                let key = (workload.label.clone(), engine);
                if self.planned.contains(&key) {
                    cells.push(self.cell(workload, engine));
                }
            }
        }
        let means = [false, true]
            .into_iter()
            .flat_map(|system| self.engines.iter().map(move |&e| (e, system)))
            .filter_map(|(engine, system)| self.mean(&workloads, engine, system))
            .collect();
        Summary { engines: self.engines, workloads, cells, means, samples: self.samples }
    }

    fn cell(&self, workload: &Workload, engine: Setup) -> Cell {
        let label = &workload.label;
        let sample = self.samples.of(label, engine);
        let ratio = workload.baseline.and_then(|baseline| {
            if engine == baseline {
                // By definition, so it has no interval.
                return (!sample.is_empty()).then_some(Estimate { value: 1.0, interval: None });
            }
            let pair = Pair { numerator: sample, baseline: self.samples.of(label, baseline) };
            self.samples.bootstrap.ratio(&format!("ratio/{engine}/{label}"), pair)
        });
        Cell {
            engine,
            workload: label.clone(),
            n: sample.len(),
            lost: self.lost.get(&(label.clone(), engine)).cloned().unwrap_or_default(),
            median: self.samples.bootstrap.median(&format!("median/{engine}/{label}"), sample),
            ratio,
            outliers: Outliers::of(sample),
        }
    }

    fn mean(&self, workloads: &[Workload], engine: Setup, system: bool) -> Option<Mean> {
        if engine == EngineId::Native {
            return None;
        }
        let pairs: Vec<Pair<'_>> = workloads
            .iter()
            .filter(|w| w.baseline == Some(EngineId::Native) && w.group.in_mean(system))
            .map(|w| Pair {
                numerator: self.samples.of(&w.label, engine),
                baseline: self.samples.of(&w.label, EngineId::Native),
            })
            .filter(|p| !p.numerator.is_empty())
            .collect();
        let estimate = self.samples.bootstrap.geometric_mean(&format!("mean/{engine}/{system}"), &pairs)?;
        Some(Mean { engine, system, estimate, workloads: pairs.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn csv_of_a_full_and_of_a_partial_experiment() {
        insta::assert_snapshot!("full", Summary::new(&synthetic::full()).to_csv().unwrap());
        insta::assert_snapshot!("partial", Summary::new(&synthetic::partial()).to_csv().unwrap());
    }

    #[test]
    fn void_runs_are_counted_and_have_no_time() {
        let summary = Summary::new(&synthetic::mismatch());
        let cell = summary.cell(EngineId::EmuInterp, "qsort").unwrap();
        assert_eq!((cell.n, &cell.median, &cell.ratio), (0, &None, &None));
        assert_eq!(cell.lost, [(Status::Mismatch, 5)]);
        let mean = |s: &Summary| s.mean(EngineId::EmuInterp, false).unwrap().workloads;
        assert_eq!(mean(&summary) + 1, mean(&Summary::new(&synthetic::full())));
    }

    #[test]
    fn without_native_the_ratio_is_against_kvm_and_the_csv_has_none() {
        let mut experiment = synthetic::full();
        experiment.runs.retain(|r| r.engine != EngineId::Native);
        let summary = Summary::new(&experiment);
        assert!(summary.means.is_empty());
        assert!(summary.workloads.iter().all(|w| w.baseline == Some(EngineId::Kvm)));
        assert!(summary.cell(EngineId::EmuInterp, "sieve").unwrap().ratio.unwrap().value > 10.0);
        assert!(summary.to_csv().unwrap().lines().skip(1).all(|line| line.ends_with(",,,")));
    }

    #[test]
    fn a_time_of_zero_is_no_time() {
        let mut experiment = synthetic::full();
        let run =
            experiment.runs.iter_mut().find(|r| r.engine == EngineId::QemuTcg && r.workload == "syscall").unwrap();
        (run.roi_host_ns, run.roi_guest_ns) = (Some(0), None);
        let summary = Summary::new(&experiment);
        let cell = summary.cell(EngineId::QemuTcg, "syscall").unwrap();
        assert_eq!((cell.n, cell.lost.as_slice()), (4, [(Status::Ok, 1)].as_slice()));
        assert!(cell.median.unwrap().interval.unwrap().low > 0.0);
    }

    #[test]
    fn a_run_far_out_is_counted_and_stays_in() {
        let mut experiment = synthetic::full();
        let of_cell = |r: &&mut RunRow| r.engine == EngineId::Kvm && r.workload == "sieve";
        for (i, run) in experiment.runs.iter_mut().filter(of_cell).enumerate() {
            run.roi_guest_ns = Some([100, 101, 102, 103, 900][i]);
        }
        let summary = Summary::new(&experiment);
        let cell = summary.cell(EngineId::Kvm, "sieve").unwrap();
        assert_eq!((cell.n, cell.outliers), (5, Outliers { mild: 0, severe: 1 }));
        assert!(summary.outliers().0.severe >= 1 && summary.outliers().1 == experiment.runs.len());
    }

    #[test]
    fn other_arguments_are_other_work() {
        let mut experiment = synthetic::full();
        for run in experiment.runs.iter_mut().filter(|r| r.workload == "sieve" && r.run > 100) {
            run.args = "2000".into();
        }
        let summary = Summary::new(&experiment);
        assert!(summary.workload("sieve 1000").is_some() && summary.workload("sieve 2000").is_some());
        assert!(summary.workload("sieve").is_none() && summary.workload("fib").is_some());
    }
}
