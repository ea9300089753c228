//! `--deterministic`: two runs are alike but for the host's times.

use serde_json::Value;

use crate::common::{run, stderr, stdout};

/// The record of a run, without what the host's clock says.
fn record(words: &[&str]) -> Value {
    let output = run(&[&["run"], words, &["--deterministic", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    let mut record: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let fields = record.as_object_mut().expect("an object");
    for time in ["roi_host_ns", "wall_ns", "startup_ns", "roi_began_ns"] {
        fields.remove(time);
    }
    let counters = fields["counters"].as_array_mut().expect("counters");
    counters.retain(|counter| !counter["counter"].as_str().expect("a name").ends_with("_ns"));
    // Latencies are times of the host, whole.
    fields.remove("histograms");
    record
}

#[test]
fn two_runs_are_alike() {
    for engine in ["emu-naive", "emu-interp", "emu-dbt"] {
        for words in
            [&["qsort", "-e", engine, "--size", "0.2"][..], &["preempt", "-e", engine], &["sleep", "-e", engine]]
        {
            assert_eq!(record(words), record(words), "{words:?}");
        }
    }
}

#[test]
fn the_guests_time_is_its_instructions() {
    let record = record(&["sieve", "-e", "emu-interp", "--size", "0.1"]);
    let (ns, instructions) = (record["roi_guest_ns"].as_u64(), record["guest_instructions"].as_u64());
    let (ns, instructions) = (ns.expect("a time"), instructions.expect("a count"));
    // The program reads its clock inside the markers.
    assert!(ns <= instructions && instructions - ns < 200, "{ns} ns, {instructions} instructions");
}

#[test]
fn only_emulators_keep_it() {
    let output = run(&["run", "sieve", "-e", "native", "--deterministic"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--deterministic is about emu-naive"), "{}", stderr(&output));
}
