//! The run loop: does the runs of the schedule one by one and writes each as it ends.

use std::collections::HashSet;
use std::time::Instant;

use super::estimate::Estimate;
use super::executor::{Executor, RunSpec};
use super::progress::Progress;
use crate::engines::StopFlag;
use crate::model::{RunRecord, Status};
use crate::results::{CommandMeta, ExperimentMeta, Mismatch, Problem, RunRow, State, WriteError, Writer, judge};

/// Most characters of a failed run's console that are kept.
const CONSOLE_TAIL: usize = 2000;

/// What became of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it came to its end.
    pub state: State,
    /// Runs that ended, well or not.
    pub done: usize,
    /// Runs that were void because their checksum differs.
    pub mismatches: Vec<Mismatch>,
    /// Runs that failed or timed out.
    pub failed: usize,
}

/// Does the runs of `meta.order` that `executor` can do before `stop` is set, and writes them to `writer`.
///
/// A run that fails is recorded and the others go on; a cell that timed out once is not tried again, so that a hanging
/// engine cannot eat the day. At the end `meta` says how it went.
///
/// # Errors
/// [`WriteError`] if the results cannot be written any more. What was written before is kept.
pub fn conduct(
    meta: &mut ExperimentMeta,
    writer: &mut Writer,
    executor: &mut dyn Executor,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<Outcome, WriteError> {
    let order = meta.order.clone();
    let mut log = Log::default();
    let mut estimate = Estimate::default();
    let mut hung: HashSet<usize> = HashSet::new();
    meta.state = State::Complete;
    for (index, &cell) in order.iter().enumerate() {
        if stop.is_stopped() {
            meta.state = State::Interrupted;
            break;
        }
        if hung.contains(&cell) {
            progress.end();
            continue;
        }
        let ahead = order[index..].iter().filter(|c| !hung.contains(c));
        let left = estimate.remaining(ahead.map(|&c| (c, meta.plan.cells[c].engine)));
        let spec = spec(meta, index, cell);
        progress.begin(spec.run, &spec.cell, left);
        let start = Instant::now();
        let record = settle(executor.execute(&spec, stop), &spec);
        estimate.add(cell, spec.cell.engine, start.elapsed());
        if record.status == Status::Timeout {
            hung.insert(cell);
        }
        if record.status == Status::Interrupted {
            meta.state = State::Interrupted;
        }
        log.take(record, meta, writer, progress)?;
        progress.end();
        if meta.state == State::Interrupted {
            break;
        }
    }
    progress.finish();
    let mismatches = judge(&mut log.rows);
    meta.problems = log.problems(&mismatches);
    meta.ended = Some(jiff::Timestamp::now().to_string());
    if log.verdicts_changed() {
        writer.rewrite_runs(&log.rows)?;
    }
    writer.write_meta(meta)?;
    let failed = |r: &&RunRow| matches!(r.status, Status::Failed | Status::Timeout);
    Ok(Outcome { state: meta.state, done: log.rows.len(), failed: log.rows.iter().filter(failed).count(), mismatches })
}

fn spec(meta: &ExperimentMeta, index: usize, cell: usize) -> RunSpec {
    let cell = meta.plan.cells[cell].clone();
    let image = meta.images.iter().find(|i| i.name == cell.workload);
    RunSpec {
        run: u32::try_from(index + 1).unwrap_or(u32::MAX),
        image_sha256: image.map_or_else(String::new, |i| i.sha256.clone()),
        cell,
    }
}

/// The record under the name that the schedule gave it.
fn settle(record: RunRecord, spec: &RunSpec) -> RunRecord {
    let mut record = RunRecord {
        run: spec.run,
        engine: spec.cell.engine,
        workload: spec.cell.workload.clone(),
        args: spec.cell.args.clone(),
        ..record
    };
    if record.status == Status::Ok && record.checksum.is_none() {
        record.status = Status::Failed;
        record.message = Some("the program ended without its result line".to_owned());
    }
    record
}

/// What has been written so far.
#[derive(Default)]
struct Log {
    rows: Vec<RunRow>,
    /// The status that stands in the file for each row.
    written: Vec<Status>,
    failures: Vec<Problem>,
    shown: HashSet<u32>,
}

impl Log {
    /// Judges a run against those before it and writes it.
    fn take(
        &mut self,
        mut record: RunRecord,
        meta: &mut ExperimentMeta,
        writer: &mut Writer,
        progress: &mut dyn Progress,
    ) -> Result<(), WriteError> {
        self.rows.push(RunRow::from(&record));
        let mismatches = judge(&mut self.rows);
        if let Some(row) = self.rows.last() {
            record.status = row.status;
        }
        writer.append(&record)?;
        self.written.push(record.status);

        let mut news = remember_command(meta, &record);
        for mismatch in &mismatches {
            if self.shown.insert(mismatch.run) {
                progress.note(&format!("mismatch in {mismatch}: the run is void"));
                news = true;
            }
        }
        if !matches!(record.status, Status::Ok | Status::Mismatch) {
            let problem = problem(&record);
            if record.status != Status::Interrupted {
                progress.note(&format!(
                    "run {}: {} on {}: {}",
                    problem.run, problem.workload, problem.engine, problem.message
                ));
            }
            self.failures.push(problem);
            news = true;
        }
        if news {
            meta.problems = self.problems(&mismatches);
            let state = std::mem::replace(&mut meta.state, State::Running);
            let written = writer.write_meta(meta);
            meta.state = state;
            written?;
        }
        Ok(())
    }

    fn problems(&self, mismatches: &[Mismatch]) -> Vec<Problem> {
        let mut all = self.failures.clone();
        all.extend(mismatches.iter().map(|m| Problem {
            run: m.run,
            engine: m.engine,
            workload: m.workload.clone(),
            status: Status::Mismatch,
            message: format!("computed {}, expected {}", m.found, m.expected),
            console: String::new(),
        }));
        all.sort_by_key(|p| p.run);
        all
    }

    fn verdicts_changed(&self) -> bool {
        self.rows.iter().map(|r| r.status).ne(self.written.iter().copied())
    }
}

/// Keeps the command line of the first run of each cell that had one; whether it was new.
fn remember_command(meta: &mut ExperimentMeta, record: &RunRecord) -> bool {
    let known = |c: &CommandMeta| c.engine == record.engine && c.workload == record.workload;
    if record.command.is_empty() || meta.commands.iter().any(known) {
        return false;
    }
    meta.commands.push(CommandMeta {
        engine: record.engine,
        workload: record.workload.clone(),
        argv: record.command.clone(),
    });
    true
}

fn problem(record: &RunRecord) -> Problem {
    let console = record.console.trim_end();
    let skip = console.chars().count().saturating_sub(CONSOLE_TAIL);
    Problem {
        run: record.run,
        engine: record.engine,
        workload: record.workload.clone(),
        status: record.status,
        message: record.message.clone().unwrap_or_else(|| match record.exit_code {
            Some(code) => format!("the guest ended with exit code {code}"),
            None => "the run did not end well".to_owned(),
        }),
        console: console.chars().skip(skip).collect(),
    }
}
