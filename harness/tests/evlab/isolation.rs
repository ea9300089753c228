//! The isolation suite: everything is contained, and a bug that lets a guest out is noticed.

use std::fs;
use std::process::Output;

use serde_json::Value;

use tempfile::TempDir;

use crate::common::{run, stderr, stdout};

/// Runs the suite with its results in a folder that lives as long as the second value.
fn suite(args: &[&str]) -> (Output, TempDir) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    (run(&[&["isolation", "--out", out.to_str().expect("text")], args].concat()), dir)
}

fn findings(output: &Output) -> Vec<Value> {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|e| panic!("no JSON ({e}): {}", stderr(output)))
}

#[test]
fn every_attack_is_contained_on_every_engine() {
    let (output, _dir) = suite(&["--json"]);
    let findings = findings(&output);
    for finding in &findings {
        let engine = finding["engine"].as_str().expect("an engine");
        assert_ne!(finding["contained"], false, "{finding}");
        let ours = engine == "kvm" || engine.starts_with("emu-");
        assert_eq!(finding["memory_checked"], ours, "{finding}");
        if ours {
            assert!(finding["sandbox"].as_str().expect("known").contains("seccomp"), "{finding}");
        }
    }
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let attacks = evlab::isolation::attacks().len();
    assert_eq!(findings.len() % attacks, 0, "each engine has every attack");
    assert!(findings.len() >= 4 * attacks, "native and the emulators are everywhere");
    let applied = findings.iter().filter(|finding| finding["contained"] == true).count();
    assert!(applied >= 3 * attacks, "{applied} attacks were made");
}

#[test]
fn the_table_names_attacks_and_engines() {
    let (output, dir) = suite(&["--engines", "native,emu-interp", "--attacks", "triple-fault,ring3-stack"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("ATTACK"), "native emu-interp");
    assert_eq!(row("triple-fault"), "- triple fault");
    assert_eq!(row("ring3-stack"), "exit 139 exit 139");
    assert!(text.contains("all 3 attacks were contained"), "{text}");
    let out = dir.path().join("out");
    let page = fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("All 3 attacks were contained") && page.contains("exit 139"), "{page}");
    fs::remove_file(out.join("report.html")).expect("it was there");
    let rendered = run(&["report", out.to_str().expect("text")]);
    assert_eq!(rendered.status.code(), Some(0), "{rendered:?}");
    assert!(stdout(&rendered).contains("all 3 attacks were contained"), "{rendered:?}");
    assert!(fs::read_to_string(out.join("report.html")).expect("a page") == page, "the same data, the same page");
    let refused = run(&["report", out.to_str().expect("text"), "--with", "x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("leave it out"), "{}", stderr(&refused));
}

#[test]
fn an_unknown_attack_is_a_usage_error() {
    let output = run(&["isolation", "--attacks", "tripple-fault"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean 'triple-fault'?"), "{}", stderr(&output));
}

/// Runs one attack on all emulators with a bug planted, and returns what was wrong.
#[cfg(debug_assertions)]
fn breaches(bug: &str, attack: &str) -> Vec<String> {
    let engines = "emu-naive,emu-interp,emu-dbt";
    let (output, _dir) = suite(&["--json", "--engines", engines, "--attacks", attack, "--plant", bug]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let findings = findings(&output);
    assert_eq!(findings.len(), 3);
    findings
        .iter()
        .map(|finding| {
            assert_eq!(finding["contained"], false, "{finding}");
            let breaches = finding["breaches"].as_array().expect("a list").iter();
            breaches.map(|breach| breach.as_str().expect("a sentence")).collect::<Vec<_>>().join("; ")
        })
        .collect()
}

#[cfg(debug_assertions)]
#[test]
fn a_missing_privilege_check_is_noticed() {
    for breach in breaches("supervisor-check", "kernel-read") {
        assert!(breach.contains("escaped: read 0x"), "{breach}");
    }
    for breach in breaches("supervisor-check", "other-process") {
        assert!(breach.contains("escaped: process 2 reads"), "{breach}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_missing_bounds_check_is_noticed() {
    for breach in breaches("bounds-check", "wild-physical") {
        let place = "memory of the host process was written: 0 bytes above the end of guest RAM";
        assert!(breach.contains(place), "{breach}");
    }
}
