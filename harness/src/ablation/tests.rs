//! A whole ablation with an executor that starts nothing: its schedule, its folder, its numbers.

use std::collections::BTreeMap;

use super::*;
use crate::engines::StopFlag;
use crate::model::{EngineId, Status};
use crate::report::summary::Summary;
use crate::results::testing::{meta, record};
use crate::results::{Experiment, Writer, read};
use crate::studio::{MockExecutor, RunSpec, Silent, Work, cells, conduct, order};

const RUNS: u32 = 3;

/// An ablation of two workloads, one of which native cannot run. A setup takes 64 ms, halved by each mechanism.
fn ablated() -> Experiment {
    let dir = tempfile::tempdir().unwrap();
    let steps = steps(&EngineId::ALL);
    let works = [("sieve", true), ("port_io", false)].map(|(name, native)| Work {
        name: name.into(),
        args: vec!["1000".into()],
        native,
    });
    let mut meta = meta();
    meta.plan.cells = cells(&setups(&steps), &works);
    meta.plan.ablation = steps;
    meta.plan.runs_per_cell = RUNS;
    meta.order = order(meta.plan.cells.len(), RUNS, 7);
    let mut writer = Writer::create(dir.path(), &meta).unwrap();
    let mut executor = MockExecutor::new(|spec: &RunSpec, _: &StopFlag| {
        let mut record = record(spec.run, spec.cell.engine);
        record.roi_guest_ns = Some(time(spec));
        record
    });
    conduct(&mut meta, &mut writer, &mut executor, &mut Silent, &StopFlag::new()).unwrap();
    read(dir.path()).unwrap()
}

fn time(spec: &RunSpec) -> u64 {
    let ms = |n: u64| n * 1_000_000;
    match spec.cell.engine.mechanisms() {
        None if spec.cell.engine == EngineId::Native => ms(1) / 64,
        None => ms(1) / 32,
        Some(mechanisms) => {
            let text = mechanisms.to_string();
            let on = ["cached", "tlb", "lazy"].iter().map(|on| text.matches(on).count()).sum::<usize>();
            ms(128) >> (on + text.matches("=on").count())
        }
    }
}

#[test]
fn every_setup_runs_equally_often_and_interleaved() {
    let experiment = ablated();
    let mut counts = BTreeMap::new();
    for run in &experiment.runs {
        *counts.entry((run.engine, run.workload.clone())).or_insert(0) += 1;
    }
    let setups = setups(&experiment.meta.plan.ablation);
    assert_eq!(counts.len(), 2 * setups.len() - 1, "native does not run port_io");
    assert!(counts.values().all(|&n| n == RUNS), "{counts:?}");
    // Each round holds every cell once, so no setup is measured in one go.
    let cells = experiment.meta.plan.cells.len();
    for round in experiment.runs.chunks(cells) {
        let mut seen: Vec<_> = round.iter().map(|r| (r.engine, &r.workload)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), cells);
    }
    assert!(experiment.runs.iter().all(|r| r.status == Status::Ok));
    assert_eq!(experiment.runs.iter().filter(|r| r.engine.name() == "emu-interp[link=off]").count(), 2 * RUNS as usize);
}

#[test]
fn factors_are_what_each_mechanism_saves() {
    let experiment = ablated();
    let summary = Summary::new(&experiment);
    let analysis = Analysis::new(&experiment, &summary).expect("it is an ablation");
    for row in analysis.rows.iter().filter(|r| r.workload == "sieve") {
        let step = &analysis.steps[row.step];
        // Two mechanisms stand on decoded blocks and go with them, three on the translator.
        let expected = match (step.kind, step.mechanism.as_deref()) {
            (Kind::First, _) => None,
            (Kind::Added, _) => Some(2.0),
            (Kind::Removed, Some("decode")) => Some(8.0),
            (Kind::Removed, Some("translate")) => Some(16.0),
            (Kind::Removed, _) => Some(2.0),
            (Kind::Engine, _) if step.engine == EngineId::Kvm => Some(4.0),
            (Kind::Engine, _) => Some(2.0),
        };
        assert_eq!(row.factor.map(|f| f.value), expected, "{}", step.name);
        assert_eq!(row.n, RUNS as usize, "{}", step.name);
    }
    let port_io =
        |name: &str| analysis.rows.iter().find(|r| r.workload == "port_io" && analysis.steps[r.step].name == name);
    assert!(port_io("native").is_none());
    assert_eq!(port_io("+mmu").unwrap().slowdown, None, "without native there is no slowdown against it");
    assert_eq!(port_io("+mmu").unwrap().factor.unwrap().value, 2.0);
    let mmu = analysis.effect(analysis.added("mmu").unwrap().0).unwrap();
    assert_eq!((mmu.workloads, mmu.mean.value), (1, 2.0), "system workloads are in no mean");
}

#[test]
fn the_table_keeps_its_format() {
    let experiment = ablated();
    let summary = Summary::new(&experiment);
    let text = to_csv(&Analysis::new(&experiment, &summary).unwrap()).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), ABLATION_COLUMNS);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * experiment.meta.plan.ablation.len() - 1);
    insta::assert_snapshot!(text.lines().take(30).collect::<Vec<_>>().join("\n"));
}

#[test]
fn another_experiment_is_no_ablation() {
    let experiment = crate::report::synthetic::full();
    assert!(Analysis::new(&experiment, &Summary::new(&experiment)).is_none());
}
