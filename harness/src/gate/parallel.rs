//! Runs that are counted and not timed are made several at a time: a deterministic guest counts the same beside others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::engines::StopFlag;
use crate::host::processors;
use crate::model::RunRecord;
use crate::studio::{Executor, RunSpec};

/// Who can be sent to another thread to make runs.
pub type Worker<'a> = Box<dyn Executor + Send + 'a>;

/// Most runs at a time: each has a guest's RAM.
const MOST: usize = 8;

/// How many runs this host makes at a time.
#[must_use]
pub fn at_once() -> usize {
    processors().min(MOST)
}

/// Makes all these runs, each by a worker that is free, and tells of each as it ends: its place, and how long it took. Yields
/// the records in the order of the runs; `None` if the user stopped it.
pub(super) fn execute_all(
    workers: &mut [Worker<'_>],
    specs: &[RunSpec],
    stop: &StopFlag,
    mut ended: impl FnMut(usize, Duration),
) -> Option<Vec<RunRecord>> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut records: Vec<Option<RunRecord>> = specs.iter().map(|_| None).collect();
    thread::scope(|scope| {
        for worker in workers {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while !stop.is_stopped() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(spec) = specs.get(place) else { break };
                    let start = Instant::now();
                    let record = worker.execute(spec, stop);
                    if sender.send((place, record, start.elapsed())).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (place, record, time) in receiver {
            ended(place, time);
            if let Some(slot) = records.get_mut(place) {
                *slot = Some(record);
            }
        }
    });
    // Those that had begun when it was stopped may have ended, but not all as runs do.
    records.into_iter().collect::<Option<_>>().filter(|_| !stop.is_stopped())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::gate::plan::tests::plan;
    use crate::model::{EngineId, Status};

    /// Makes each run wait for another one: one at a time would never end.
    struct Meeting<'a>(&'a Barrier);

    impl Executor for Meeting<'_> {
        fn execute(&mut self, spec: &RunSpec, _: &StopFlag) -> RunRecord {
            self.0.wait();
            spec.record(Status::Ok, None)
        }
    }

    /// Is stopped during its run.
    struct Stopped;

    impl Executor for Stopped {
        fn execute(&mut self, spec: &RunSpec, stop: &StopFlag) -> RunRecord {
            stop.stop();
            spec.record(Status::Interrupted, None)
        }
    }

    fn specs() -> Vec<RunSpec> {
        let cells = plan(&[EngineId::EmuInterp], &["sieve", "fib", "qsort", "sha256"]).cells;
        cells.into_iter().zip(1..).map(|(cell, run)| RunSpec { run, cell, image_sha256: String::new() }).collect()
    }

    #[test]
    fn runs_are_made_at_the_same_time_and_told_in_order() {
        let both = Barrier::new(2);
        let mut workers: [Worker<'_>; 2] = [Box::new(Meeting(&both)), Box::new(Meeting(&both))];
        let mut ended = Vec::new();
        let records = execute_all(&mut workers, &specs(), &StopFlag::new(), |place, _| ended.push(place));
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2, 3]);
        let runs: Vec<u32> = records.expect("nobody stopped it").iter().map(|record| record.run).collect();
        assert_eq!(runs, [1, 2, 3, 4]);
    }

    #[test]
    fn nothing_begins_once_the_user_stops_it() {
        let mut workers: [Worker<'_>; 1] = [Box::new(Stopped)];
        let mut ended = 0;
        assert_eq!(execute_all(&mut workers, &specs(), &StopFlag::new(), |_, _| ended += 1), None);
        assert_eq!(ended, 1);
        // Also in the last one: its record is not that of a whole run.
        assert_eq!(execute_all(&mut workers, &specs()[..1], &StopFlag::new(), |_, _| {}), None);
    }
}
