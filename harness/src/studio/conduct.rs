//! The run loop: does the runs of the schedule one by one and writes each as it ends.

use std::collections::HashSet;

use super::estimate::Estimate;
use super::executor::{Executor, RunSpec};
use super::progress::Progress;
use super::repeat::{Reached, Repetition};
use crate::engines::StopFlag;
use crate::model::{RunRecord, Status};
use crate::results::{CommandMeta, ExperimentMeta, Mismatch, Problem, RunRow, State, WriteError, Writer, judge};

/// Most characters of a failed run's console that are kept.
const CONSOLE_TAIL: usize = 2000;

/// What became of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it came to its end.
    pub state: State,
    /// Runs that ended, well or not.
    pub done: usize,
    /// Runs that were void because their checksum differs.
    pub mismatches: Vec<Mismatch>,
    /// Runs that failed or timed out.
    pub failed: usize,
    /// How precise the cells are, if a precision was asked for.
    pub reached: Option<Reached>,
}

/// Does the runs of `meta.order`, and the rounds that precision and budget add to it, that `executor` can do before `stop` is set, and writes them to `writer`.
///
/// A run that fails is recorded and the others go on; a cell that timed out once is not tried again, so that a hanging
/// engine cannot eat the day. Once the budget is spent no run begins. At the end `meta` says how it went.
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
    let started = executor.now();
    let mut repetition = Repetition::new(&meta.plan);
    let mut log = Log::default();
    let mut estimate = Estimate::default();
    let mut hung: HashSet<usize> = HashSet::new();
    meta.state = State::Complete;
    let mut index = 0;
    loop {
        let elapsed = executor.now().duration_since(started);
        if repetition.is_spent(elapsed) {
            meta.order.truncate(index);
            break;
        }
        if index == meta.order.len() && !extend(meta, writer, &mut repetition, &log.rows, &hung, progress)? {
            break;
        }
        if stop.is_stopped() {
            meta.state = State::Interrupted;
            break;
        }
        let cell = meta.order[index];
        index += 1;
        if hung.contains(&cell) {
            progress.end();
            continue;
        }
        let ahead = meta.order[index - 1..].iter().filter(|c| !hung.contains(c));
        let ahead = estimate.remaining(ahead.map(|&c| (c, meta.plan.cells[c].engine)));
        let left = repetition.left(ahead, elapsed);
        let spec = spec(meta, index, cell);
        progress.begin(spec.run, &spec.cell, left);
        let start = executor.now();
        let record = settle(executor.execute(&spec, stop), &spec);
        estimate.add(cell, spec.cell.engine, executor.now().duration_since(start));
        if record.status == Status::Timeout {
            hung.insert(cell);
        }
        if record.status == Status::Interrupted {
            meta.state = State::Interrupted;
        }
        log.take(record, meta, writer, progress)?;
        if let Some(row) = log.rows.last() {
            progress.measured(row);
        }
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
    Ok(Outcome {
        state: meta.state,
        done: log.rows.len(),
        failed: log.rows.iter().filter(failed).count(),
        mismatches,
        reached: repetition.reached(&log.rows, &meta.order),
    })
}

/// Adds a round to the schedule, on disk too; whether there was one to add.
fn extend(
    meta: &mut ExperimentMeta,
    writer: &Writer,
    repetition: &mut Repetition,
    rows: &[RunRow],
    hung: &HashSet<usize>,
    progress: &mut dyn Progress,
) -> Result<bool, WriteError> {
    let more = repetition.next(rows, &meta.order, hung);
    if more.is_empty() {
        return Ok(false);
    }
    progress.extend(u32::try_from(more.len()).unwrap_or(u32::MAX));
    meta.order.extend(more);
    write_running(meta, writer)?;
    Ok(true)
}

/// Writes `experiment.json` as that of an experiment that goes on.
fn write_running(meta: &mut ExperimentMeta, writer: &Writer) -> Result<(), WriteError> {
    let state = std::mem::replace(&mut meta.state, State::Running);
    let written = writer.write_meta(meta);
    meta.state = state;
    written
}

/// Run number `run` of the schedule.
fn spec(meta: &ExperimentMeta, run: usize, cell: usize) -> RunSpec {
    let cell = meta.plan.cells[cell].clone();
    let image = meta.images.iter().find(|i| i.name == cell.workload);
    RunSpec {
        run: u32::try_from(run).unwrap_or(u32::MAX),
        image_sha256: image.map_or_else(String::new, |i| i.sha256.clone()),
        cell,
    }
}

/// The record under the name that the schedule gave it; a run without a result is a failure.
pub(crate) fn settle(record: RunRecord, spec: &RunSpec) -> RunRecord {
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
            write_running(meta, writer)?;
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::model::EngineId;
    use crate::results::testing::{meta, record};
    use crate::results::{Experiment, read};
    use crate::studio::{MockExecutor, Silent};

    /// Conducts the test experiment with this executor, and reads what is then in the folder.
    fn conducted(script: impl FnMut(&RunSpec, &StopFlag) -> RunRecord) -> (Outcome, Experiment, TempDir) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut meta = meta();
        let mut writer = Writer::create(dir.path(), &meta).expect("create");
        let mut executor = MockExecutor::new(script);
        let outcome = conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
        let found = read(dir.path()).expect("read");
        assert_eq!(found.meta, meta, "the file says what the memory does");
        (outcome, found, dir)
    }

    fn engines(found: &Experiment) -> Vec<(u32, EngineId)> {
        found.runs.iter().map(|r| (r.run, r.engine.id)).collect()
    }

    #[test]
    fn the_schedule_is_followed() {
        let (outcome, found, _dir) = conducted(|spec, _| record(spec.run, spec.cell.engine));
        assert_eq!(outcome, Outcome { state: State::Complete, done: 4, mismatches: vec![], failed: 0, reached: None });
        use EngineId::{Kvm, Native};
        assert_eq!(engines(&found), [(1, Native), (2, Kvm), (3, Kvm), (4, Native)]);
        assert_eq!(found.meta.state, State::Complete);
        assert!(found.meta.ended.is_some());
        assert!(found.meta.problems.is_empty());
    }

    #[test]
    fn each_row_is_in_the_file_when_its_run_has_ended() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut meta = meta();
        let mut writer = Writer::create(dir.path(), &meta).expect("create");
        let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| {
            let before = read(dir.path()).expect("readable at every moment");
            assert_eq!(before.runs.len() + 1, spec.run as usize);
            assert_eq!(before.meta.state, State::Running);
            record(spec.run, spec.cell.engine)
        });
        conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
    }

    #[test]
    fn a_stop_keeps_what_was_measured() {
        let (outcome, found, _dir) = conducted(|spec, stop| {
            if spec.run < 3 {
                return record(spec.run, spec.cell.engine);
            }
            stop.stop();
            spec.record(Status::Interrupted, None)
        });
        assert_eq!(outcome.state, State::Interrupted);
        assert_eq!(found.meta.state, State::Interrupted);
        assert_eq!(found.runs.iter().filter(|r| r.status == Status::Ok).count(), 2);
        assert_eq!(found.runs.len(), 3, "the stopped run is on record, and the last one never began");
    }

    #[test]
    fn a_failing_run_does_not_stop_the_others() {
        let (outcome, found, _dir) = conducted(|spec, _| {
            if spec.run == 2 {
                let mut failed = spec.record(Status::Failed, Some("it broke".into()));
                failed.console = "x".repeat(10_000);
                return failed;
            }
            record(spec.run, spec.cell.engine)
        });
        assert_eq!((outcome.state, outcome.done, outcome.failed), (State::Complete, 4, 1));
        let problem = &found.meta.problems[0];
        assert_eq!((problem.run, problem.message.as_str()), (2, "it broke"));
        assert_eq!(problem.console.len(), CONSOLE_TAIL);
    }

    #[test]
    fn a_cell_that_hangs_is_not_tried_again() {
        let mut calls = 0;
        let (outcome, found, _dir) = conducted(|spec, _| {
            calls += 1;
            match spec.cell.engine.id {
                EngineId::Kvm => spec.record(Status::Timeout, None),
                engine => record(spec.run, engine),
            }
        });
        assert_eq!((calls, outcome.done, outcome.failed), (3, 3, 1));
        use EngineId::{Kvm, Native};
        assert_eq!(engines(&found), [(1, Native), (2, Kvm), (4, Native)]);
    }

    #[test]
    fn a_different_checksum_voids_the_run_even_when_it_came_first() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut meta = meta();
        meta.order = vec![1, 1, 0, 0];
        let mut writer = Writer::create(dir.path(), &meta).expect("create");
        let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| {
            let mut record = record(spec.run, spec.cell.engine);
            if spec.cell.engine == EngineId::Kvm {
                record.checksum = Some("f".repeat(16));
            }
            record
        });
        let outcome = conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
        assert_eq!(outcome.mismatches.iter().map(|m| m.run).collect::<Vec<_>>(), [1, 2]);
        let text = std::fs::read_to_string(dir.path().join("runs.csv")).expect("read");
        assert_eq!(text.matches(",mismatch,").count(), 2, "{text}");
        assert_eq!(text.matches(",ok,").count(), 2, "{text}");
        assert_eq!(meta.problems.len(), 2);
    }

    #[test]
    fn a_run_without_a_result_is_no_good_run() {
        let (outcome, found, _dir) = conducted(|spec, _| {
            let mut record = record(spec.run, spec.cell.engine);
            record.checksum = None;
            record
        });
        assert_eq!(outcome.failed, 4);
        assert!(found.meta.problems[0].message.contains("result"));
    }

    #[test]
    fn each_command_line_is_kept_once() {
        let (_, found, _dir) = conducted(|spec, _| {
            let mut record = record(spec.run, spec.cell.engine);
            if spec.cell.engine == EngineId::Kvm {
                record.command = vec!["qemu".into(), spec.run.to_string()];
            }
            record
        });
        assert_eq!(found.meta.commands.len(), 1);
        assert_eq!(found.meta.commands[0].argv, ["qemu", "2"]);
    }

    #[test]
    fn a_full_disk_ends_it_and_keeps_the_rows() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut meta = meta();
        let mut writer = Writer::create(dir.path(), &meta).expect("create");
        let path = dir.path().join("experiment.json.new");
        let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| {
            // A folder in the way of the new file refuses it like a full disk.
            std::fs::create_dir_all(&path).expect("create");
            let mut record = record(spec.run, spec.cell.engine);
            if spec.run == 2 {
                record.status = Status::Failed;
            }
            record
        });
        let error = conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new())
            .expect_err("experiment.json cannot be replaced");
        assert!(error.to_string().contains("experiment.json"), "{error}");
        assert_eq!(read(dir.path()).expect("the old files are whole").runs.len(), 2);
    }
}
