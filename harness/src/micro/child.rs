//! Runs each run as a process of this very program, `evlab event`.

use super::benchmark::{Benchmark, TIMEOUT_S};
use super::campaign::Runner;
use super::sample::Sample;
use crate::engines::StopFlag;
use crate::isolation::process::Process;
use crate::model::EngineId;

/// The runner of real measurements.
#[derive(Debug)]
pub struct ChildRunner<'a> {
    /// Leave the process that runs the guest all its rights.
    pub no_sandbox: bool,
    /// The user's wish to stop.
    pub stop: &'a StopFlag,
}

impl Runner for ChildRunner<'_> {
    fn run(&mut self, benchmark: &Benchmark, engine: EngineId, iterations: u64) -> Result<Sample, String> {
        let mut words: Vec<String> =
            ["event", benchmark.event.name(), "--engine", engine.name()].map(str::to_owned).to_vec();
        words.extend(["--ring".to_owned(), benchmark.ring.number().to_string()]);
        words.extend(["--count".to_owned(), iterations.to_string()]);
        if self.no_sandbox {
            words.push("--no-sandbox".to_owned());
        }
        let finished = Process::start(&words, TIMEOUT_S)
            .and_then(|process| process.finish(self.stop))
            .map_err(|error| format!("cannot start a process: {error}"))?;
        Sample::of(&finished.record()?, iterations)
    }
}
