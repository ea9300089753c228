//! Measuring: interleaved runs of all cells, each a process that does its laps.

use std::time::Instant;

use super::cell::{Cell, Run};
use super::files::Files;
use super::laps::laps;
use crate::engines::StopFlag;
use crate::model::{RunRecord, Status};
use crate::results::{self, Mismatch, RunRow, WriteError, judge};
use crate::stats::Bootstrap;
use crate::studio::{self, Executor, Progress, RunSpec, settle};

/// What to measure.
#[derive(Debug)]
pub struct Plan {
    /// Every engine with every workload.
    pub cells: Vec<results::Cell>,
    /// Runs of each.
    pub runs: u32,
    /// Laps of each run.
    pub laps: u32,
    /// Seed of the order and of the intervals.
    pub seed: u64,
}

/// One cell while it is measured.
#[derive(Default)]
struct State {
    runs: Vec<Run>,
    note: Option<String>,
}

/// Measures what the plan says; yields a cell for each of the plan's, as far as it came before the user stopped it, and the
/// runs that computed something else than the others.
///
/// # Errors
/// The files cannot be written.
pub fn measure(
    plan: &Plan,
    executor: &mut dyn Executor,
    files: &mut Files,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<(Vec<Cell>, Vec<Mismatch>), WriteError> {
    let mut states: Vec<State> = plan.cells.iter().map(|_| State::default()).collect();
    let mut rows: Vec<RunRow> = Vec::new();
    let order = studio::order(plan.cells.len(), plan.runs, plan.seed);
    let begun = Instant::now();
    for (done, &index) in order.iter().enumerate() {
        if stop.is_stopped() {
            break;
        }
        let (Some(cell), Some(state)) = (plan.cells.get(index), states.get_mut(index)) else { continue };
        // What failed once would fail again.
        if state.note.is_none() {
            let left = (done > plan.cells.len().min(20))
                .then(|| begun.elapsed().mul_f64((order.len() - done) as f64 / done as f64));
            let run = u32::try_from(done + 1).unwrap_or(u32::MAX);
            progress.begin(run, cell, left);
            let record = once(cell, run, plan.laps, executor, stop);
            if record.status == Status::Interrupted {
                break; // what was cut short says nothing
            }
            let found = laps(&record, plan.laps);
            files.append(run, cell, &found)?;
            rows.push(RunRow::from(&record));
            match found {
                Ok(laps) => state.runs.extend(Run::new(laps)),
                Err(reason) => {
                    progress.note(&format!("{} on {}: {reason}", cell.workload, cell.engine));
                    state.note = Some(reason);
                }
            }
        }
        progress.end();
    }
    let mismatches = judge(&mut rows);
    let bootstrap = Bootstrap::new(plan.seed);
    let cells = plan.cells.iter().zip(states).map(|(cell, state)| {
        let wrong = mismatches.iter().find(|m| m.engine == cell.engine && m.workload == cell.workload);
        Cell::of(cell, &state.runs, state.note.or_else(|| wrong.map(ToString::to_string)), &bootstrap)
    });
    Ok((cells.collect(), mismatches))
}

fn once(cell: &results::Cell, run: u32, laps: u32, executor: &mut dyn Executor, stop: &StopFlag) -> RunRecord {
    let mut asked = cell.clone();
    asked.args.push(format!("{}{laps}", workloads::sizes::LAPS_PREFIX));
    let spec = RunSpec { run, cell: asked, image_sha256: String::new() };
    settle(executor.execute(&spec, stop), &spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EngineId;
    use crate::studio::{MockExecutor, Silent};
    use crate::warmup::Class;

    fn plan() -> Plan {
        let cell = |engine: EngineId| results::Cell {
            engine: engine.into(),
            workload: "sieve".into(),
            args: vec!["9".into()],
        };
        Plan { cells: [EngineId::Native, EngineId::EmuDbt].map(cell).into(), runs: 3, laps: 20, seed: 1 }
    }

    /// A record of laps of 1000 ns, of which the first takes so many times as long.
    fn record(spec: &RunSpec, cold: u64) -> RunRecord {
        let laps = (0..20).map(|lap| if lap == 0 { cold * 1000 } else { 1000 + lap % 3 });
        let lines: String = laps.map(|ticks| format!("lap {ticks}\n")).collect();
        RunRecord {
            checksum: Some("0123456789abcdef".to_owned()),
            console: format!("{lines}result 0123456789abcdef\nticks 30000\n"),
            roi_guest_ns: Some(30_000),
            ..spec.record(Status::Ok, None)
        }
    }

    fn measured(script: impl FnMut(&RunSpec, &StopFlag) -> RunRecord) -> (Vec<Cell>, Vec<Mismatch>, String) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut files = Files::create(dir.path()).expect("files");
        let mut executor = MockExecutor::new(script);
        let (cells, mismatches) =
            measure(&plan(), &mut executor, &mut files, &mut Silent, &StopFlag::new()).expect("it can be written");
        files.write_cells(&cells).expect("write");
        let text = std::fs::read_to_string(dir.path().join(super::super::LAPS_CSV)).expect("read");
        assert_eq!(
            std::fs::read_to_string(dir.path().join(super::super::WARMUP_CSV)).expect("read").lines().count(),
            3
        );
        (cells, mismatches, text)
    }

    #[test]
    fn laps_are_asked_for_and_classified() {
        let (cells, mismatches, text) = measured(|spec, _| {
            assert_eq!(spec.cell.args, ["9", "laps=20"]);
            record(spec, if spec.cell.engine == EngineId::EmuDbt { 4 } else { 1 })
        });
        assert!(mismatches.is_empty());
        assert_eq!((cells[0].class, cells[0].steady_from), (Some(Class::Flat), Some(1)));
        assert_eq!((cells[1].class, cells[1].steady_from), (Some(Class::WarmUp), Some(2)));
        assert_eq!(cells[1].first_over_steady.map(f64::round), Some(4.0));
        assert_eq!((cells[1].n, &cells[1].args[..]), (3, &["9".to_owned()][..]));
        assert_eq!(text.lines().count(), 1 + 2 * 3 * 20);
    }

    #[test]
    fn what_fails_is_not_tried_again() {
        let mut tried = 0;
        let (cells, ..) = measured(|spec, _| {
            if spec.cell.engine == EngineId::EmuDbt {
                tried += 1;
                return spec.record(Status::Failed, Some("it broke".to_owned()));
            }
            record(spec, 1)
        });
        assert_eq!((cells[1].n, cells[1].note.as_deref(), cells[1].class), (0, Some("it broke"), None));
        assert_eq!((cells[0].n, tried), (3, 1));
    }

    #[test]
    fn another_checksum_is_told() {
        let (cells, mismatches, _) = measured(|spec, _| {
            let good = record(spec, 1);
            let checksum = if spec.cell.engine == EngineId::EmuDbt { "f" } else { "0" }.repeat(16);
            RunRecord { checksum: Some(checksum), ..good }
        });
        assert_eq!(mismatches.len(), 3);
        assert!(cells[1].note.as_deref().is_some_and(|note| note.contains("expected 0000")), "{cells:?}");
        assert_eq!(cells[0].note, None);
    }
}
