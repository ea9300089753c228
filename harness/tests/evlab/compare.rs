//! `evlab compare`, on the committed reference run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{run, stderr, stdout};

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/reference")
}

/// A copy of the reference run, with a change made to one of its files.
fn changed(dir: &Path, file: &str, change: impl Fn(String) -> String) -> PathBuf {
    let copy = dir.join("changed");
    fs::create_dir_all(&copy).expect("create");
    for name in ["experiment.json", "runs.csv", "counters.csv"] {
        let text = fs::read_to_string(reference().join(name)).expect("read");
        let text = if name == file { change(text) } else { text };
        fs::write(copy.join(name), text).expect("write");
    }
    copy
}

fn compared(old: &Path, new: &Path, more: &[&str]) -> std::process::Output {
    run(&[&["compare", old.to_str().expect("a path"), new.to_str().expect("a path")], more].concat())
}

#[test]
fn a_run_is_not_worse_than_itself() {
    let output = compared(&reference(), &reference(), &["--json"]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", stderr(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let cells = json["cells"].as_array().expect("cells");
    assert!(cells.len() > 50);
    assert!(cells.iter().all(|cell| (cell["ratio"].as_f64().expect("a ratio") - 1.0).abs() < 1e-9));
    assert_eq!((json["basis"].as_str(), json["unpaired"].as_u64()), (Some("times"), Some(0)));
    assert_eq!(json["changes"].as_array().map(Vec::len), Some(0));
    let text = stdout(&compared(&reference(), &reference(), &["--engines", "native,kvm"]));
    assert!(text.contains("geometric mean of") && !text.contains("qemu"), "{text}");
}

#[test]
fn a_slower_engine_and_another_result_are_worse() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let slower = |text: String| -> String {
        let mut lines = text.lines();
        let head = lines.next().expect("a header").to_owned();
        let rows = lines.map(|line| {
            let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
            if fields[1] == "emu-interp" {
                for i in [7, 8] {
                    fields[i] = fields[i].parse::<u64>().map_or_else(|_| String::new(), |ns| (ns * 3).to_string());
                }
            }
            fields.join(",")
        });
        std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n") + "\n"
    };
    let output = compared(&reference(), &changed(dir.path(), "runs.csv", slower), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.lines().any(|line| line.starts_with("emu-interp") && line.ends_with("slower")), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("kvm") && line.ends_with("slower")), "{text}");
    let other = |text: String| {
        let row = text.lines().find(|line| line.contains(",sieve,")).expect("sieve").to_owned();
        let checksum = row.split(',').nth(6).expect("a checksum").to_owned();
        text.replace(&checksum, "feedfeedfeedfeed")
    };
    let output = compared(&reference(), &changed(dir.path(), "runs.csv", other), &["--markdown"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("**wrong result**: sieve"), "{}", stdout(&output));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let refused = |output: &std::process::Output, expected: &str| {
        assert_eq!(output.status.code(), Some(2), "{}", stdout(output));
        let text = stderr(output);
        assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
    };
    refused(&compared(&reference(), dir.path(), &[]), "cannot compare");
    refused(&compared(&reference(), &reference(), &["--engines", "kmv"]), "did you mean 'kvm'?");
    let backend = |text: String| text.replacen("\"backend\": \"PVM\"", "\"backend\": \"VT-x\"", 1);
    let other = changed(dir.path(), "experiment.json", backend);
    refused(&compared(&reference(), &other, &[]), "on the KVM backend PVM and");
    assert!(matches!(compared(&reference(), &other, &["--engines", "emu-interp"]).status.code(), Some(0 | 3)));
    let host = |text: String| text.replacen("\"kernel\": \"", "\"kernel\": \"another ", 1);
    let other = changed(dir.path(), "experiment.json", host);
    let output = compared(&reference(), &other, &[]);
    assert!(stdout(&output).contains("multiples of native's"), "{}", stdout(&output));
    let others = |text: String| -> String {
        text.lines().filter(|line| !line.contains(",emu-dbt,")).flat_map(|line| [line, "\n"]).collect()
    };
    let other = changed(dir.path(), "runs.csv", others);
    refused(&compared(&reference(), &other, &["--reference", "emu-dbt"]), "has no runs of it");
    let broken = changed(dir.path(), "runs.csv", |text| format!("not,a,run\n{text}"));
    refused(&compared(&reference(), &broken, &[]), "runs.csv");
}
