//! The run loop: finds the work of each engine, does the rounds of the schedule one by one, writes each as it ends.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::calibrate::{Trial, Unfit, calibrate};
use super::crew::{Crew, Guest, RoundSpec};
use super::folder::CrowdWriter;
use super::meta::{CrowdMeta, CrowdProblem, EngineWork};
use super::rows::{GuestRow, judge};
use crate::engines::StopFlag;
use crate::model::{Setup, Status};
use crate::results::{Cell, State, WriteError};
use crate::studio::{Progress, order};

/// What became of a crowd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether it came to its end.
    pub state: State,
    /// Rounds that ended, well or not.
    pub done: usize,
    /// Rounds that were to be done.
    pub planned: usize,
    /// Whether every guest ended well and computed what it should.
    pub well: bool,
}

/// An engine with a number of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    engine: Setup,
    guests: u32,
}

/// Does all of `meta.plan` on `engines` that `crew` can do before `stop` is set. `args` has the program's arguments for a size
/// of the work. At the end `meta` says how it went.
///
/// An engine on which no guest ends well alone is left out. A number of guests with which one timed out is not tried again.
///
/// # Errors
/// [`WriteError`] if the results cannot be written any more. What was written before is kept.
pub fn conduct(
    meta: &mut CrowdMeta,
    engines: &[Setup],
    args: &dyn Fn(f64) -> Vec<String>,
    writer: &mut CrowdWriter,
    crew: &mut dyn Crew,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<Ended, WriteError> {
    let mut log = Log { writer, rows: Vec::new(), problems: Vec::new(), next_run: 1 };
    let ended = run(meta, engines, args, &mut log, crew, progress, stop);
    progress.finish();
    let ended = ended?;
    let mismatches = log.settle()?;
    meta.state = ended.state;
    meta.problems = log.problems;
    meta.ended = Some(jiff::Timestamp::now().to_string());
    log.writer.write_meta(meta)?;
    Ok(Ended { well: ended.well && mismatches == 0 && meta.problems.is_empty(), ..ended })
}

fn run(
    meta: &mut CrowdMeta,
    engines: &[Setup],
    args: &dyn Fn(f64) -> Vec<String>,
    log: &mut Log<'_>,
    crew: &mut dyn Crew,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<Ended, WriteError> {
    let rounds = |places: usize| places * meta.plan.rounds as usize;
    let mut ended =
        Ended { state: State::Complete, done: 0, planned: rounds(engines.len() * meta.plan.guests.len()), well: true };
    let mut places: Vec<Place> = Vec::new();
    let mut pace = Pace::default();
    for &engine in engines {
        let trial = Cell { engine, workload: format!("the size of {}", meta.plan.workload), args: Vec::new() };
        progress.begin(0, &trial, None);
        let found = size_of(engine, meta, args, log, crew, stop)?;
        if stop.is_stopped() {
            ended.state = State::Interrupted;
            return Ok(ended);
        }
        match found {
            Ok(trial) => {
                pace.alone.push((engine, Duration::from_nanos(trial.wall_ns)));
                meta.plan.works.push(EngineWork { engine, size: trial.size, args: trial.args });
                places.extend(meta.plan.guests.iter().map(|&guests| Place { engine, guests }));
            }
            Err(unfit) => {
                let status = if let Unfit::Failed { status, .. } = unfit { status } else { Status::Failed };
                log.problem(engine, 1, status, unfit.to_string(), progress);
                ended.planned -= rounds(meta.plan.guests.len());
            }
        }
    }
    log.writer.write_meta(meta)?;
    let order = order(places.len(), meta.plan.rounds, meta.plan.seed);
    let mut hung: HashSet<Place> = HashSet::new();
    for (index, &place) in order.iter().enumerate() {
        let place = places[place];
        if hung.contains(&place) {
            progress.end();
            continue;
        }
        let ahead = order[index..].iter().map(|&place| places[place]).filter(|place| !hung.contains(place));
        let left = pace.left(ahead, meta);
        let round = u32::try_from(index + 1).unwrap_or(u32::MAX);
        progress.begin(round, &shown(meta, place), Some(left));
        let started = Instant::now();
        let words = meta.plan.works.iter().find(|work| work.engine == place.engine);
        let words = words.map(|work| work.args.clone()).unwrap_or_default();
        let spec = log.spec(meta, place, words);
        let guests = crew.round(&spec, stop);
        pace.add(place, started.elapsed(), meta);
        if guests.iter().any(|guest| guest.record.status == Status::Timeout) {
            hung.insert(place);
        }
        log.take(round, &spec, &guests, progress)?;
        ended.done += 1;
        progress.end();
        if stop.is_stopped() {
            ended.state = State::Interrupted;
            break;
        }
    }
    Ok(ended)
}

/// What progress shows: so many guests of the workload.
fn shown(meta: &CrowdMeta, place: Place) -> Cell {
    let s = if place.guests == 1 { "" } else { "s" };
    let workload = format!("{} guest{s} with {}", place.guests, meta.plan.workload);
    Cell { engine: place.engine, workload, args: Vec::new() }
}

/// Finds the work of an engine's guests; each trial is written as round 0.
fn size_of(
    engine: Setup,
    meta: &CrowdMeta,
    args: &dyn Fn(f64) -> Vec<String>,
    log: &mut Log<'_>,
    crew: &mut dyn Crew,
    stop: &StopFlag,
) -> Result<Result<Trial, Unfit>, WriteError> {
    let mut written = Ok(());
    let alone = |words: &[String]| {
        let spec = log.spec(meta, Place { engine, guests: 1 }, words.to_vec());
        let guest = crew.round(&spec, stop).into_iter().next();
        let nothing = || Guest::unwatched(spec.run(0).record(Status::Failed, Some("it yielded nothing".to_owned())));
        let guest = guest.unwrap_or_else(nothing);
        let appended = log.append(0, &spec, std::slice::from_ref(&guest));
        if written.is_ok() {
            written = appended;
        }
        guest
    };
    let found = calibrate(meta.plan.size, args, alone);
    written.map(|()| found)
}

/// What has been written so far.
struct Log<'a> {
    writer: &'a mut CrowdWriter,
    rows: Vec<GuestRow>,
    problems: Vec<CrowdProblem>,
    next_run: u32,
}

impl Log<'_> {
    fn spec(&mut self, meta: &CrowdMeta, place: Place, args: Vec<String>) -> RoundSpec {
        let first_run = self.next_run;
        self.next_run += place.guests;
        let image = meta.images.iter().find(|image| image.name == meta.plan.workload);
        RoundSpec {
            first_run,
            guests: place.guests,
            cell: Cell { engine: place.engine, workload: meta.plan.workload.clone(), args },
            image_sha256: image.map_or_else(String::new, |image| image.sha256.clone()),
        }
    }

    /// Writes the guests of a round.
    fn append(&mut self, round: u32, spec: &RoundSpec, guests: &[Guest]) -> Result<(), WriteError> {
        let row = |(i, guest): (u32, &Guest)| GuestRow::new(round, spec.guests, i, guest);
        let rows: Vec<GuestRow> = (1..).zip(guests).map(row).collect();
        self.writer.append(&rows)?;
        self.rows.extend(rows);
        Ok(())
    }

    /// Writes the guests of a round and says what did not go well.
    fn take(
        &mut self,
        round: u32,
        spec: &RoundSpec,
        guests: &[Guest],
        progress: &mut dyn Progress,
    ) -> Result<(), WriteError> {
        self.append(round, spec, guests)?;
        // Where one fails the others are stopped, which is no failure of theirs.
        let failed = guests.iter().find(|g| matches!(g.record.status, Status::Failed | Status::Timeout));
        if let Some(Guest { record, .. }) = failed {
            let message = record.message.clone().unwrap_or_else(|| "it did not end well".to_owned());
            self.problem(spec.cell.engine, spec.guests, record.status, message, progress);
        }
        Ok(())
    }

    fn problem(&mut self, engine: Setup, guests: u32, status: Status, message: String, progress: &mut dyn Progress) {
        let message = message.lines().next().unwrap_or_default().to_owned();
        let problem = CrowdProblem { engine, guests, status, message };
        // What goes wrong in every round is said once.
        if !self.problems.contains(&problem) {
            progress.note(&problem.to_string());
            self.problems.push(problem);
        }
    }

    /// Compares all checksums; returns how many differ.
    fn settle(&mut self) -> Result<usize, WriteError> {
        let before: Vec<Status> = self.rows.iter().map(|row| row.status).collect();
        let mismatches = judge(&mut self.rows);
        for mismatch in &mismatches {
            let guests = self.rows.iter().find(|row| row.run == mismatch.run).map_or(1, |row| row.guests);
            let message = format!("a guest computed {}, expected {}", mismatch.found, mismatch.expected);
            let problem = CrowdProblem { engine: mismatch.engine, guests, status: Status::Mismatch, message };
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        if self.rows.iter().map(|row| row.status).ne(before) {
            self.writer.rewrite(&self.rows)?;
        }
        Ok(mismatches.len())
    }
}

/// How fast it goes: what a round should take if processors are divided evenly, and what rounds took.
#[derive(Debug, Default)]
struct Pace {
    /// From process start to end of a guest alone.
    alone: Vec<(Setup, Duration)>,
    expected: f64,
    took: f64,
}

impl Pace {
    fn expect(&self, place: Place, meta: &CrowdMeta) -> f64 {
        let alone = self.alone.iter().find(|(engine, _)| *engine == place.engine);
        let turns = f64::from(place.guests) / meta.plan.ideal(place.guests);
        alone.map_or(0.0, |(_, time)| time.as_secs_f64() * turns)
    }

    fn add(&mut self, place: Place, took: Duration, meta: &CrowdMeta) {
        self.expected += self.expect(place, meta);
        self.took += took.as_secs_f64();
    }

    fn left(&self, ahead: impl Iterator<Item = Place>, meta: &CrowdMeta) -> Duration {
        let expected: f64 = ahead.map(|place| self.expect(place, meta)).sum();
        let factor = if self.expected > 0.0 { self.took / self.expected } else { 1.0 };
        Duration::try_from_secs_f64(expected * factor).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{CROWD_CSV, MockCrew, read, summarize, testing};
    use crate::model::EngineId;
    use crate::studio::Silent;

    /// Conducts `kvm` and `native` on a mock crew, and reads the folder back.
    fn conducted(
        script: impl FnMut(&RoundSpec, &StopFlag) -> Vec<Guest>,
        stop: &StopFlag,
    ) -> (Ended, crate::crowd::Crowd, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut meta = testing::meta(2);
        let mut writer = CrowdWriter::create(dir.path(), &meta).expect("an empty folder");
        let engines = [EngineId::Native.into(), EngineId::Kvm.into()];
        let args = |size: f64| vec![((size * 1000.0).round() as u64).to_string()];
        let mut crew = MockCrew::new(script);
        let ended =
            conduct(&mut meta, &engines, &args, &mut writer, &mut crew, &mut Silent, stop).expect("it is written");
        let crowd = read(dir.path()).expect("it was just written");
        assert_eq!(crowd.meta, meta);
        (ended, crowd, dir)
    }

    #[test]
    fn every_number_of_guests_gets_its_rounds_in_a_shuffled_order() {
        let mut seen = Vec::new();
        let script = |spec: &RoundSpec, _: &StopFlag| {
            seen.push((spec.cell.engine, spec.guests, spec.cell.args.clone()));
            let size: f64 = spec.cell.args[0].parse().expect("a number");
            testing::fair(spec, 2, size / 1000.0 * 5e6)
        };
        let (ended, crowd, _dir) = conducted(script, &StopFlag::new());
        assert_eq!(ended, Ended { state: State::Complete, done: 18, planned: 18, well: true });
        assert_eq!(crowd.meta.state, State::Complete);
        // Size 1 takes 5 ms, so that half a second is within reach of two steps.
        let trials = crowd.rows.iter().filter(|row| row.round == 0).count();
        assert_eq!(trials, 6, "three of each engine");
        let runs: Vec<u32> = crowd.rows.iter().map(|row| row.run).collect();
        let count = u32::try_from(runs.len()).expect("few");
        assert_eq!(runs, (1..=count).collect::<Vec<_>>(), "each guest has a number of its own");
        for engine in [EngineId::Native, EngineId::Kvm] {
            for guests in [1, 2, 4] {
                let rounds = seen[6..].iter().filter(|(e, n, _)| *e == engine && *n == guests).count();
                assert_eq!(rounds, 3, "{engine} {guests}");
            }
        }
        assert!(seen[6..].iter().all(|(_, _, args)| args == &seen[6].2), "all rounds do the same work");
        let sorted = seen[6..].is_sorted_by_key(|(e, n, _)| (*e, *n));
        assert!(!sorted, "they are interleaved");
        let points = summarize(&crowd.meta.plan, &crowd.rows);
        let four = points.iter().find(|p| p.engine == EngineId::Kvm && p.guests == 4).expect("measured");
        assert_eq!((four.n, four.of_ideal, four.fairness, four.pss), (3, Some(1.0), 1.0, Some(f64::from(6 << 20))));
    }

    #[test]
    fn a_guest_that_computes_something_else_is_a_mismatch() {
        let script = |spec: &RoundSpec, _: &StopFlag| {
            let mut guests = testing::fair(spec, 2, 5e8);
            if spec.guests == 4 && spec.cell.engine == EngineId::Kvm {
                guests[2].record.checksum = Some("beef".repeat(4));
            }
            guests
        };
        let (ended, crowd, dir) = conducted(script, &StopFlag::new());
        assert!(!ended.well);
        assert_eq!(crowd.meta.problems.len(), 1, "it is said once: {:?}", crowd.meta.problems);
        let text = crowd.meta.problems[0].to_string();
        assert!(text.starts_with("kvm with 4 guests: mismatch: a guest computed beef"), "{text}");
        let points = summarize(&crowd.meta.plan, &crowd.rows);
        assert!(!points.iter().any(|p| p.engine == EngineId::Kvm && p.guests == 4), "its rounds are void");
        let csv = std::fs::read_to_string(dir.path().join(CROWD_CSV)).expect("it is there");
        assert_eq!(csv.matches(",mismatch,").count(), 3, "the verdict is in the file");
    }

    #[test]
    fn an_engine_that_fails_alone_is_left_out_and_the_others_go_on() {
        let script = |spec: &RoundSpec, _: &StopFlag| {
            if spec.cell.engine == EngineId::Kvm {
                let record = spec.run(0).record(Status::Failed, Some("no /dev/kvm\nand a dump".to_owned()));
                return vec![Guest::unwatched(record)];
            }
            testing::fair(spec, 2, 5e8)
        };
        let (ended, crowd, _dir) = conducted(script, &StopFlag::new());
        assert_eq!((ended.well, ended.done, ended.planned), (false, 9, 9));
        assert_eq!(crowd.meta.problems[0].to_string(), "kvm with 1 guest: no /dev/kvm");
    }

    #[test]
    fn a_number_of_guests_that_timed_out_is_not_tried_again() {
        let mut tried = 0;
        let script = |spec: &RoundSpec, _: &StopFlag| {
            let mut guests = testing::fair(spec, 2, 5e8);
            if spec.guests == 4 && spec.cell.engine == EngineId::Kvm {
                tried += 1;
                guests[0].record.status = Status::Timeout;
            }
            guests
        };
        let (ended, crowd, _dir) = conducted(script, &StopFlag::new());
        assert_eq!((ended.well, ended.done, ended.planned), (false, 16, 18));
        assert_eq!((tried, crowd.meta.problems.len()), (1, 1));
    }

    #[test]
    fn what_was_measured_before_ctrl_c_is_kept() {
        let stop = StopFlag::new();
        let setter = stop.clone();
        let script = |spec: &RoundSpec, _: &StopFlag| {
            if spec.first_run > 10 {
                setter.stop();
                let stopped = |guest| Guest::unwatched(spec.run(guest).record(Status::Interrupted, None));
                return (0..spec.guests).map(stopped).collect();
            }
            testing::fair(spec, 2, 5e8)
        };
        let (ended, crowd, _dir) = conducted(script, &stop);
        assert_eq!((ended.state, crowd.meta.state), (State::Interrupted, State::Interrupted));
        assert!(ended.well && ended.done > 1 && ended.done < 18, "{ended:?}");
        assert!(crowd.rows.iter().any(|row| row.status == Status::Interrupted));
    }
}
