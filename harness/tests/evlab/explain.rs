//! The cost model: profiles, costs, accounts and predictions, on quick sizes.

use serde_json::Value;

use crate::common::{evlab, run, stderr, stdout};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
}

/// The value of a counter of the region of interest.
fn counter(record: &Value, source: &str, name: &str) -> u64 {
    let all = record["counters"].as_array().expect("counters");
    let found = all.iter().find(|c| c["source"] == source && c["counter"] == name);
    found.and_then(|c| c["value"].as_u64()).unwrap_or_else(|| panic!("no {source} {name}"))
}

#[test]
fn a_profile_counts_every_instruction_and_is_the_same_again() {
    let once = || json(&stdout(&run(&["profile", "syscall", "--", "50"])));
    let (first, second) = (once(), once());
    let of_profile = |record: &Value| -> Vec<Value> {
        let all = record["counters"].as_array().expect("counters").iter();
        all.filter(|c| c["source"] == "profile").cloned().collect()
    };
    assert_eq!(of_profile(&first), of_profile(&second));
    assert_eq!(counter(&first, "profile", "ring3.enter"), 50 + 1, "and the marker's write");
    let classes = [
        "integer",
        "multiply",
        "divide",
        "branch",
        "jump",
        "call",
        "return",
        "indirect",
        "float",
        "float_divide",
        "vector",
        "x87",
        "string",
        "enter",
        "leave",
        "port",
        "system",
    ];
    let ring =
        |ring: &str| classes.map(|class| counter(&first, "profile", &format!("{ring}.{class}"))).iter().sum::<u64>();
    assert_eq!(ring("ring3"), counter(&first, "emu", "ring3.instructions"));
    assert_eq!(ring("ring0"), counter(&first, "emu", "ring0.instructions"));
    // The same guest without anybody who looks on.
    let words = ["run", "syscall", "-e", "emu-interp", "--deterministic", "--prefault", "off", "--json", "--", "50"];
    let plain = json(&stdout(&run(&words)));
    assert_eq!(plain["guest_instructions"], first["guest_instructions"]);
    assert_eq!(plain["checksum"], first["checksum"]);
}

#[test]
fn the_timer_comes_more_often_where_instructions_take_longer() {
    let at = |pace: &str| json(&stdout(&run(&["profile", "preempt", "--pace", pace, "--", "26"])));
    let (fast, slow) = (at("1"), at("20"));
    let ticks = |record: &Value| counter(record, "emu", "interrupt");
    assert!(ticks(&fast) <= 3 && ticks(&slow) >= 20, "{} {}", ticks(&fast), ticks(&slow));
    // All three processes have their turn.
    let divisions = |record: &Value| counter(record, "profile", "ring3.float_divide");
    assert_eq!([divisions(&slow), divisions(&fast)], [3 * 26 * 5_000; 2]);
    assert_eq!(slow["checksum"], fast["checksum"]);
}

#[test]
fn a_profile_says_how_long_a_program_asks_to_sleep() {
    let record = json(&stdout(&run(&["profile", "sleep", "--", "3", "500"])));
    assert_eq!(counter(&record, "profile", "sleep.calls"), 3);
    assert_eq!(counter(&record, "profile", "sleep.asked_ns"), 3 * 500_000);
    assert!(counter(&record, "profile", "wait_ns") > 3 * 500_000, "until the next tick");
}

#[test]
fn costs_are_measured_once_and_serve_both_commands() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("costs");
    let folder = out.to_str().expect("text");
    let output = evlab()
        .args(["predict", "fib", "--quick", "--engines", "native,emu-interp", "--json", "--out", folder])
        .output()
        .expect("start evlab");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
    let predictions = json(&stdout(&output));
    let predictions = predictions.as_array().expect("a list");
    assert_eq!(predictions.len(), 2, "{predictions:?}");
    for p in predictions {
        assert!(p["measured_ns"].as_f64() > Some(0.0) && p["predicted_ns"].as_f64() > Some(0.0), "{p}");
    }

    let output = run(&[
        "explain",
        "fib",
        "--costs",
        folder,
        "--engines",
        "emu-interp",
        "--runs",
        "1",
        "--json",
        "--",
        "10",
        "5",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let explained = json(&stdout(&output));
    assert!(explained["profile"]["ring3.call"].as_f64() > Some(0.0), "{explained}");
    let [engine] = &explained["engines"].as_array().expect("a list")[..] else { panic!("{explained}") };
    let account = &engine["account"];
    let items = account["items"].as_array().expect("items");
    let sum: f64 = items.iter().filter_map(|item| item["ns"].as_f64()).sum();
    let (ns, rest) = (account["ns"].as_f64().expect("a time"), account["rest_ns"].as_f64().expect("a rest"));
    assert!((sum + rest - ns).abs() < 1e-6 * ns, "{account}");
    assert!(engine["reason"].as_str().is_some_and(|reason| reason.contains("native")), "{engine}");

    let text = stdout(&run(&["explain", "fib", "--costs", folder, "--engines", "emu-interp", "--runs", "1"]));
    assert!(text.contains("EVENT") && text.contains("rest") && text.contains("emu-interp: "), "{text}");

    let output = run(&["predict", "--all", "--costs", folder, "--engines", "kvm"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no costs for kvm"), "{}", stderr(&output));

    let path = out.join("costs.json");
    let mut costs = json(&std::fs::read_to_string(&path).expect("costs"));
    costs["host"]["cpu"] = "another".into();
    std::fs::write(&path, costs.to_string()).expect("write");
    let output = run(&["explain", "fib", "--costs", folder]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("are not of this host"), "{}", stderr(&output));
}

#[test]
fn a_wrong_name_is_told_before_anything_is_measured() {
    for command in ["explain", "predict"] {
        let output = run(&[command, "seive"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("did you mean 'sieve'?"), "{}", stderr(&output));
    }
    let output = run(&["explain", "sieve", "--costs", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("holds no costs.json"), "{}", stderr(&output));
}
