//! What the times of two sides say about each cell, and about each engine.

use serde::{Deserialize, Serialize};

use super::plan::{Plan, label};
use super::rules::{LOOKS, Rules};
use super::samples::{Divisor, Samples};
use crate::model::Setup;
use crate::report::groups::group;
use crate::stats::{Bootstrap, Center, Estimate, Interval, Pair, median};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A cell, by its place in the plan.
    Cell(usize),
    /// The geometric mean of an engine over the programs.
    Mean(Setup),
}

/// How a time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Nothing speaks for a regression.
    Fine,
    /// It looked slower, and was not measured again.
    Suspect,
    /// It is faster by more than the threshold: the baseline can be renewed.
    Faster,
    /// It looked slower at first, and did not when it was measured again.
    Cleared,
    /// It looks slower, and the interval says that this may be chance, or there was no time to find out.
    Inconclusive,
    /// It is slower: both measurements say so, and the interval of the second lies beyond the threshold.
    Slower,
}

impl Standing {
    /// The word shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Suspect => "suspect",
            Self::Faster => "faster",
            Self::Cleared => "cleared",
            Self::Inconclusive => "inconclusive",
            Self::Slower => "SLOWER",
        }
    }
}

/// A comparison of two sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The engine.
    pub engine: Setup,
    /// The workload with its arguments, or what a mean is over.
    pub workload: String,
    /// Runs of the base; of a mean, of all its cells.
    pub base_n: usize,
    /// Runs of the head.
    pub head_n: usize,
    /// Head over base: of times, or of ratios to the reference. Of a cell and a yardstick, the one of both that is nearer to 1.
    pub ratio: f64,
    /// Lower end of the interval that covers those of both.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The part by which it may grow.
    pub threshold: f64,
    /// How it stands.
    pub standing: Standing,
    /// The ratio that raised the suspicion, where it was measured again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
}

/// What the name of a mean begins with, in the place of a workload.
const MEAN: &str = "geometric mean";

impl Judged {
    /// Whether it is the mean of an engine.
    #[must_use]
    pub fn is_mean(&self) -> bool {
        self.workload.starts_with(MEAN)
    }
}

/// What is compared: the ratios of a head, with those of a baseline; or by themselves, where they are to another build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) base: Option<&'a Samples>,
    pub(super) head: &'a Samples,
}

/// How sides are compared.
pub(super) struct Judge<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rules: Rules,
    /// Whether the head is held against another day: then ratios to the reference are compared, else times.
    pub(super) by_reference: bool,
    pub(super) seed: u64,
}

/// The part of its threshold by which a time must have grown to be looked at again. A regression of just over twice the
/// threshold, as a mean of 5%, must not hide in the noise of a few rounds.
const SUSPICION: f64 = 0.5;
/// The part of the intervals of a first measurement that hold their values.
const SCREEN_LEVEL: f64 = 0.8;
/// The lower ends of all second measurements lie below their values together with this probability.
const CONFIRM_LEVEL: f64 = 0.9;

/// A program is left out of means while the reference's own time for it, among its other programs, is off by more than this part
/// of what it was in the base, and surely off: then the host's memory is another, and its ratios say more of that than of an engine.
const STEADY: f64 = 0.05;
/// How sure that is.
const STEADY_LEVEL: f64 = 0.99;

/// The ratio from which on a time with this threshold is looked at again.
fn suspicious(threshold: f64) -> f64 {
    1.0 + threshold * SUSPICION
}

/// What the lower end of a first interval must lie beyond to raise suspicion: a mean is suspect by its ratio alone. Among so
/// many cells there are always some whose few runs gave a large one.
const fn floor(subject: Subject) -> f64 {
    match subject {
        Subject::Cell(_) => 1.0,
        Subject::Mean(_) => 0.0,
    }
}

/// Head over base; of a cell by each divisor.
///
/// What a host's neighbours do to its memory moves the ratio to the same workload one way where the reference feels more of
/// it than the engine, and the ratio to the yardstick the other way, since that feels none. A regression moves both. So a time
/// has grown by what both say at least.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Compared {
    /// The smaller ratio.
    least: f64,
    /// The larger ratio.
    most: f64,
    /// The interval that covers those of both.
    hull: Interval,
}

impl Compared {
    const fn of((ratio, hull): (f64, Interval)) -> Self {
        Self { least: ratio, most: ratio, hull }
    }

    fn and(self, other: Self) -> Self {
        let hull = Interval { low: self.hull.low.min(other.hull.low), high: self.hull.high.max(other.hull.high) };
        Self { least: self.least.min(other.least), most: self.most.max(other.most), hull }
    }

    /// The ratio nearer to 1.
    fn ratio(&self) -> f64 {
        if self.least.ln().abs() <= self.most.ln().abs() { self.least } else { self.most }
    }
}

impl Judge<'_> {
    /// Everything that the plan's times can say: the means first, then the cells, by engine.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let mut setups: Vec<Setup> = self.plan.cells.iter().map(|cell| cell.engine).collect();
        setups.sort_unstable();
        setups.dedup();
        let mut cells: Vec<usize> = (0..self.plan.cells.len()).filter(|&cell| self.is_compared(cell)).collect();
        cells.sort_by_key(|&cell| self.plan.cells[cell].engine);
        let means = setups.into_iter().filter(|&setup| self.members(setup).len() > 1).map(Subject::Mean);
        means.chain(cells.into_iter().map(Subject::Cell)).collect()
    }

    fn is_compared(&self, cell: usize) -> bool {
        // A reference held against itself is 1.
        let with_reference = || self.plan.reference_of(cell).is_some_and(|reference| reference != cell);
        self.plan.is_timed(cell) && (!self.by_reference || with_reference())
    }

    /// The cells of an engine's mean.
    fn members(&self, engine: Setup) -> Vec<usize> {
        let is_member = |&cell: &usize| {
            let of = &self.plan.cells[cell];
            of.engine == engine && group(&of.workload).in_mean(false) && self.is_compared(cell)
        };
        (0..self.plan.cells.len()).filter(is_member).collect()
    }

    /// The cells that a subject rests on.
    pub(super) fn members_of(&self, subject: Subject) -> Vec<usize> {
        match subject {
            Subject::Cell(cell) => vec![cell],
            Subject::Mean(engine) => self.members(engine),
        }
    }

    /// The members of a mean whose reference is not what it was, each with how many times as long as in the base the reference
    /// takes for it, among its other programs. The members' own times have no part in it.
    fn unsteady_members(&self, members: &[usize], sides: Sides<'_>) -> Vec<(usize, f64)> {
        let Some(base) = sides.base else { return Vec::new() };
        let bootstrap = Bootstrap { resamples: 1000, level: STEADY_LEVEL, ..Bootstrap::new(self.seed) };
        let change = |&cell: &usize| {
            let (head, base) = (sides.head.reference_ratios(cell), base.reference_ratios(cell));
            let pair = Pair { numerator: &head, baseline: &base };
            let estimate = bootstrap.ratio(&format!("reference/{cell}"), pair)?;
            Some((cell, estimate.value, estimate.interval?))
        };
        let changes: Vec<(usize, f64, Interval)> = members.iter().filter_map(change).collect();
        // The yardstick changes too, and with it all of them.
        let Some(common) = median(&changes.iter().map(|&(_, change, _)| change).collect::<Vec<_>>()) else {
            return Vec::new();
        };
        let is_off = |&(_, change, interval): &(usize, f64, Interval)| {
            (change / common).ln().abs() > STEADY.ln_1p() && (interval.low > common || interval.high < common)
        };
        changes.into_iter().filter(is_off).map(|(cell, change, _)| (cell, change / common)).collect()
    }

    /// The cells that a subject rests on, of a mean those whose reference is what it was; all, if that leaves fewer than two.
    fn steady_members(&self, subject: Subject, sides: Sides<'_>) -> Vec<usize> {
        let members = self.members_of(subject);
        if matches!(subject, Subject::Cell(_)) {
            return members;
        }
        let unsteady = self.unsteady_members(&members, sides);
        let is_steady = |cell: &usize| unsteady.iter().all(|(other, _)| other != cell);
        let steady: Vec<usize> = members.iter().copied().filter(is_steady).collect();
        if steady.len() < 2 { members } else { steady }
    }

    /// The workloads that are left out of means, with how many times as long the reference takes for them as in the base, among
    /// its other programs.
    pub(super) fn unsteady(&self, sides: Sides<'_>) -> Vec<(String, f64)> {
        let mut found: Vec<(String, f64)> = Vec::new();
        for subject in self.subjects().into_iter().filter(|subject| matches!(subject, Subject::Mean(_))) {
            for (cell, change) in self.unsteady_members(&self.members_of(subject), sides) {
                let name = label(&self.plan.cells[cell]);
                if found.iter().all(|(known, _)| *known != name) {
                    found.push((name, change));
                }
            }
        }
        found
    }

    /// Head over base; `None` where a side has fewer than three samples.
    fn compare(&self, subject: Subject, sides: Sides<'_>, bootstrap: Bootstrap) -> Option<Compared> {
        let center = match subject {
            Subject::Cell(_) => Center::Median,
            // Its threshold is small, and with so many samples nothing that is far out stands alone.
            Subject::Mean(_) => Center::TrimmedMean,
        };
        let bootstrap = Bootstrap { center, ..bootstrap };
        let by = |divisor| self.ratio(subject, sides, divisor, bootstrap).map(Compared::of);
        let same = by(Divisor::Same)?;
        match subject {
            Subject::Cell(_) => Some(by(Divisor::Yardstick).map_or(same, |yardstick| same.and(yardstick))),
            // It rests on steady programs, and is finer than one program can be a yardstick for.
            Subject::Mean(_) => Some(same),
        }
    }

    /// Head over base by one divisor, with its interval.
    fn ratio(
        &self,
        subject: Subject,
        sides: Sides<'_>,
        divisor: Divisor,
        bootstrap: Bootstrap,
    ) -> Option<(f64, Interval)> {
        let ratios: Vec<(Vec<f64>, Vec<f64>)> = self
            .steady_members(subject, sides)
            .into_iter()
            .map(|cell| {
                let base = sides.base.map_or_else(|| vec![1.0; 3], |base| base.ratios_to(cell, divisor));
                (sides.head.ratios_to(cell, divisor), base)
            })
            .collect();
        let pairs: Vec<Pair<'_>> = ratios.iter().map(|(head, base)| Pair { numerator: head, baseline: base }).collect();
        let (engine, name) = self.names(subject);
        let mean = bootstrap.geometric_mean(&format!("{name}/{engine}"), &pairs)?;
        Some((mean.value, mean.interval?))
    }

    pub(super) fn names(&self, subject: Subject) -> (Setup, String) {
        match subject {
            Subject::Cell(cell) => (self.plan.cells[cell].engine, label(&self.plan.cells[cell])),
            Subject::Mean(engine) => (engine, format!("{MEAN} of {} programs", self.members(engine).len())),
        }
    }

    const fn threshold(&self, subject: Subject) -> f64 {
        match subject {
            Subject::Cell(_) => self.rules.cell,
            Subject::Mean(_) => self.rules.mean,
        }
    }

    fn judged(
        &self,
        subject: Subject,
        sides: Sides<'_>,
        bootstrap: Bootstrap,
        standing: impl Fn(Compared) -> Standing,
    ) -> Option<Judged> {
        let compared = self.compare(subject, sides, bootstrap)?;
        let (engine, workload) = self.names(subject);
        let members = self.members_of(subject);
        let runs = |side: &Samples| members.iter().map(|&cell| side.get(cell).len()).sum();
        Some(Judged {
            engine,
            workload,
            base_n: runs(sides.base.unwrap_or(sides.head)),
            head_n: runs(sides.head),
            ratio: compared.ratio(),
            low: compared.hull.low,
            high: compared.hull.high,
            threshold: self.threshold(subject),
            standing: standing(compared),
            first: None,
        })
    }

    /// Whether a first measurement raises suspicion: to look again costs seconds, to overlook costs a regression.
    fn is_suspect(&self, subject: Subject, compared: &Compared) -> bool {
        compared.least > suspicious(self.threshold(subject)) && compared.hull.low > floor(subject)
    }

    /// The verdict of the first measurement.
    pub(super) fn screen(&self, subject: Subject, sides: Sides<'_>) -> Option<Judged> {
        let most = 1.0 + self.threshold(subject);
        self.judged(subject, sides, self.screening(), |compared| {
            if self.is_suspect(subject, &compared) {
                Standing::Suspect
            } else if compared.most < 1.0 / most && compared.hull.high < 1.0 {
                Standing::Faster
            } else {
                Standing::Fine
            }
        })
    }

    /// The verdict of a look of the second, one of `suspects` in number: the lower ends of all looks at all of them hold
    /// together with 90%. A false alarm takes the suspicion of the first measurement besides.
    pub(super) fn confirm(&self, first: &Judged, subject: Subject, sides: Sides<'_>, suspects: usize) -> Judged {
        let most = 1.0 + self.threshold(subject);
        let again = self.judged(subject, sides, self.confirming(suspects), |compared| {
            if compared.hull.low > most {
                Standing::Slower
            } else if compared.least > most {
                Standing::Inconclusive
            } else {
                Standing::Cleared
            }
        });
        // Without enough good runs it can be neither confirmed nor cleared.
        let again = again.unwrap_or_else(|| Judged { standing: Standing::Inconclusive, ..first.clone() });
        Judged { first: first.first.or(Some(first.ratio)), ..again }
    }

    /// So many times slower, and it would have been suspected by the first measurement and slower by a second of it alone:
    /// each ratio and both ends of its interval would be larger by that factor.
    pub(super) fn least_noticed(&self, subject: Subject, first: Sides<'_>, second: Sides<'_>) -> Option<f64> {
        let threshold = self.threshold(subject);
        let screened = self.compare(subject, first, self.screening())?;
        let suspected = (suspicious(threshold) / screened.least).max(floor(subject) / screened.hull.low);
        let confirmed = self.compare(subject, second, self.confirming(1))?;
        Some(suspected.max((1.0 + threshold) / confirmed.hull.low))
    }

    /// The intervals of a first measurement: many are screened, and suspicion needs no fine ends.
    const fn screening(&self) -> Bootstrap {
        Bootstrap { resamples: 500, level: SCREEN_LEVEL, ..Bootstrap::new(self.seed) }
    }

    /// The intervals of a look of the second, where there are so many suspects.
    fn confirming(&self, suspects: usize) -> Bootstrap {
        let level = 1.0 - (1.0 - CONFIRM_LEVEL) * 2.0 / (suspects.max(1) * LOOKS) as f64;
        Bootstrap { resamples: 5000, level, ..Bootstrap::new(self.seed) }
    }
}

/// How many times the reference's time a cell takes, where it was measured beside it.
pub(super) fn slowdown(cell: usize, samples: &Samples, seed: u64) -> Option<Estimate> {
    Bootstrap { resamples: 1000, ..Bootstrap::new(seed) }.median(&format!("slowdown/{cell}"), &samples.ratios(cell))
}
