//! Repetition: rounds are added until the ratios are precise enough, or the time is spent.
//!
//! How often a cell must run depends on its noise, which nobody knows before it has run; a fixed number is too many for
//! quiet cells and too few for noisy ones (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013). To
//! stop when the interval is narrow looks at the width alone, never at where the interval lies, so it favours no
//! result. The coverage of such a sequential interval tends to the nominal one as the width asked for shrinks: Chow and
//! Robbins, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals for the Mean", Annals of Mathematical
//! Statistics 36(2), 1965; for medians Geertsema, "Sequential Confidence Intervals Based on Rank Tests", the same 41(3),
//! 1970. With few runs an interval can be narrow by luck, so nothing counts as precise before it has [`FEWEST`] runs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::schedule::round;
use crate::model::{EngineId, Setup, Status};
use crate::report::groups::{Group, group};
use crate::report::summary::Labels;
use crate::results::{Plan, RunRow};
use crate::stats::{Bootstrap, Pair};

/// Fewest times behind an interval that counts as precise: their range holds the median with probability
/// 1 - 2^(1-6) = 96.9%, the first that is no less than 95%.
pub const FEWEST: usize = 6;
/// Most runs of a cell for the sake of precision.
pub const CAP: u32 = 100;

/// How far the cells of an experiment are from the precision that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    /// The half width that was asked for, relative to the ratio.
    pub precision: f64,
    /// Cells that have it.
    pub precise: usize,
    /// Cells that lack it, the farthest first.
    pub imprecise: Vec<Imprecise>,
}

/// A cell that is not as precise as was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Imprecise {
    /// Its engine.
    pub engine: Setup,
    /// The label of its workload.
    pub workload: String,
    /// Times behind it.
    pub n: usize,
    /// Half of the interval's width relative to the ratio, where there is an interval.
    pub half_width: Option<f64>,
}

/// Decides what runs after the planned rounds.
#[derive(Debug)]
pub(super) struct Repetition {
    precision: Option<f64>,
    budget: Option<Duration>,
    cap: usize,
    seed: u64,
    rounds: u32,
    members: Vec<Member>,
    known: HashMap<usize, Known>,
}

/// A cell as it is judged.
#[derive(Debug)]
struct Member {
    engine: Setup,
    workload: String,
    /// Whether a precision can be asked of it.
    judged: bool,
    /// Cells that it may be divided by, the best first.
    baselines: Vec<usize>,
}

/// An interval and what it was computed from, so that it is computed once.
#[derive(Debug)]
struct Known {
    n: usize,
    baseline: Option<(usize, usize)>,
    half_width: Option<f64>,
}

/// Times of the runs so far, and their number, cell by cell.
struct Samples {
    times: Vec<Vec<f64>>,
    runs: Vec<usize>,
}

impl Samples {
    fn new(cells: usize, rows: &[RunRow], order: &[usize]) -> Self {
        let mut samples = Self { times: vec![Vec::new(); cells], runs: vec![0; cells] };
        for row in rows {
            let Some(&cell) = (row.run as usize).checked_sub(1).and_then(|index| order.get(index)) else { continue };
            samples.runs[cell] += 1;
            if let (Status::Ok, Some(ns)) = (row.status, row.time_ns()) {
                samples.times[cell].push(ns as f64);
            }
        }
        samples
    }
}

impl Repetition {
    pub(super) fn new(plan: &Plan) -> Self {
        let labels = Labels::of_plan(plan);
        let cells = &plan.cells;
        let baselines = |cell: usize| {
            let same = |other: &usize| {
                *other != cell
                    && cells[*other].workload == cells[cell].workload
                    && cells[*other].args == cells[cell].args
            };
            let with =
                |engine: EngineId| (0..cells.len()).filter(same).find(move |&other| cells[other].engine == engine);
            match cells[cell].engine {
                engine if engine == EngineId::Native => Vec::new(),
                _ => [EngineId::Native, EngineId::Kvm].into_iter().filter_map(with).collect(),
            }
        };
        let member = |(index, cell): (usize, &crate::results::Cell)| Member {
            engine: cell.engine,
            workload: labels.label(&cell.workload, &cell.args.join(" ")),
            judged: group(&cell.workload) != Group::Empty,
            baselines: baselines(index),
        };
        Self {
            precision: plan.precision,
            budget: plan.budget_s.map(Duration::from_secs),
            cap: CAP.max(plan.runs_per_cell) as usize,
            seed: plan.seed,
            rounds: plan.runs_per_cell,
            members: cells.iter().enumerate().map(member).collect(),
            known: HashMap::new(),
        }
    }

    /// Whether the budget is spent after so long.
    pub(super) fn is_spent(&self, elapsed: Duration) -> bool {
        self.budget.is_some_and(|budget| elapsed >= budget)
    }

    /// The time that is left, if the runs planned so far take `planned`.
    pub(super) fn left(&self, planned: Option<Duration>, elapsed: Duration) -> Option<Duration> {
        let Some(budget) = self.budget.map(|budget| budget.saturating_sub(elapsed)) else { return planned };
        match self.precision {
            // It goes on until then, whatever is planned.
            None => Some(budget),
            Some(_) => Some(planned.map_or(budget, |planned| planned.min(budget))),
        }
    }

    /// The next round, shuffled: nothing where the experiment is at its end. Cells in `hung` are not tried again, nor are
    /// those that never yielded a time.
    pub(super) fn next(&mut self, rows: &[RunRow], order: &[usize], hung: &HashSet<usize>) -> Vec<usize> {
        let samples = Samples::new(self.members.len(), rows, order);
        let able = |cell: &usize| !hung.contains(cell) && !samples.times[*cell].is_empty();
        let wanted: Vec<usize> = match (self.precision, self.budget) {
            (None, None) => Vec::new(),
            (None, Some(_)) => (0..self.members.len()).filter(able).collect(),
            (Some(precision), _) => {
                let mut wanted = BTreeSet::new();
                for cell in 0..self.members.len() {
                    if able(&cell) && self.is_imprecise(cell, &samples, precision) {
                        wanted.insert(cell);
                        wanted.extend(self.baseline(cell, &samples));
                    }
                }
                wanted.into_iter().filter(able).filter(|&cell| samples.runs[cell] < self.cap).collect()
            }
        };
        self.rounds += 1;
        round(wanted, self.seed, self.rounds)
    }

    /// How precise the cells are; `None` where no precision was asked for.
    pub(super) fn reached(&mut self, rows: &[RunRow], order: &[usize]) -> Option<Reached> {
        let precision = self.precision?;
        let samples = Samples::new(self.members.len(), rows, order);
        let mut reached = Reached { precision, precise: 0, imprecise: Vec::new() };
        for cell in 0..self.members.len() {
            if self.is_baseline(cell, &samples) || !self.members[cell].judged {
                continue;
            }
            if self.is_imprecise(cell, &samples, precision) {
                let half_width = self.half_width(cell, &samples);
                let (member, n) = (&self.members[cell], samples.times[cell].len());
                let (engine, workload) = (member.engine, member.workload.clone());
                reached.imprecise.push(Imprecise { engine, workload, n, half_width });
            } else {
                reached.precise += 1;
            }
        }
        let width = |cell: &Imprecise| cell.half_width.unwrap_or(f64::INFINITY);
        reached.imprecise.sort_by(|a, b| width(b).total_cmp(&width(a)));
        Some(reached)
    }

    fn is_imprecise(&mut self, cell: usize, samples: &Samples, precision: f64) -> bool {
        if !self.members[cell].judged || self.is_baseline(cell, samples) {
            return false;
        }
        let baseline = self.baseline(cell, samples);
        let few = std::iter::once(cell).chain(baseline).any(|c| samples.times[c].len() < FEWEST);
        few || self.half_width(cell, samples).is_none_or(|width| width > precision)
    }

    /// What the cell is divided by: the report's baseline, which is the best that has a time.
    fn baseline(&self, cell: usize, samples: &Samples) -> Option<usize> {
        self.members[cell].baselines.iter().copied().find(|&other| !samples.times[other].is_empty())
    }

    /// Whether others are divided by the cell, so that its own ratio is 1 by definition.
    fn is_baseline(&self, cell: usize, samples: &Samples) -> bool {
        self.members.iter().enumerate().any(|(other, _)| self.baseline(other, samples) == Some(cell))
            && self.baseline(cell, samples).is_none()
    }

    /// Half the width of the interval of the cell's ratio, relative to it; of its time, where there is no baseline. The
    /// same interval that the report shows.
    fn half_width(&mut self, cell: usize, samples: &Samples) -> Option<f64> {
        let sample = &samples.times[cell];
        let baseline = self.baseline(cell, samples).map(|other| (other, samples.times[other].len()));
        if let Some(known) = self.known.get(&cell).filter(|k| k.n == sample.len() && k.baseline == baseline) {
            return known.half_width;
        }
        let Member { engine, workload, .. } = &self.members[cell];
        let bootstrap = Bootstrap::new(self.seed);
        let estimate = match baseline {
            Some((other, _)) => bootstrap.ratio(
                &format!("ratio/{engine}/{workload}"),
                Pair { numerator: sample, baseline: &samples.times[other] },
            ),
            None => bootstrap.median(&format!("median/{engine}/{workload}"), sample),
        };
        let half_width = estimate.and_then(|estimate| estimate.relative_half_width());
        self.known.insert(cell, Known { n: sample.len(), baseline, half_width });
        half_width
    }
}

#[cfg(test)]
mod tests;
