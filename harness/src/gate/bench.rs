//! Who makes the runs of a gate: one build, or two side by side.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::exact::ExactCell;
use super::plan::Plan;
use super::rules::REFERENCE_RUNS;
use super::samples::Samples;
use crate::engines::StopFlag;
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
    /// Makes the runs that are counted.
    pub exact: Box<dyn Executor + 'a>,
    /// Makes the runs that are timed.
    pub timed: Box<dyn Executor + 'a>,
}

/// The user stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

/// Makes the progress of so many runs visible.
type Show<'a> = dyn Fn(u32) -> Box<dyn Progress> + 'a;

/// Makes runs and keeps what they yield.
pub struct Bench<'a> {
    plan: &'a Plan,
    builds: Vec<Build<'a>>,
    show: Box<Show<'a>>,
    stop: &'a StopFlag,
    rng: ChaCha8Rng,
    runs: u32,
    problems: Vec<(BuildName, Problem)>,
    /// What each workload must compute: what the baseline says, or the first run.
    checksums: Vec<(String, Vec<String>, String)>,
}

impl<'a> Bench<'a> {
    /// A bench for a plan; the order of runs is drawn from `seed`.
    pub fn new(
        plan: &'a Plan,
        builds: Vec<Build<'a>>,
        seed: u64,
        show: impl Fn(u32) -> Box<dyn Progress> + 'a,
        stop: &'a StopFlag,
    ) -> Self {
        Self {
            plan,
            builds,
            show: Box::new(show),
            stop,
            rng: ChaCha8Rng::seed_from_u64(seed),
            runs: 0,
            problems: Vec::new(),
            checksums: Vec::new(),
        }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The builds, in the order of what their measurements are returned in.
    #[must_use]
    pub fn names(&self) -> Vec<BuildName> {
        self.builds.iter().map(|build| build.name).collect()
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
        let cells: Vec<usize> = (0..self.plan.cells.len()).collect();
        let mut counted = vec![Vec::new(); self.builds.len()];
        self.every(&cells, 1, true, |build, cell, record| counted[build].push(ExactCell::of(cell.1, record)))?;
        Ok(counted)
    }

    /// Times these cells in so many rounds, in every build; the reference more often.
    ///
    /// # Errors
    /// The user stopped it.
    pub fn time(&mut self, cells: &[usize], rounds: u32) -> Result<Vec<Samples>, Interrupted> {
        let repeated = |&cell: &usize| {
            let reference = self.plan.cells[cell].engine == self.plan.reference;
            std::iter::repeat_n(cell, if reference { REFERENCE_RUNS as usize } else { 1 })
        };
        let slots: Vec<usize> = cells.iter().flat_map(repeated).collect();
        let mut samples = vec![Samples::new(self.plan.cells.len()); self.builds.len()];
        self.every(&slots, rounds, false, |build, (cell, _), record| {
            if let Some(ns) = RunRow::from(record).time_ns() {
                samples[build].add(cell, ns as f64);
            }
        })?;
        Ok(samples)
    }

    /// Makes rounds of runs, each shuffled, the builds of a cell next to each other and in turn first, and takes in those
    /// that ended well.
    fn every(
        &mut self,
        slots: &[usize],
        rounds: u32,
        exact: bool,
        mut take: impl FnMut(usize, (usize, &Cell), &RunRecord),
    ) -> Result<(), Interrupted> {
        let total = slots.len() * rounds as usize * self.builds.len();
        let mut progress = (self.show)(u32::try_from(total).unwrap_or(u32::MAX));
        let mut estimate = Estimate::default();
        let mut left: Vec<usize> = slots.repeat(rounds as usize);
        let mut round = slots.to_vec();
        for _ in 0..rounds {
            round.shuffle(&mut self.rng);
            for &index in &round {
                left.pop();
                let mut order: Vec<usize> = (0..self.builds.len()).collect();
                // What the base computes first is what the head is held against.
                if !exact {
                    order.shuffle(&mut self.rng);
                }
                for build in order {
                    if self.stop.is_stopped() {
                        progress.finish();
                        return Err(Interrupted);
                    }
                    let cell = &self.plan.cells[index];
                    let ahead = left.iter().map(|&cell| (cell, self.plan.cells[cell].engine));
                    progress.begin(self.runs + 1, cell, estimate.remaining(ahead));
                    let start = std::time::Instant::now();
                    let record = self.run(build, index, exact);
                    estimate.add(index, cell.engine, start.elapsed());
                    progress.end();
                    match record {
                        Ok(record) => take(build, (index, cell), &record),
                        Err(problem) => progress.note(&format!(
                            "{}: {} on {}: {}",
                            self.builds[build].name.name(),
                            problem.workload,
                            problem.engine,
                            problem.message
                        )),
                    }
                }
            }
        }
        progress.finish();
        if self.stop.is_stopped() { Err(Interrupted) } else { Ok(()) }
    }

    /// One run, or what was wrong with it.
    fn run(&mut self, build: usize, index: usize, exact: bool) -> Result<RunRecord, Problem> {
        self.runs += 1;
        let cell = &self.plan.cells[index];
        let spec = RunSpec { run: self.runs, cell: cell.clone(), image_sha256: String::new() };
        let Build { exact: counting, timed, .. } = &mut self.builds[build];
        let executor = if exact { counting } else { timed };
        let record = settle(executor.execute(&spec, self.stop), &spec);
        let wrong = match record.status {
            Status::Ok => self.differs(cell, &record),
            Status::Interrupted => None,
            _ => Some(record.message.clone().unwrap_or_else(|| "the run did not end well".to_owned())),
        };
        match wrong {
            None => Ok(record),
            Some(message) => {
                let problem = Problem {
                    run: self.runs,
                    engine: cell.engine,
                    workload: cell.workload.clone(),
                    status: if record.status == Status::Ok { Status::Mismatch } else { record.status },
                    message,
                    console: String::new(),
                };
                self.problems.push((self.builds[build].name, problem.clone()));
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
