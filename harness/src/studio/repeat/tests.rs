use std::cell::RefCell;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::engines::StopFlag;
use crate::model::{EngineId, RunRecord};
use crate::report::summary::Summary;
use crate::results::testing::{meta, record};
use crate::results::{Cell, Experiment, ExperimentMeta, State, Writer, read};
use crate::studio::{MockExecutor, Outcome, RunSpec, Silent, conduct, order};

use EngineId::{EmuInterp, EmuNaive, Kvm, Native};

/// An experiment of these engines on one workload, with so many planned rounds.
fn plan(engines: &[EngineId], runs: u32) -> ExperimentMeta {
    let mut meta = meta();
    let cell = |&engine: &EngineId| Cell { engine: engine.into(), workload: "sieve".into(), args: vec!["1000".into()] };
    meta.plan.cells = engines.iter().map(cell).collect();
    meta.plan.runs_per_cell = runs;
    meta.order = order(engines.len(), runs, meta.plan.seed);
    meta
}

/// Conducts it; each run takes a second, and `noise` is the relative spread of each engine's times.
fn conducted(mut meta: ExperimentMeta, noise: impl Fn(EngineId) -> f64) -> (Outcome, Experiment) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut writer = Writer::create(dir.path(), &meta).expect("create");
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| timed(spec, &noise, &mut rng))
        .each_takes(Duration::from_secs(1));
    let outcome = conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
    let found = read(dir.path()).expect("read");
    assert_eq!(found.meta, meta, "the file says what the memory does");
    (outcome, found)
}

fn timed(spec: &RunSpec, noise: &impl Fn(EngineId) -> f64, rng: &mut ChaCha8Rng) -> RunRecord {
    let mut record = record(spec.run, spec.cell.engine);
    record.workload = spec.cell.workload.clone();
    record.roi_guest_ns = Some((1e6 * (1.0 + noise(spec.cell.engine.id) * rng.random_range(-1.0..1.0))) as u64);
    record
}

/// How often each engine ran.
fn counts(found: &Experiment, engines: &[EngineId]) -> Vec<usize> {
    engines.iter().map(|&e| found.runs.iter().filter(|r| r.engine == e).count()).collect()
}

#[test]
fn without_a_goal_the_plan_is_all() {
    let (outcome, found) = conducted(plan(&[Native, Kvm], 3), |_| 0.5);
    assert_eq!((outcome.done, outcome.reached), (6, None));
    assert_eq!(found.meta.order, order(2, 3, 1));
}

#[test]
fn noisy_cells_run_until_their_interval_is_narrow_and_quiet_ones_do_not() {
    let engines = [Native, Kvm, EmuInterp];
    let mut meta = plan(&engines, 3);
    meta.plan.precision = Some(0.02);
    let (outcome, found) = conducted(meta, |engine| if engine == EmuInterp { 0.06 } else { 0.001 });
    let counts = counts(&found, &engines);
    assert_eq!(counts[1], FEWEST, "kvm is precise as soon as that can be said");
    assert!(counts[2] > FEWEST && counts[2] < CAP as usize, "{counts:?}");
    assert_eq!(counts[0], counts[2], "native is what the noisy one is divided by");
    let reached = outcome.reached.expect("a precision was asked for");
    assert_eq!((reached.precise, reached.imprecise), (2, vec![]));
    // The report shows the very interval that was judged.
    let cell = Summary::new(&found).cell(EmuInterp, "sieve").expect("it ran").clone();
    let width = cell.ratio.expect("a ratio").relative_half_width().expect("an interval");
    assert!(width <= 0.02, "{width}");
    assert_eq!(found.runs.len(), found.meta.order.len());
    for (run, &cell) in found.runs.iter().zip(&found.meta.order) {
        assert_eq!(run.engine, found.meta.plan.cells[cell].engine, "the schedule is what was run");
    }
}

#[test]
fn what_never_becomes_precise_ends_at_the_cap_and_is_named() {
    let engines = [Native, Kvm];
    let mut meta = plan(&engines, 3);
    meta.plan.precision = Some(0.001);
    let (outcome, found) = conducted(meta, |_| 0.5);
    assert_eq!(counts(&found, &engines), [CAP as usize, CAP as usize]);
    let reached = outcome.reached.expect("a precision was asked for");
    assert_eq!((reached.precise, reached.imprecise.len()), (0, 1));
    let cell = &reached.imprecise[0];
    assert_eq!((cell.engine.id, cell.workload.as_str(), cell.n), (Kvm, "sieve", CAP as usize));
    assert!(cell.half_width.is_some_and(|width| width > 0.001));
    assert_eq!(outcome.state, State::Complete);
}

#[test]
fn a_budget_alone_is_filled_with_whole_rounds() {
    let engines = [Native, Kvm, EmuInterp];
    let mut meta = plan(&engines, 2);
    meta.plan.budget_s = Some(20);
    let (outcome, found) = conducted(meta, |_| 0.0);
    assert_eq!((outcome.done, found.meta.order.len()), (20, 20), "no run begins after 20 s");
    assert_eq!(outcome.state, State::Complete);
    for round in found.meta.order.chunks(3).take(6) {
        let mut sorted = round.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2]);
    }
}

#[test]
fn a_budget_cuts_what_was_planned_and_what_is_not_precise_yet() {
    let mut meta = plan(&[Native, Kvm], 10);
    meta.plan.budget_s = Some(7);
    let (outcome, found) = conducted(meta, |_| 0.0);
    assert_eq!((outcome.done, found.meta.order.as_slice()), (7, &order(2, 10, 1)[..7]));

    let mut meta = plan(&[Native, Kvm], 3);
    (meta.plan.budget_s, meta.plan.precision) = (Some(31), Some(0.001));
    let (outcome, _) = conducted(meta, |_| 0.5);
    assert_eq!(outcome.done, 31);
    assert_eq!(outcome.reached.expect("a precision was asked for").imprecise.len(), 1);
}

#[test]
fn precision_ends_before_the_budget() {
    let mut meta = plan(&[Native, Kvm], 3);
    (meta.plan.budget_s, meta.plan.precision) = (Some(1000), Some(0.02));
    let (outcome, _) = conducted(meta, |_| 0.001);
    assert_eq!(outcome.done, 2 * FEWEST);
}

#[test]
fn the_seed_decides_the_order() {
    let run = |seed| {
        let mut meta = plan(&[Native, Kvm, EmuInterp, EmuNaive], 2);
        meta.plan.seed = seed;
        meta.plan.precision = Some(0.02);
        conducted(meta, |_| 0.04).1.meta.order
    };
    let first = run(1);
    assert!(first.len() > 4 * FEWEST, "{first:?}");
    assert_eq!(first, run(1));
    assert_ne!(first[8..24], run(2)[8..24], "the same planned order, other added rounds");
}

#[test]
fn a_round_is_in_the_file_before_its_first_run() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut meta = plan(&[Native, Kvm], 1);
    meta.plan.budget_s = Some(9);
    let mut writer = Writer::create(dir.path(), &meta).expect("create");
    let seen = RefCell::new(Vec::new());
    let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| {
        let before = read(dir.path()).expect("readable at every moment");
        assert_eq!(before.meta.state, State::Running);
        let cell = before.meta.order[spec.run as usize - 1];
        assert_eq!(before.meta.plan.cells[cell], spec.cell);
        seen.borrow_mut().push(cell);
        record(spec.run, spec.cell.engine)
    })
    .each_takes(Duration::from_secs(1));
    conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
    assert_eq!((seen.borrow().len(), &*seen.borrow()), (9, &meta.order));
}

#[test]
fn cells_without_a_time_are_not_run_again_and_again() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut meta = plan(&[Native, Kvm, EmuInterp], 2);
    meta.plan.precision = Some(0.02);
    let mut writer = Writer::create(dir.path(), &meta).expect("create");
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| match spec.cell.engine.id {
        EmuInterp => spec.record(Status::Failed, Some("it broke".into())),
        _ => timed(spec, &|_| 0.001, &mut rng),
    });
    let outcome = conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).expect("conduct");
    assert_eq!((outcome.done, outcome.failed), (2 * FEWEST + 2, 2));
    let reached = outcome.reached.expect("a precision was asked for");
    assert_eq!(
        (reached.precise, reached.imprecise[0].engine.id, reached.imprecise[0].half_width),
        (1, EmuInterp, None)
    );
}

#[test]
fn the_empty_region_is_not_asked_for_a_precision() {
    let mut meta = plan(&[Native, Kvm], 2);
    meta.plan.precision = Some(0.02);
    for cell in &mut meta.plan.cells {
        cell.workload = "noop".into();
    }
    let (outcome, _) = conducted(meta, |_| 0.5);
    let reached = outcome.reached.expect("a precision was asked for");
    assert_eq!((outcome.done, reached.precise, reached.imprecise), (4, 0, vec![]));
}

#[test]
fn the_time_left_is_never_more_than_the_budget() {
    let mut plan = plan(&[Native, Kvm], 2).plan;
    let second = Duration::from_secs;
    assert_eq!(Repetition::new(&plan).left(Some(second(9)), second(5)), Some(second(9)));
    plan.budget_s = Some(20);
    let fills = Repetition::new(&plan);
    assert_eq!(fills.left(Some(second(9)), second(5)), Some(second(15)));
    assert_eq!(fills.left(None, second(25)), Some(second(0)));
    plan.precision = Some(0.02);
    let ends = Repetition::new(&plan);
    assert_eq!(ends.left(Some(second(9)), second(5)), Some(second(9)));
    assert_eq!(ends.left(Some(second(90)), second(5)), Some(second(15)));
    assert!(!ends.is_spent(second(19)) && ends.is_spent(second(20)));
}
