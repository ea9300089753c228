//! Who makes the runs of a gate: one build, or two side by side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::exact::ExactCell;
use super::parallel::{Worker, execute_all};
use super::plan::Plan;
use super::samples::{Sample, Samples};
use crate::engines::StopFlag;
use crate::host::Pressure;
use crate::model::{RunRecord, Status};
use crate::results::{Cell, Problem, RunRow};
use crate::studio::{Estimate, Executor, Progress, RunSpec, settle};

/// Which build of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildName {
    /// The one that is judged.
    Head,
    /// The one that it is held against.
    Base,
}

impl BuildName {
    /// The word shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Base => "base",
        }
    }
}

/// A build of the program, by how its runs are made.
pub struct Build<'a> {
    /// Which.
    pub name: BuildName,
    /// Make the runs that are counted, one each at a time.
    pub exact: Vec<Worker<'a>>,
    /// Makes the runs that are timed.
    pub timed: Box<dyn Executor + 'a>,
}

/// The user stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

/// A run to be made.
#[derive(Debug, Clone, Copy)]
struct Step {
    build: usize,
    cell: usize,
}

/// What the user sees of the runs to be made.
struct Showing {
    progress: Box<dyn Progress>,
    estimate: Estimate,
    /// The runs to be made, the last first.
    left: Vec<Step>,
    /// How many have begun.
    begun: u32,
}

impl Showing {
    /// What these runs are for is said first.
    fn new(show: &Show<'_>, what: &str, mut steps: Vec<Step>) -> Self {
        let mut progress = show(u32::try_from(steps.len()).unwrap_or(u32::MAX));
        progress.note(&format!("{what}: {} runs", steps.len()));
        steps.reverse();
        Self { progress, estimate: Estimate::default(), left: steps, begun: 0 }
    }

    /// A run begins, one of so many at a time; all of them have at most that time left.
    fn begin(&mut self, step: Step, plan: &Plan, at_once: u32, most: Duration) {
        let ahead = self.left.iter().map(|step| (step.cell, plan.cells[step.cell].engine));
        let left = self.estimate.remaining(ahead).map(|left| (left / at_once.max(1)).min(most));
        self.left.pop();
        self.begun += 1;
        self.progress.begin(self.begun, &plan.cells[step.cell], left);
    }

    /// It has ended after so long.
    fn end(&mut self, step: Step, plan: &Plan, time: Duration) {
        self.estimate.add(step.cell, plan.cells[step.cell].engine, time);
        self.progress.end();
    }

    /// What went wrong with a run of a build.
    fn note(&mut self, build: BuildName, problem: &Problem) {
        let Problem { workload, engine, message, .. } = problem;
        self.progress.note(&format!("{}: {workload} on {engine}: {message}", build.name()));
    }
}

/// Of a workload's runs, each with the flanks before and after it: the reference, and the yardstick where flanks have two.
fn flanked(flank: usize, steps: &[Step], times: &[Option<f64>]) -> Vec<(usize, Sample)> {
    let sample = |at: usize| {
        let around = |place: usize| Some((times[at - flank + place]? * times[at + 1 + place]?).sqrt());
        let yardstick_ns = if flank > 1 { Some(around(1)?) } else { None };
        Some((steps[at].cell, Sample { ns: times[at]?, against_ns: around(0)?, yardstick_ns }))
    };
    (flank..steps.len().saturating_sub(flank)).step_by(flank + 1).filter_map(sample).collect()
}

/// Of the runs of both builds, the head's against the base's.
fn paired(steps: &[Step], times: &[Option<f64>]) -> Vec<(usize, Sample)> {
    let of = |build: usize| {
        let at = steps.iter().position(|step| step.build == build)?;
        times[at].map(|ns| (steps[at].cell, ns))
    };
    let sample = || {
        let ((_, against_ns), (cell, ns)) = (of(BASE)?, of(HEAD)?);
        Some((cell, Sample { ns, against_ns, yardstick_ns: None }))
    };
    sample().into_iter().collect()
}

/// A run of a cell.
fn spec(run: u32, cell: &Cell) -> RunSpec {
    RunSpec { run, cell: cell.clone(), image_sha256: String::new() }
}

/// The places of two builds in a bench.
const BASE: usize = 0;
const HEAD: usize = 1;

/// Rounds of runs.
pub(super) struct Rounds {
    /// What they yielded.
    pub(super) samples: Samples,
    /// How many there was time for.
    pub(super) made: u32,
}

impl Rounds {
    /// More rounds of the same cells, or of some of them.
    pub(super) fn add(&mut self, more: &Self) {
        self.samples.extend(&more.samples);
        self.made += more.made;
    }
}

/// The time since some beginning.
type Clock<'a> = dyn Fn() -> Duration + 'a;

/// Makes the progress of so many runs visible.
type Show<'a> = dyn Fn(u32) -> Box<dyn Progress> + 'a;

/// Makes runs and keeps what they yield.
pub struct Bench<'a> {
    plan: &'a Plan,
    builds: Vec<Build<'a>>,
    show: Box<Show<'a>>,
    stop: &'a StopFlag,
    /// How long the bench has been at work.
    clock: Box<Clock<'a>>,
    rng: ChaCha8Rng,
    runs: u32,
    problems: Vec<(BuildName, Problem)>,
    /// Whether it looks at the host's load, and the largest pressure of a measurement of times.
    watches_host: bool,
    pressure: Option<f64>,
    /// What each workload must compute: what the baseline says, or the first run.
    checksums: Vec<(String, Vec<String>, String)>,
}

impl<'a> Bench<'a> {
    /// A bench for a plan and the build that is judged, after the one that it is held against if that is another build; the
    /// order of runs is drawn from `seed`.
    pub fn new(
        plan: &'a Plan,
        base: Option<Build<'a>>,
        head: Build<'a>,
        seed: u64,
        show: impl Fn(u32) -> Box<dyn Progress> + 'a,
        stop: &'a StopFlag,
    ) -> Self {
        let start = Instant::now();
        Self {
            plan,
            builds: base.into_iter().chain([head]).collect(),
            show: Box::new(show),
            stop,
            clock: Box::new(move || start.elapsed()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            runs: 0,
            problems: Vec::new(),
            watches_host: false,
            pressure: None,
            checksums: Vec::new(),
        }
    }

    /// This bench, which also looks at how busy the host is while times are measured.
    #[must_use]
    pub fn watching_host(self) -> Self {
        Self { watches_host: true, ..self }
    }

    /// This bench, by another clock: one of a simulated host.
    #[cfg(test)]
    pub(super) fn by_clock(self, clock: impl Fn() -> Duration + 'a) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// How long it has been at work.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        (self.clock)()
    }

    /// The share of the time in which somebody waited for a processor, of the busiest measurement of times so far, 0 to 1;
    /// `None` if nobody looked, or the kernel does not say.
    #[must_use]
    pub const fn pressure(&self) -> Option<f64> {
        self.pressure
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// Runs that did not end well, and in which build.
    #[must_use]
    pub fn problems(&self) -> &[(BuildName, Problem)] {
        &self.problems
    }

    /// Runs made so far.
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.runs
    }

    /// Makes every run answer for what these cells computed.
    pub fn expect(&mut self, cells: &[ExactCell]) {
        for cell in cells {
            if let Some(checksum) = &cell.checksum {
                self.checksums.push((cell.cell.workload.clone(), cell.cell.args.clone(), checksum.clone()));
            }
        }
    }

    /// Counts each cell once, in every build.
    ///
    /// # Errors
    /// The user stopped it.
    pub fn count(&mut self) -> Result<Vec<Vec<ExactCell>>, Interrupted> {
        // The base first: what it computes is what the head must compute.
        let steps = |build| (0..self.plan.cells.len()).map(move |cell| Step { build, cell });
        let all = (0..self.builds.len()).flat_map(steps).collect();
        let mut show = Showing::new(&*self.show, "counting every cell once", all);
        let counted = (0..self.builds.len()).map(|build| self.count_in(build, &mut show)).collect();
        show.progress.finish();
        counted
    }

    fn count_in(&mut self, build: usize, show: &mut Showing) -> Result<Vec<ExactCell>, Interrupted> {
        let plan = self.plan;
        let specs: Vec<RunSpec> = plan.cells.iter().zip(self.runs + 1..).map(|(cell, run)| spec(run, cell)).collect();
        let Build { name, exact, .. } = &mut self.builds[build];
        let (name, at_once) = (*name, u32::try_from(exact.len()).unwrap_or(u32::MAX));
        let records = execute_all(exact, &specs, self.stop, |cell, time| {
            self.runs += 1;
            // They are shown as they end: several have begun.
            show.begin(Step { build, cell }, plan, at_once, Duration::MAX);
            show.end(Step { build, cell }, plan, time);
        });
        let mut counted = Vec::new();
        for (spec, record) in specs.iter().zip(records.ok_or(Interrupted)?) {
            match self.judged(name, spec, record) {
                Ok(record) => counted.push(ExactCell::of(&spec.cell, &record)),
                Err(problem) => show.note(name, &problem),
            }
        }
        Ok(counted)
    }

    /// Times these cells in so many rounds: next to the reference and the yardstick where there is one build, next to each
    /// other where there are two.
    ///
    /// # Errors
    /// The user stopped it.
    pub fn time(&mut self, cells: &[usize], rounds: u32) -> Result<Samples, Interrupted> {
        Ok(self.time_until(cells, rounds, Duration::MAX)?.samples)
    }

    /// The same, in the rounds that end, as far as those before them tell, until the bench has been at work for so long.
    ///
    /// # Errors
    /// The user stopped it.
    pub(super) fn time_until(&mut self, cells: &[usize], rounds: u32, until: Duration) -> Result<Rounds, Interrupted> {
        let order: Vec<Vec<Vec<Step>>> = (0..rounds).map(|_| self.round(cells)).collect();
        let what = format!("timing {} cells in {rounds} rounds", cells.len());
        let mut show = Showing::new(&*self.show, &what, order.concat().concat());
        let pressure = self.watches_host.then(Pressure::now);
        let start = self.elapsed();
        let mut taken = Rounds { samples: Samples::new(self.plan.cells.len()), made: 0 };
        for round in order {
            let now = self.elapsed();
            let usual = now.saturating_sub(start).checked_div(taken.made).unwrap_or_default();
            if now + usual > until {
                break;
            }
            for group in round {
                self.time_group(&group, &mut taken.samples, &mut show, until)?;
            }
            taken.made += 1;
        }
        show.progress.finish();
        self.pressure =
            pressure.and_then(|pressure| pressure.share()).into_iter().chain(self.pressure).reduce(f64::max);
        Ok(taken)
    }

    /// The runs of a round, in groups that are compared among themselves.
    fn round(&mut self, cells: &[usize]) -> Vec<Vec<Step>> {
        let mut round = if self.builds.len() == 1 { self.beside_reference(cells) } else { self.side_by_side(cells) };
        round.shuffle(&mut self.rng);
        round
    }

    fn time_group(
        &mut self,
        steps: &[Step],
        samples: &mut Samples,
        show: &mut Showing,
        until: Duration,
    ) -> Result<(), Interrupted> {
        let mut times = Vec::with_capacity(steps.len());
        for &step in steps {
            let record = self.step(step, show, until)?;
            times.push(record.and_then(|record| Some(RunRow::from(&record).time_ns()? as f64)));
        }
        let flank = 1 + usize::from(self.plan.yardstick().is_some());
        let taken = if self.builds.len() == 1 { flanked(flank, steps, &times) } else { paired(steps, &times) };
        for (cell, sample) in taken.into_iter().filter(|(_, sample)| sample.is_sound()) {
            samples.add(cell, sample);
        }
        Ok(())
    }

    /// A round for one build: of each workload the cells in random order, before and after each a run of the reference and one
    /// of the yardstick.
    fn beside_reference(&mut self, cells: &[usize]) -> Vec<Vec<Step>> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &cell in cells {
            if let Some(reference) = self.plan.reference_of(cell).filter(|&reference| reference != cell) {
                groups.entry(reference).or_default().push(cell);
            }
        }
        let steps = groups.into_iter().map(|(reference, mut cells)| {
            cells.shuffle(&mut self.rng);
            let flank = || std::iter::once(reference).chain(self.plan.yardstick());
            let flanked = cells.into_iter().flat_map(|cell| std::iter::once(cell).chain(flank()));
            flank().chain(flanked).map(|cell| Step { build: 0, cell }).collect()
        });
        steps.collect()
    }

    /// A round for two builds: of each cell both, either of them first.
    fn side_by_side(&mut self, cells: &[usize]) -> Vec<Vec<Step>> {
        let pair = |&cell: &usize| {
            let mut pair = [0, 1].map(|build| Step { build, cell });
            pair.shuffle(&mut self.rng);
            pair.to_vec()
        };
        cells.iter().map(pair).collect()
    }

    /// One timed run, shown; nothing if it did not end well.
    fn step(&mut self, step: Step, show: &mut Showing, until: Duration) -> Result<Option<RunRecord>, Interrupted> {
        if self.stop.is_stopped() {
            show.progress.finish();
            return Err(Interrupted);
        }
        self.runs += 1;
        let spec = spec(self.runs, &self.plan.cells[step.cell]);
        show.begin(step, self.plan, 1, until.saturating_sub(self.elapsed()));
        let start = Instant::now();
        let Build { name, timed, .. } = &mut self.builds[step.build];
        let (name, record) = (*name, timed.execute(&spec, self.stop));
        let record = self.judged(name, &spec, record);
        show.end(step, self.plan, start.elapsed());
        if self.stop.is_stopped() {
            show.progress.finish();
            return Err(Interrupted);
        }
        Ok(record.map_err(|problem| show.note(name, &problem)).ok())
    }

    /// The record of a run, or what was wrong with it.
    fn judged(&mut self, build: BuildName, spec: &RunSpec, record: RunRecord) -> Result<RunRecord, Problem> {
        let record = settle(record, spec);
        let wrong = match record.status {
            Status::Ok => self.differs(&spec.cell, &record),
            Status::Interrupted => None,
            _ => Some(record.message.clone().unwrap_or_else(|| "the run did not end well".to_owned())),
        };
        match wrong {
            None => Ok(record),
            Some(message) => {
                let problem = Problem {
                    run: spec.run,
                    engine: spec.cell.engine,
                    workload: spec.cell.workload.clone(),
                    status: if record.status == Status::Ok { Status::Mismatch } else { record.status },
                    message,
                    console: String::new(),
                };
                self.problems.push((build, problem.clone()));
                Err(problem)
            }
        }
    }

    /// What is wrong with the checksum of a run: all engines and runs must compute the same.
    fn differs(&mut self, cell: &Cell, record: &RunRecord) -> Option<String> {
        let found = record.checksum.clone().unwrap_or_default();
        let known = self.checksums.iter().find(|(workload, args, _)| *workload == cell.workload && *args == cell.args);
        match known {
            None => {
                self.checksums.push((cell.workload.clone(), cell.args.clone(), found));
                None
            }
            Some((_, _, expected)) => (*expected != found).then(|| format!("computed {found}, expected {expected}")),
        }
    }
}
