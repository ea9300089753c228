//! `evlab gate` and `evlab calibrate`, on small workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::common::{available, evlab, run, stderr, stdout};

const ENGINES: &str = "native,emu-dbt,emu-interp,emu-naive";

/// A baseline of counts, of two small workloads.
fn baseline(dir: &Path) -> PathBuf {
    let path = dir.join("base.json");
    let words = ["--update", "--times", "off", "--engines", ENGINES, "--workloads", "sieve,syscall", "--size", "0.2"];
    let output = gate(&path, &words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("holds the counts of 8 cells and the times of 0"), "{}", stdout(&output));
    path
}

fn gate(baseline: &Path, more: &[&str]) -> Output {
    run(&[&["gate", "--baseline", baseline.to_str().expect("a path")], more].concat())
}

/// The same with something planted into an engine.
fn planted(baseline: &Path, what: &str, more: &[&str]) -> Output {
    let mut command = evlab();
    command.env("EVLAB_PLANTED", what).args(["gate", "--baseline", baseline.to_str().expect("a path")]).args(more);
    command.output().expect("run evlab")
}

#[test]
fn the_same_build_passes_and_every_exit_more_fails() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let base = baseline(dir.path());
    for _ in 0..2 {
        let output = gate(&base, &["--times", "off"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("pass: the counts of 8 cells are equal"), "{}", stdout(&output));
    }
    for engine in ["emu-dbt", "emu-interp", "emu-naive"] {
        let output = planted(&base, &format!("{engine}:exit"), &["--times", "off"]);
        assert_eq!(output.status.code(), Some(1), "{engine}: {}", stdout(&output));
        let text = stdout(&output);
        assert!(text.lines().all(|line| !line.starts_with("differs") || line.contains(engine)), "{text}");
        assert!(text.contains("exit.intr"), "{text}");
    }
    let one = planted(&base, "emu-interp:exit", &["--times", "off", "--engines", "native,emu-dbt"]);
    assert_eq!(one.status.code(), Some(0), "the engine is left out: {}", stdout(&one));
}

#[test]
fn every_report_is_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let base = baseline(dir.path());
    let names = ["json", "markdown", "junit", "benchmark", "bencher"];
    let targets: Vec<String> = names.iter().map(|name| format!("{name}={}", dir.path().join(name).display())).collect();
    let mut words = vec!["--times", "off", "--json"];
    words.extend(targets.iter().flat_map(|target| ["--write", target.as_str()]));
    let output = planted(&base, "emu-interp:exit", &words);
    assert_eq!(output.status.code(), Some(1));
    let printed: Value = serde_json::from_str(&stdout(&output)).expect("JSON and nothing else");
    assert_eq!(printed["verdict"], "fail");
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("it is written");
    let written: Value = serde_json::from_str(&read("json")).expect("JSON");
    assert_eq!(written["deviations"], printed["deviations"]);
    assert!(read("markdown").contains("## evlab gate: FAIL") && read("junit").contains("<failure message="));
    for name in ["benchmark", "bencher"] {
        serde_json::from_str::<Value>(&read(name)).expect("JSON");
    }
    let nowhere = gate(&base, &["--write", "json=/nonexistent/gate.json"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("cannot write /nonexistent/gate.json"), "{}", stderr(&nowhere));
}

#[test]
fn what_is_no_baseline_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let base = baseline(dir.path());
    let text = fs::read_to_string(&base).expect("read");
    let refused = |text: &str, more: &[&str], expected: &str| {
        let path = dir.path().join("other.json");
        fs::write(&path, text).expect("write");
        let output = gate(&path, more);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{}{said}", stdout(&output));
        assert!(said.contains(expected) && said.lines().count() == 1, "{expected}: {said}");
    };
    refused("", &[], "is empty");
    refused("run,engine,workload\n1,kvm,sieve\n", &[], "is not a baseline");
    refused("{\"format\": 1}", &[], "is not a baseline");
    refused(&text[..text.len() / 2], &[], "is cut off at line");
    refused(&text.replacen("\"size\"", "\"sise\"", 1), &[], "is damaged: missing field `size`");
    refused(&text.replacen("\"evlab_baseline\": 1", "\"evlab_baseline\": 7", 1), &[], "use the evlab that wrote it");
    refused(&text.replace("\"sieve\"", "\"sifter\""), &[], "'sifter', which this evlab does not have");
    refused(
        &text,
        &["--engines", "kvm", "--times", "off"],
        "none of the chosen engines and workloads is in the baseline",
    );
    refused(&text, &["--engines", "emu-intrp"], "did you mean 'emu-interp'?");
    refused(&text, &["--size", "2"], "--size is up to the baseline");
    let missing = gate(&dir.path().join("missing.json"), &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("--update writes one"), "{}", stderr(&missing));
}

#[test]
fn another_kvm_backend_is_refused_while_kvm_is_compared() {
    if available(&["kvm"]).is_empty() {
        return;
    }
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("base.json");
    let words = ["--update", "--times", "off", "--engines", "native,kvm", "--workloads", "sieve", "--size", "0.2"];
    let output = gate(&path, &words);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read")).expect("JSON");
    assert_eq!(gate(&path, &["--times", "off"]).status.code(), Some(0));
    let backend = &mut json["host"]["kvm"]["backend"];
    *backend = if *backend == "VT-x" { "AMD-V".into() } else { "VT-x".into() };
    fs::write(&path, json.to_string()).expect("write");
    let output = gate(&path, &["--times", "off"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("was measured on the KVM backend"), "{}", stderr(&output));
    assert_eq!(gate(&path, &["--times", "off", "--engines", "native"]).status.code(), Some(0));
}

#[test]
fn two_builds_run_side_by_side() {
    let this = assert_cmd::cargo::cargo_bin!("evlab").to_str().expect("a path").to_owned();
    let small = ["--workloads", "sieve", "--size", "0.2", "--runs", "3", "--rerun", "3"];
    let words =
        [&["gate", "--base-bin", &this, "--engines", "native,emu-interp", "--times", "tell"][..], &small].concat();
    let output = run(&words);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("(evlab 0."), "the version of the base: {}", stdout(&output));
    let other = run(&["gate", "--base-bin", "/bin/true"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("/bin/true is not an evlab"), "{}", stderr(&other));
}

#[test]
fn times_are_measured_beside_the_reference() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("base.json");
    let small = ["--engines", "native,emu-interp", "--workloads", "sieve,noop,port_io", "--size", "0.2"];
    let output = gate(&path, &[&["--update", "--rerun", "3"][..], &small].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read")).expect("JSON");
    let times = json["times"].as_array().expect("times");
    assert_eq!(times.len(), 1, "the reference has none of its own, noop has none, and native does not run port_io");
    assert_eq!(times[0]["runs"].as_array().map(Vec::len), Some(6));
    let output = gate(&path, &["--times", "tell", "--runs", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("native does not run port_io"), "{}", stdout(&output));
}

#[test]
fn a_calibration_says_what_is_noticed_and_reports_show_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("deep/calibration.json");
    let file = path.to_str().expect("a path");
    let output = run(&[
        "calibrate",
        "--engines",
        "emu-interp",
        "--workloads",
        "sieve",
        "--rounds",
        "57",
        "--out",
        file,
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(json["power"]["gates"], 114);
    let subject = &json["power"]["subjects"][0];
    assert!(subject["power_95"].as_f64() >= subject["power_80"].as_f64(), "{subject}");
    assert_eq!(json, serde_json::from_str::<Value>(&fs::read_to_string(&path).expect("written")).expect("JSON"));
    let folder = dir.path().join("deep/experiment");
    let folder = folder.to_str().expect("a path");
    let page = |words: &[&str]| {
        assert_eq!(run(words).status.code(), Some(0));
        fs::read_to_string(Path::new(folder).join("report.html")).expect("a report")
    };
    let studio = page(&["studio", "--quick", "--engines", "native", "--workloads", "sieve", "--out", folder]);
    assert!(studio.contains("What this host can tell") && studio.contains("114 gates of this build against itself"));
    fs::write(&path, "{").expect("write");
    let damaged = page(&["report", folder]);
    assert!(!damaged.contains("What this host can tell") && damaged.contains("is no calibration of this evlab"));
}
