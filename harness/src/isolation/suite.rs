//! Runs an attack and, beside it, a guest that must not notice.

use std::io;

use super::attack::Attack;
use super::judge::{Finding, judge};
use super::process::{Finished, Process};
use crate::engines::StopFlag;
use crate::model::{EngineId, Status};

/// The guest beside the attack: a program that computes.
const WITNESS: &str = "sieve";
/// Its argument: some 10 ms of work on a fast engine, and less than a second on the slowest.
const WITNESS_SIZE: &str = "30000";
/// Its time limit, seconds.
const WITNESS_TIMEOUT_S: u64 = 60;

/// How the guests are run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Without the sandbox.
    pub no_sandbox: bool,
    /// A bug to plant, which only a build with debug assertions knows.
    pub plant: Option<String>,
}

/// The suite.
#[derive(Debug)]
pub struct Suite {
    options: Options,
    /// What the guest beside the attacks computes.
    right: String,
}

impl Suite {
    /// Prepares the suite: the program that runs beside the attacks is run natively, once, for its checksum.
    ///
    /// # Errors
    /// It could not be run.
    pub fn new(options: Options, stop: &StopFlag) -> io::Result<Self> {
        let mut suite = Self { options, right: String::new() };
        let finished = suite.witness(EngineId::Native)?.finish(stop)?;
        let record = finished.record().map_err(io::Error::other)?;
        match (record.status, record.checksum) {
            (Status::Ok, Some(checksum)) => suite.right = checksum,
            _ => return Err(io::Error::other(format!("{WITNESS} does not run natively: {:?}", record.message))),
        }
        Ok(suite)
    }

    /// Runs one attack on one engine.
    ///
    /// # Errors
    /// No process could be started or waited for.
    pub fn run(&self, engine: EngineId, attack: &Attack, stop: &StopFlag) -> io::Result<Finding> {
        if let Some(reason) = attack.not_on(engine) {
            return Ok(Finding::not_applicable(engine, attack, reason));
        }
        let witness = self.witness(engine)?;
        let attacker = self.attacker(engine, attack)?;
        let attacker: Finished = attacker.finish(stop)?;
        let witness = witness.finish(stop)?;
        Ok(judge(engine, attack, &attacker, &witness, &self.right))
    }

    fn attacker(&self, engine: EngineId, attack: &Attack) -> io::Result<Process> {
        let mut words = vec!["attack", attack.name, "--engine", engine.name()];
        if let Some(bug) = &self.options.plant {
            words.extend(["--plant", bug]);
        }
        self.start(words, &[], attack.timeout_s)
    }

    fn witness(&self, engine: EngineId) -> io::Result<Process> {
        let words = vec!["run", WITNESS, "--engine", engine.name(), "--json", "--ram", "64", "--prefault", "off"];
        self.start(words, &["--", WITNESS_SIZE], WITNESS_TIMEOUT_S)
    }

    fn start<'a>(&self, mut words: Vec<&'a str>, rest: &[&'a str], timeout_s: u64) -> io::Result<Process> {
        if self.options.no_sandbox {
            words.push("--no-sandbox");
        }
        words.extend(rest);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        Process::start(&words, timeout_s)
    }
}
