//! An engine that executes nothing, so that what drives engines can be tested without them.

use std::sync::Mutex;

use super::{Availability, Engine, EngineError, Job, StopFlag};
use crate::model::{EngineId, RunRecord, Status};

/// What a [`MockEngine`] does with a job.
type Script = dyn Fn(&Job<'_>, &mut RunRecord) + Send + Sync;

/// An engine whose runs are what a closure says, and which remembers the jobs it was given.
pub struct MockEngine {
    id: EngineId,
    availability: Availability,
    script: Box<Script>,
    jobs: Mutex<Vec<String>>,
}

impl MockEngine {
    /// An available engine. `script` fills in the record of each run, which starts out `ok` and empty.
    pub fn new(id: EngineId, script: impl Fn(&Job<'_>, &mut RunRecord) + Send + Sync + 'static) -> Self {
        let availability = Availability::Available { version: "mock".to_owned() };
        Self { id, availability, script: Box::new(script), jobs: Mutex::default() }
    }

    /// An engine that this host lacks.
    pub fn missing(id: EngineId, reason: &str, fix: &str) -> Self {
        let availability = Availability::Missing { reason: reason.to_owned(), fix: fix.to_owned() };
        Self { id, availability, script: Box::new(|_, _| ()), jobs: Mutex::default() }
    }

    /// The workloads of the runs so far, in order.
    pub fn ran(&self) -> Vec<String> {
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Engine for MockEngine {
    fn id(&self) -> EngineId {
        self.id
    }

    fn availability(&self) -> Availability {
        self.availability.clone()
    }

    fn run(&self, job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError> {
        if let Availability::Missing { reason, fix } = &self.availability {
            return Err(EngineError::Missing { engine: self.id, reason: reason.clone(), fix: fix.clone() });
        }
        self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(job.request.workload.clone());
        if stop.is_stopped() {
            return Ok(job.record(Status::Interrupted));
        }
        let mut record = job.record(Status::Ok);
        (self.script)(job, &mut record);
        Ok(record)
    }
}
