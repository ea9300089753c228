//! One round: some guests side by side, each in a process of its own.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::processes::Memory;
use super::watch::{Span, Watch};
use crate::engines::StopFlag;
use crate::model::{RunRecord, Status};
use crate::results::Cell;
use crate::studio::{ChildExecutor, RunSpec, settle};

/// How often processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Guests to run side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSpec {
    /// Number of the first guest's run; those of the others follow.
    pub first_run: u32,
    /// How many.
    pub guests: u32,
    /// What each of them runs.
    pub cell: Cell,
    /// SHA-256 of the program.
    pub image_sha256: String,
}

impl RoundSpec {
    /// The run of one of the guests, from 0.
    #[must_use]
    pub fn run(&self, guest: u32) -> RunSpec {
        RunSpec { run: self.first_run + guest, cell: self.cell.clone(), image_sha256: self.image_sha256.clone() }
    }
}

/// What one guest of a round yielded.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// Its run.
    pub record: RunRecord,
    /// Processor time of its processes in its region of interest, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Its memory while all guests of the round were in their regions of interest.
    pub memory: Option<Memory>,
}

impl Guest {
    /// A guest of which nothing but the record is known.
    #[must_use]
    pub const fn unwatched(record: RunRecord) -> Self {
        Self { record, cpu_ns: None, memory: None }
    }

    /// Its region of interest on the host's line of time.
    #[must_use]
    pub fn roi(&self) -> Option<Span> {
        let from = self.record.roi_began_ns?;
        Some(Span { from, to: from + self.time_ns()? })
    }

    /// Length of its region of interest, nanoseconds; see [`crate::results::RunRow::time_ns`].
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        self.record.roi_guest_ns.or(self.record.roi_host_ns).filter(|&ns| ns > 0)
    }
}

/// Runs guests side by side.
pub trait Crew {
    /// Does a round; one result per guest, in which is whatever went wrong. Nothing of the round is left behind.
    ///
    /// Returns soon after `stop` is set, or a guest failed: what the others do beside one guest less is not what was asked.
    fn round(&mut self, spec: &RoundSpec, stop: &StopFlag) -> Vec<Guest>;
}

/// Guests as processes of this program.
///
/// All processes are started at the same time. A guest that has ended is started again, unmeasured, until the first run
/// of every guest has ended: so each measured region of interest has as many neighbours at its end as at its beginning,
/// and none becomes faster because another was (Tuck and Tullsen, "Initial Observations of the Simultaneous
/// Multithreading Pentium 4 Processor", PACT 2003, repeat the shorter program for the same reason).
#[derive(Debug)]
pub struct Processes {
    executor: ChildExecutor,
}

impl Processes {
    /// A crew of processes that `executor` starts.
    #[must_use]
    pub const fn new(executor: ChildExecutor) -> Self {
        Self { executor }
    }
}

/// What the threads of a round share.
struct Round<'a> {
    executor: &'a ChildExecutor,
    spec: &'a RoundSpec,
    /// Held while the threads are made; each waits for it before it starts its process.
    gate: RwLock<()>,
    /// The process of each guest, 0 before there is one.
    leaders: Vec<AtomicU32>,
    /// Guests whose first run has not ended.
    left: AtomicUsize,
    /// Ends the measured runs.
    halt: StopFlag,
    /// Ends the runs that only keep the host full.
    over: StopFlag,
}

impl Round<'_> {
    /// The life of one guest; returns its first run.
    fn live(&self, guest: u32) -> RunRecord {
        drop(self.gate.read());
        let spec = self.spec.run(guest);
        let record = self.executor.run(&spec, &self.halt, |pid| {
            if let Some(leader) = self.leaders.get(guest as usize) {
                leader.store(pid, Ordering::Relaxed);
            }
        });
        let record = settle(record, &spec);
        if record.status != Status::Ok {
            self.abandon();
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.over.stop();
        }
        while !self.over.is_stopped() {
            if self.executor.run(&spec, &self.over, |_| ()).status != Status::Ok {
                break;
            }
        }
        record
    }

    fn abandon(&self) {
        self.halt.stop();
        self.over.stop();
    }

    /// Watches until the first run of every guest has ended.
    fn watch(&self, stop: &StopFlag) -> Watch {
        let mut watch = Watch::new(self.spec.cell.engine.id, self.leaders.len());
        while self.left.load(Ordering::SeqCst) > 0 {
            if stop.is_stopped() {
                self.abandon();
            }
            let known = |leader: &AtomicU32| Some(leader.load(Ordering::Relaxed)).filter(|&pid| pid != 0);
            let leaders: Vec<Option<u32>> = self.leaders.iter().map(known).collect();
            watch.look(&leaders);
            thread::sleep(LOOK_EVERY);
        }
        watch
    }
}

impl Crew for Processes {
    fn round(&mut self, spec: &RoundSpec, stop: &StopFlag) -> Vec<Guest> {
        let round = Round {
            executor: &self.executor,
            spec,
            gate: RwLock::new(()),
            leaders: (0..spec.guests).map(|_| AtomicU32::new(0)).collect(),
            left: AtomicUsize::new(spec.guests as usize),
            halt: StopFlag::new(),
            over: StopFlag::new(),
        };
        let (records, watch) = thread::scope(|scope| {
            let closed = round.gate.write();
            let lives: Vec<_> = (0..spec.guests)
                .map(|guest| {
                    let life = thread::Builder::new().name(format!("guest {guest}"));
                    let round = &round;
                    life.spawn_scoped(scope, move || round.live(guest)).inspect_err(|_| {
                        round.abandon();
                        round.left.fetch_sub(1, Ordering::SeqCst);
                    })
                })
                .collect();
            drop(closed);
            let watch = round.watch(stop);
            let records: Vec<RunRecord> = (0..)
                .zip(lives)
                .map(|(guest, life)| {
                    let failed = |why: String| spec.run(guest).record(Status::Failed, Some(why));
                    match life {
                        Ok(life) => {
                            life.join().unwrap_or_else(|_| failed("the thread that watched it failed".to_owned()))
                        }
                        Err(error) => failed(format!("cannot start a thread to watch it: {error}")),
                    }
                })
                .collect();
            (records, watch)
        });
        let mut guests: Vec<Guest> = records.into_iter().map(Guest::unwatched).collect();
        let rois: Option<Vec<Span>> = guests.iter().map(Guest::roi).collect();
        let all = rois.and_then(Span::common);
        let memory = all.and_then(|all| watch.memory(all));
        for (index, guest) in guests.iter_mut().enumerate() {
            guest.cpu_ns = guest.roi().and_then(|roi| watch.cpu_ns(index, roi));
            guest.memory = memory.as_ref().and_then(|memory| memory.get(index).copied());
        }
        guests
    }
}

/// What a [`MockCrew`] does with a round.
type Script<'a> = dyn FnMut(&RoundSpec, &StopFlag) -> Vec<Guest> + 'a;

/// A crew that starts nothing, so that what drives crews can be tested.
pub struct MockCrew<'a> {
    script: Box<Script<'a>>,
}

impl<'a> MockCrew<'a> {
    /// A crew whose rounds are what `script` says.
    pub fn new(script: impl FnMut(&RoundSpec, &StopFlag) -> Vec<Guest> + 'a) -> Self {
        Self { script: Box::new(script) }
    }
}

impl Crew for MockCrew<'_> {
    fn round(&mut self, spec: &RoundSpec, stop: &StopFlag) -> Vec<Guest> {
        (self.script)(spec, stop)
    }
}
