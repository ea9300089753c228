//! A run of the oracle: many cases on two engines, on all processors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use emu_min::Config;

use super::catalog::Catalog;
use super::coverage::Coverage;
use super::generate::{Case, Generator};
use super::judge::{Judge, Verdict};
use super::shrink::shrink;
use crate::exec::{Difference, Engine, ExecError, FinalState, Runner, Snippet};

/// Cases that a worker takes at a time.
const BATCH: u64 = 64;

/// When a campaign ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Cases.
    pub cases: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
    /// Divergences of different kinds.
    pub findings: usize,
    /// Threads, each with both engines of its own.
    pub threads: usize,
}

/// A run of the oracle.
#[derive(Debug)]
pub struct Campaign {
    /// Seed of all cases.
    pub seed: u64,
    /// The judge and the judged.
    pub engines: [Engine; 2],
    /// How to make the CPU of each, where it is emu-min's.
    pub cpus: [Config; 2],
    /// When to end.
    pub limits: Limits,
    /// What is fuzzed.
    pub catalog: Catalog,
    /// How engines are opened: [`crate::exec::open`].
    pub open: Opener,
}

/// Opens an engine.
pub type Opener = fn(Engine, Config) -> Result<Box<dyn Runner>, ExecError>;

/// A divergence.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Number of the case it was found with; `None` for one of the corpus.
    pub index: Option<u64>,
    /// The case, shrunk.
    pub case: Case,
    /// How the two engines left it.
    pub states: [FinalState; 2],
    /// What differs.
    pub differences: Vec<Difference>,
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Cases done.
    pub cases: u64,
    /// Divergences found.
    pub findings: usize,
    /// Time since the start.
    pub elapsed: Duration,
}

/// What a campaign came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Cases executed on both engines.
    pub cases: u64,
    /// Cases about which nothing can be said, by reason.
    pub unjudged: BTreeMap<String, u64>,
    /// Divergences, one of each kind, in the order of their cases.
    pub findings: Vec<Finding>,
    /// Divergences of a kind already found.
    pub repeated: u64,
    /// Cases by instruction.
    pub coverage: Coverage,
    /// Time it took.
    pub elapsed: Duration,
}

/// What the workers share.
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    ended: AtomicBool,
    kinds: Mutex<BTreeSet<String>>,
    tally: Mutex<Tally>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Campaign {
    /// Runs until a limit is reached or `stop` says so; `progress` is called a few times a second.
    ///
    /// # Errors
    /// An engine is missing, or the host failed.
    pub fn run(&self, stop: impl Fn() -> bool, mut progress: impl FnMut(Progress)) -> Result<Tally, ExecError> {
        // Opened once here so that a missing engine is an error before any thread starts.
        for (engine, cpu) in self.engines.into_iter().zip(self.cpus) {
            (self.open)(engine, cpu)?;
        }
        let shared = Shared {
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            kinds: Mutex::default(),
            tally: Mutex::default(),
        };
        let begin = Instant::now();
        let failed = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.limits.threads.max(1)).map(|_| scope.spawn(|| self.worker(&shared))).collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                std::thread::sleep(Duration::from_millis(20));
                let findings = lock(&shared.kinds).len();
                let elapsed = begin.elapsed();
                progress(Progress { cases: shared.done.load(Ordering::Relaxed), findings, elapsed });
                let late = self.limits.time.is_some_and(|time| elapsed >= time);
                if late || findings >= self.limits.findings || stop() {
                    shared.ended.store(true, Ordering::Relaxed);
                }
            }
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            workers.into_iter().map(join).filter_map(Result::err).next()
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let mut tally = shared.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.elapsed = begin.elapsed();
        tally.findings.sort_by_key(|finding| finding.index);
        Ok(tally)
    }

    /// Executes one case and judges it: for the corpus.
    ///
    /// # Errors
    /// An engine is missing, or the host failed.
    pub fn replay(&self, case: &Case) -> Result<Option<Finding>, ExecError> {
        let mut pair = Pair::open(self)?;
        Ok(pair.diverges(&case.snippet)?.map(|(states, differences)| Finding {
            index: None,
            case: case.clone(),
            states,
            differences,
        }))
    }

    /// Works until the campaign ends, and ends it for all if it cannot go on.
    fn worker(&self, shared: &Shared) -> Result<(), ExecError> {
        /// Ends the campaign when dropped, by a panic of an engine too.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let end = End(&shared.ended);
        self.work(shared)?;
        std::mem::forget(end);
        Ok(())
    }

    fn work(&self, shared: &Shared) -> Result<(), ExecError> {
        let mut generator = Generator::new(self.seed, self.catalog.clone());
        let mut pair = Pair::open(self)?;
        let mut local = Tally::default();
        let (mut snippets, mut codes) = (Vec::new(), Vec::new());
        while !shared.ended.load(Ordering::Relaxed) {
            let first = shared.next.fetch_add(BATCH, Ordering::Relaxed);
            let count = self.limits.cases.map_or(BATCH, |cases| cases.saturating_sub(first).min(BATCH));
            if count == 0 {
                break;
            }
            snippets.clear();
            codes.clear();
            for index in first..first + count {
                let Case { snippet, code } = generator.case(index);
                snippets.push(snippet);
                codes.push(code);
            }
            let left = pair.left.run_many(&snippets);
            let right = pair.right.run_many(&snippets);
            let cases = snippets.iter().zip(&codes).zip(first..);
            for (((snippet, code), index), (left, right)) in cases.zip(left.into_iter().zip(right)) {
                local.cases += 1;
                let (left, right) = match (left, right) {
                    (Ok(left), Ok(right)) => (left, right),
                    (Err(ExecError::ChildDied { .. }), _) => {
                        *local.unjudged.entry("it destroyed the native runner".to_owned()).or_default() += 1;
                        continue;
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        return Err(ExecError::Case { index, source: Box::new(error) });
                    }
                };
                match pair.judge.judge(snippet, &left, &right) {
                    Verdict::Same => local.coverage.count(code, &left),
                    Verdict::Unjudged(reason) => *local.unjudged.entry(reason.to_owned()).or_default() += 1,
                    Verdict::Different(differences) => {
                        let case = Case { snippet: snippet.clone(), code: code.clone() };
                        local.repeated += u64::from(!self.examine(shared, &mut pair, &case, index, &differences)?);
                    }
                }
            }
            shared.done.fetch_add(count, Ordering::Relaxed);
        }
        let mut tally = lock(&shared.tally);
        tally.cases += local.cases;
        tally.repeated += local.repeated;
        tally.coverage.add(&local.coverage);
        for (reason, count) in local.unjudged {
            *tally.unjudged.entry(reason).or_default() += count;
        }
        Ok(())
    }

    /// Confirms, shrinks and keeps a divergence; `false` if its kind is known.
    fn examine(
        &self,
        shared: &Shared,
        pair: &mut Pair,
        case: &Case,
        index: u64,
        differences: &[Difference],
    ) -> Result<bool, ExecError> {
        if lock(&shared.kinds).contains(&kind(case, differences)) {
            return Ok(false);
        }
        if pair.diverges(&case.snippet)?.is_none() {
            *lock(&shared.tally).unjudged.entry("it did not happen again".to_owned()).or_default() += 1;
            return Ok(true);
        }
        let small = shrink(case, |snippet| pair.diverges(snippet).is_ok_and(|found| found.is_some()));
        let Some((states, found)) = pair.diverges(&small.snippet)? else {
            *lock(&shared.tally).unjudged.entry("it did not happen again".to_owned()).or_default() += 1;
            return Ok(true);
        };
        let mut kinds = lock(&shared.kinds);
        if kinds.len() >= self.limits.findings || !kinds.insert(kind(&small, &found)) {
            return Ok(false);
        }
        drop(kinds);
        let finding = Finding { index: Some(index), case: small, states, differences: found };
        lock(&shared.tally).findings.push(finding);
        Ok(true)
    }
}

/// What makes two divergences the same kind: the instructions, and what differs, without numbers.
fn kind(case: &Case, differences: &[Difference]) -> String {
    let mut text: Vec<String> = case.code.iter().map(|instruction| format!("{:?}", instruction.code())).collect();
    let mut what: BTreeSet<&str> = BTreeSet::new();
    for difference in differences {
        let name = difference.what.split(' ').next().unwrap_or_default();
        what.insert(match name {
            "end" | "rip" | "memory" | "rflags" | "mxcsr" | "fsw" | "ftw" | "fcw" => name,
            _ if name.starts_with("ymm") => "ymm",
            _ if name.starts_with("st") => "st",
            _ => "register",
        });
    }
    text.extend(what.into_iter().map(str::to_owned));
    text.join(" ")
}

/// Two engines and a judge.
struct Pair {
    left: Box<dyn Runner>,
    right: Box<dyn Runner>,
    judge: Judge,
}

/// The two final states and what differs.
type Divergence = ([FinalState; 2], Vec<Difference>);

impl Pair {
    fn open(campaign: &Campaign) -> Result<Self, ExecError> {
        let [left, right] = campaign.engines;
        let [left_cpu, right_cpu] = campaign.cpus;
        let open = campaign.open;
        Ok(Self {
            left: open(left, left_cpu)?,
            right: open(right, right_cpu)?,
            judge: Judge::new(campaign.catalog.clone()),
        })
    }

    /// Whether the engines disagree, each time of two.
    fn diverges(&mut self, snippet: &Snippet) -> Result<Option<Divergence>, ExecError> {
        let mut last = None;
        for _ in 0..2 {
            let left = self.left.run(snippet)?;
            let right = self.right.run(snippet)?;
            match self.judge.judge(snippet, &left, &right) {
                Verdict::Different(differences) => last = Some(([left, right], differences)),
                Verdict::Same | Verdict::Unjudged(_) => return Ok(None),
            }
        }
        Ok(last)
    }
}
