//! Who does one run.

use std::time::{Duration, Instant};

use crate::engines::StopFlag;
use crate::model::{RunRecord, Status};
use crate::results::Cell;

/// One run of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpec {
    /// Its number, from 1.
    pub run: u32,
    /// What to run on which engine.
    pub cell: Cell,
    /// SHA-256 of the program.
    pub image_sha256: String,
}

impl RunSpec {
    /// A record of this run that measured nothing.
    #[must_use]
    pub fn record(&self, status: Status, message: Option<String>) -> RunRecord {
        RunRecord {
            run: self.run,
            engine: self.cell.engine,
            workload: self.cell.workload.clone(),
            args: self.cell.args.clone(),
            image_sha256: self.image_sha256.clone(),
            status,
            checksum: None,
            roi_host_ns: None,
            roi_guest_ns: None,
            roi_began_ns: None,
            wall_ns: 0,
            startup_ns: None,
            guest_instructions: None,
            exit_code: None,
            message,
            console: String::new(),
            counters: Vec::new(),
            histograms: Vec::new(),
            command: Vec::new(),
            sandbox: None,
            placement: None,
            fence: None,
        }
    }
}

/// Does one run at a time.
pub trait Executor {
    /// Does the run; whatever goes wrong is in the record, and nothing of the run is left behind.
    ///
    /// Returns soon after `stop` is set.
    fn execute(&mut self, spec: &RunSpec, stop: &StopFlag) -> RunRecord;

    /// The time now; only an executor that starts nothing has another one than the host.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// What a [`MockExecutor`] does with a run.
type Script<'a> = dyn FnMut(&RunSpec, &StopFlag) -> RunRecord + 'a;

/// An executor that starts nothing, so that the rest of the studio can be tested.
pub struct MockExecutor<'a> {
    script: Box<Script<'a>>,
    now: Instant,
    /// What a run takes, if time is made up.
    step: Option<Duration>,
}

impl<'a> MockExecutor<'a> {
    /// An executor whose runs are what `script` says.
    pub fn new(script: impl FnMut(&RunSpec, &StopFlag) -> RunRecord + 'a) -> Self {
        Self { script: Box::new(script), now: Instant::now(), step: None }
    }

    /// Lets each run take so long, in a time that passes with runs alone.
    #[must_use]
    pub fn each_takes(mut self, time: Duration) -> Self {
        self.step = Some(time);
        self
    }
}

impl Executor for MockExecutor<'_> {
    fn execute(&mut self, spec: &RunSpec, stop: &StopFlag) -> RunRecord {
        self.now += self.step.unwrap_or_default();
        (self.script)(spec, stop)
    }

    fn now(&self) -> Instant {
        if self.step.is_some() { self.now } else { Instant::now() }
    }
}
