//! The micro-benchmarks: every event happens on every engine that can do it, with the exits that it should take.

use evlab::engines::{Availability, engine};
use evlab::host::{self, KvmBackend};
use evlab::micro::{Benchmark, Sample, benchmarks};
use evlab::model::{EngineId, RunRecord};
use serde_json::Value;

use crate::common::{run, stderr, stdout};

/// Iterations of each: enough to tell a miscount, few enough for a backend whose events take half a millisecond.
const COUNT: u64 = 40;

/// Whether the host has the engine; says so if not. In CI it must.
fn has(id: EngineId) -> bool {
    match engine(id).availability() {
        Availability::Available { .. } => true,
        Availability::Missing { reason, .. } => {
            assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "{id}: {reason}");
            eprintln!("skipped on {id}: {reason}");
            false
        }
    }
}

fn backend() -> KvmBackend {
    host::describe().kvm.backend
}

/// Runs one event once.
fn once(benchmark: &Benchmark, engine: EngineId) -> Result<Sample, String> {
    let (count, ring) = (COUNT.to_string(), benchmark.ring.number().to_string());
    let words = ["event", benchmark.event.name(), "--engine", engine.name(), "--ring", &ring, "--count", &count];
    let output = run(&words);
    let record: RunRecord =
        serde_json::from_str(&stdout(&output)).map_err(|e| format!("no record ({e}): {}", stderr(&output)))?;
    Sample::of(&record, COUNT)
}

/// Runs every event that the engine can do, and returns how many that were.
fn all_on(engine: EngineId, backend: KvmBackend) -> usize {
    let mut done = 0;
    for benchmark in benchmarks() {
        if benchmark.absent(engine, backend).is_some() {
            continue;
        }
        let sample = once(&benchmark, engine).unwrap_or_else(|why| panic!("{benchmark} on {engine}: {why}"));
        assert_eq!(sample.objection(&benchmark), None, "{benchmark} on {engine}");
        let ours = engine == EngineId::Kvm || engine.has_emulated_cpu();
        assert_eq!(sample.exits.is_some(), ours, "{benchmark} on {engine}");
        assert_eq!(sample.instructions.is_some(), engine.has_emulated_cpu(), "{benchmark} on {engine}");
        done += 1;
    }
    done
}

#[test]
fn every_event_on_the_emulators() {
    for engine in [EngineId::EmuNaive, EngineId::EmuInterp, EngineId::EmuDbt] {
        assert!(all_on(engine, KvmBackend::None) > 70, "all but hypercalls");
    }
}

#[test]
fn every_event_on_kvm() {
    if has(EngineId::Kvm) {
        assert!(all_on(EngineId::Kvm, backend()) > 65);
    }
}

#[test]
fn every_event_on_qemu() {
    for engine in [EngineId::QemuTcg, EngineId::QemuKvm] {
        if has(engine) {
            assert!(all_on(engine, backend()) > 65);
        }
    }
}

#[test]
fn every_event_natively() {
    assert!(all_on(EngineId::Native, KvmBackend::None) > 20);
}

#[test]
fn the_table_has_a_value_or_a_reason_everywhere() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("micro");
    let words = ["micro", "port-out,hypercall,hlt-wake", "--engines", "native,emu-interp,emu-dbt", "--quick"];
    let output = run(&[&words[..], &["--json", "--seed", "7", "--out", out.to_str().expect("a path")]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let cells: Vec<Value> = serde_json::from_str(&stdout(&output)).expect("JSON");
    for cell in &cells {
        assert_ne!(cell["ns"].is_null(), cell["note"].is_null(), "a value or a reason: {cell}");
        assert_eq!(cell["wrong"], false, "{cell}");
    }
    let of = |event: &str, ring: u64, engine: &str| {
        cells.iter().find(|c| c["event"] == event && c["ring"] == ring && c["engine"] == engine).expect("the cell")
    };
    let port = of("port-out", 0, "emu-interp");
    assert_eq!((port["exits"].as_f64(), port["exits_expected"].as_f64()), (Some(1.0), Some(1.0)));
    assert_eq!(port["n"], 3);
    // One instruction beside the loop; the region of interest holds a few hundred besides, of both.
    let (instructions, iterations) = (port["instructions"].as_f64(), port["iterations"].as_f64());
    let off = (instructions.expect("counted") - 1.0).abs() * iterations.expect("known");
    assert!(off < 500.0, "{off} instructions too many or too few: {port}");
    assert_eq!(of("hlt-wake", 0, "emu-dbt")["exits"], 4.0, "three port writes and a halt");
    assert!(of("hypercall", 0, "emu-dbt")["note"].as_str().expect("a reason").contains("no hypervisor below"));
    for file in ["micro.csv", "micro-runs.csv", "micro.json", "report.html", "plots/micro-devices.svg"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let page = std::fs::read(out.join("report.html")).expect("a page");
    std::fs::remove_file(out.join("report.html")).expect("it was there");
    let rendered = run(&["report", out.to_str().expect("a path")]);
    assert_eq!(rendered.status.code(), Some(0), "{}", stderr(&rendered));
    assert!(stdout(&rendered).contains("port-out") && stdout(&rendered).contains("report.html"), "{rendered:?}");
    assert!(std::fs::read(out.join("report.html")).expect("a page") == page, "the same data, the same page");
    let again = run(&[&words[..], &["--out", out.to_str().expect("a path")]].concat());
    assert_eq!(again.status.code(), Some(2), "it does not write over results");
    assert!(stderr(&again).contains("already holds the results"), "{}", stderr(&again));
}

#[test]
fn what_cannot_be_measured_is_a_usage_error() {
    let refused = |words: &[&str], expected: &str| {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(expected), "{words:?}: {}", stderr(&output));
    };
    refused(&["micro", "syscal"], "unknown event 'syscal', did you mean 'syscall'?");
    refused(&["micro", "syscall", "--ring", "0"], "none of these events is measured in ring 0");
    refused(&["micro", "--ring", "1"], "give 0 or 3");
    refused(&["event", "syscall", "--engine", "native", "--ring", "0"], "syscall is not measured in ring 0");
}

#[test]
fn the_list_says_what_each_event_is() {
    let output = run(&["micro", "--list", "rdtsc"]);
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<String> =
        stdout(&output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["INSTRUCTIONS RING ONE OPERATION", "rdtsc 3 rdtsc", "rdtsc 0 rdtsc", ""]);
}
