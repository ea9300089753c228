//! A small experiment for tests.

use super::{Cell, EngineMeta, ExperimentMeta, FORMAT, ImageMeta, Plan, SetUp, State, Tool};
use crate::model::{Bucket, Counter, EngineId, Histogram, RunRecord, Setup, Status};

/// An experiment of two engines and one workload, two runs each.
pub(crate) fn meta() -> ExperimentMeta {
    let cell = |engine: EngineId| Cell { engine: engine.into(), workload: "sieve".into(), args: vec!["1000".into()] };
    ExperimentMeta {
        format: FORMAT,
        state: State::Running,
        tool: Tool { version: "evlab 0.1.0".into(), git_commit: None },
        started: "2026-01-02T03:04:05Z".into(),
        ended: None,
        plan: Plan {
            profile: "quick".into(),
            runs_per_cell: 2,
            precision: None,
            budget_s: None,
            size: 1.0,
            seed: 1,
            ram_mib: 256,
            timeout_s: 60,
            prefault: true,
            cpu: Some("v3".into()),
            hz: None,
            deterministic: false,
            setup: Some(SetUp::Drawn),
            sandbox: Some("on".into()),
            emu: None,
            ablation: Vec::new(),
            cells: vec![cell(EngineId::Native), cell(EngineId::Kvm)],
        },
        order: vec![0, 1, 1, 0],
        host: serde_json::json!({ "hostname": "lab" }),
        engines: vec![EngineMeta { id: EngineId::Native, version: Some("1".into()), missing: None, fix: None }],
        images: vec![ImageMeta { name: "sieve".into(), sha256: "ab".repeat(32), bytes: 1 }],
        commands: vec![],
        problems: vec![],
    }
}

/// A histogram with these buckets.
pub(crate) fn histogram(latency: &str, buckets: &[(u64, u64, u64)]) -> Histogram {
    let bucket = |&(from_ns, to_ns, count): &(u64, u64, u64)| Bucket { from_ns, to_ns, count };
    Histogram { latency: latency.into(), buckets: buckets.iter().map(bucket).collect() }
}

/// A good run with two counters and a histogram.
pub(crate) fn record(run: u32, engine: impl Into<Setup>) -> RunRecord {
    let count = |counter: &str, value| Counter { source: "vmm".into(), counter: counter.into(), value };
    RunRecord {
        run,
        engine: engine.into(),
        workload: "sieve".into(),
        args: vec!["1000".into()],
        image_sha256: "ab".repeat(32),
        status: Status::Ok,
        checksum: Some("0123456789abcdef".into()),
        roi_host_ns: Some(1_000_000 + u64::from(run)),
        roi_guest_ns: None,
        roi_began_ns: None,
        wall_ns: 2_000_000,
        startup_ns: Some(300_000),
        guest_instructions: None,
        exit_code: Some(0),
        message: None,
        console: "result 0123456789abcdef\n".into(),
        counters: vec![count("exit.io", 3), count("total.exit.io", 9)],
        histograms: vec![histogram("exit.io", &[(100, 104, 2), (9000, 9500, 1)])],
        command: vec![],
        sandbox: None,
        placement: None,
        fence: None,
    }
}
