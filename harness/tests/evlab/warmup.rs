//! `evlab warmup`, as its users run it.

use std::fs;

use evlab::warmup::{Cell, LAPS_CSV, WARMUP_CSV, WARMUP_JSON};

use crate::common::{run, stderr, stdout};

#[test]
fn laps_of_a_process_and_of_a_translated_guest() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let words =
        "warmup --engines native,emu-dbt --workloads sieve,qsort --size 0.2 --laps 12 --runs 3 --seed 1 --json --out";
    let args: Vec<&str> = words.split(' ').chain([out.to_str().expect("a path")]).collect();
    let output = run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let cells: Vec<Cell> = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(cells.len(), 4);
    for cell in &cells {
        assert_eq!((cell.n, cell.note.as_deref()), (3, None), "{cell:?}");
        assert!(cell.class.is_some(), "{cell:?}");
        let counted: usize = cell.classes.occurring().iter().map(|&(_, runs)| runs).sum();
        assert_eq!(counted, 3, "{cell:?}");
        // How fast this host is and how steady is not for a test; what belongs together is.
        assert_eq!(cell.steady_ns.is_some(), cell.classes.no_steady_state == 0, "{cell:?}");
        assert_eq!(cell.steady_from.is_some(), cell.steady_ns.is_some(), "{cell:?}");
        assert_eq!(cell.first_over_steady.is_some(), cell.steady_ns.is_some(), "{cell:?}");
    }
    let lines = |file: &str| fs::read_to_string(out.join(file)).expect("read").lines().count();
    assert_eq!((lines(LAPS_CSV), lines(WARMUP_CSV)), (1 + 4 * 3 * 12, 1 + 4));
    assert!(lines(WARMUP_JSON) > 20);
    let again = run(&args);
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten");
}

#[test]
fn the_table_names_each_cell() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let words = "warmup --engines emu-dbt --workloads fib --size 0.1 --laps 10 --runs 1 --out";
    let args: Vec<&str> = words.split(' ').chain([out.to_str().expect("a path")]).collect();
    let output = run(&args);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(
        text.lines().any(|line| line.trim_start().starts_with("WORKLOAD") && line.contains("FIRST/STEADY")),
        "{text}"
    );
    let is_row = |line: &str| line.contains("fib") && line.contains("emu-dbt");
    assert!(text.lines().any(is_row), "{text}");
    let again = run(&["report", out.to_str().expect("a path")]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stdout(&again).lines().any(is_row) && out.join("report.html").is_file(), "{again:?}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let refused = |words: &str, expected: &str| {
        let output = run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(stderr(&output).contains(expected), "{words}: {}", stderr(&output));
    };
    refused("warmup --workloads siev", "did you mean 'sieve'?");
    refused("warmup --workloads preempt", "preempt cannot do its work several times");
    refused("warmup --engines native --workloads port_io", "none of the chosen workloads");
    refused("warmup --laps 5", "--laps");
}

#[test]
fn laps_are_asked_for_by_hand_too() {
    let output = run(&["run", "fib", "--engine", "emu-interp", "--json", "--", "10", "1", "laps=3"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let record: evlab::model::RunRecord = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(evlab::warmup::laps(&record, 3).map(|laps| laps.len()), Ok(3));
    let plain = run(&["run", "fib", "--engine", "emu-interp", "--json", "--", "10", "1"]);
    let plain: evlab::model::RunRecord = serde_json::from_str(&stdout(&plain)).expect("JSON");
    assert_eq!(plain.checksum, record.checksum);
    assert!(!plain.console.contains("lap "), "{}", plain.console);
    let output = run(&["run", "preempt", "--engine", "emu-interp", "--", "laps=3"]);
    assert_eq!(output.status.code(), Some(2));
}
