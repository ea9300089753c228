//! Guests side by side: small crowds, bad requests, Ctrl-C.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use evlab::crowd::{CROWD_CSV, read};
use evlab::model::Status;
use evlab::results::State;

use crate::common::{available, evlab, run, stderr, stdout};
use crate::studio::kill;

#[test]
fn two_guests_run_side_by_side_and_are_measured() {
    let engines = available(&["emu-interp", "kvm", "native", "qemu-tcg"]);
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let output = run(&[
        "crowd",
        "--engines",
        &engines.join(","),
        "--guests",
        "2",
        "--runs",
        "1",
        "--seed",
        "7",
        "--out",
        out.to_str().expect("text"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("all guests computed the same"), "{}", stdout(&output));
    let crowd = read(&out).expect("readable");
    assert_eq!((crowd.meta.state, crowd.meta.plan.guests.as_slice()), (State::Complete, [1, 2].as_slice()));
    let runs: Vec<u32> = crowd.rows.iter().map(|row| row.run).collect();
    assert!(runs.iter().copied().eq((1..).take(runs.len())), "each guest has a number of its own: {runs:?}");
    for &engine in &engines {
        let rows: Vec<_> = crowd.rows.iter().filter(|r| r.engine.name() == engine && r.guests == 2).collect();
        assert_eq!(rows.len(), 2, "{engine}");
        let [a, b] = rows[..] else { unreachable!("there are two") };
        assert_eq!((a.status, a.guest, b.guest), (Status::Ok, 1, 2));
        let span = |row: &evlab::crowd::GuestRow| {
            let began = row.roi_began_ns.expect("it began");
            (began, began + row.time_ns().expect("it was timed"))
        };
        let ((a_from, a_to), (b_from, b_to)) = (span(a), span(b));
        assert!(a_from.max(b_from) < a_to.min(b_to), "{engine}: they did not run at the same time");
        for row in [a, b] {
            let time = row.time_ns().expect("it was timed");
            let cpu = row.cpu_ns.expect("it was sampled");
            // QEMU has more threads than the one of the guest's CPU.
            assert!(cpu > time / 50 && cpu < time * 2, "{engine}: {cpu} of {time}");
            let (pss, private) = (row.pss_bytes.expect("sampled"), row.private_bytes.expect("sampled"));
            assert!(private > 0 && private <= pss && pss < 256 << 20, "{engine}: {pss} {private}");
        }
    }
    for file in ["summary.csv", "plots/throughput.svg", "plots/throughput.png", "plots/memory.svg", "report.html"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // Again from the folder alone.
    fs::remove_file(out.join("summary.csv")).expect("it is there");
    let again = run(&["report", out.to_str().expect("text")]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(out.join("summary.csv").is_file() && stdout(&again).contains("throughput"), "{}", stdout(&again));
}

#[test]
fn json_is_all_that_is_printed_with_json() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let out = out.to_str().expect("text");
    let args = ["crowd", "--engine", "native", "--guests", "1", "--runs", "1", "--size", "20", "--json", "--out", out];
    let output = run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["points"][0]["engine"], "native");
    assert_eq!(json["points"][0]["throughput"], 1.0);
    assert_eq!(json["plan"]["works"][0]["size"], 20.0);
}

#[test]
fn bad_requests_are_refused_in_a_sentence() {
    let refused = |args: &[&str]| {
        let output = run(&[&["crowd"], args].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        text
    };
    let one_line = |args: &[&str]| {
        let text = refused(args);
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        text
    };
    assert!(one_line(&["--engine", "kwm"]).contains("unknown engine 'kwm', did you mean 'kvm'?"));
    assert!(one_line(&["--workload", "seive"]).contains("unknown workload 'seive', did you mean 'sieve'?"));
    assert!(one_line(&["--workload", "port_io", "--engines", "kvm,native"]).contains("port_io does not run on native"));
    assert!(one_line(&["--workload", "noop"]).contains("cannot be made longer"));
    let text = one_line(&["--engine", "native", "--guests", "256", "--ram", "3072"]);
    assert!(text.contains("256 guests with 3072 MiB") && text.contains("--ram"), "{text}");
    for bad in ["0", "1000", "many", "1,,2"] {
        let text = refused(&["--guests", bad]);
        assert!(text.contains("--guests"), "{text}");
    }
    let nothing = tempfile::tempdir().expect("temporary folder");
    let output = evlab().args(["crowd", "--engine", "qemu-tcg"]).env("PATH", nothing.path()).output().expect("start");
    let text = stderr(&output);
    assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("none of the chosen engines (qemu-tcg: "), "{text}");
}

/// Processes with this mark in their environment, zombies apart.
fn marked(mark: &str) -> usize {
    let environments = fs::read_dir("/proc").expect("read /proc").flatten();
    environments
        .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environment| environment.split(|&b| b == 0).any(|word| word == mark.as_bytes()))
        .count()
}

/// A crowd that is ended by this signal once some guests have run; its exit code.
fn ended_by(signal: i32, out: &Path) -> Option<i32> {
    let engines = available(&["native", "kvm", "qemu-tcg"]).join(",");
    let mark = format!("EVLAB_TEST_MARK={}", out.display());
    let mut child = evlab()
        .args(["crowd", "--engines", &engines, "--guests", "3", "--runs", "100", "--out"])
        .arg(out)
        .env("EVLAB_TEST_MARK", out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start evlab");
    let deadline = Instant::now() + Duration::from_secs(120);
    let round = |text: String| text.lines().skip(1).any(|line| line.split(',').nth(1) != Some("0"));
    while !fs::read_to_string(out.join(CROWD_CSV)).is_ok_and(round) {
        assert!(Instant::now() < deadline, "no round ended");
        sleep(Duration::from_millis(20));
    }
    // Into the midst of the next.
    sleep(Duration::from_millis(300));
    kill(child.id(), signal);
    let code = child.wait().expect("it was started").code();
    while marked(&mark) > 0 {
        assert!(Instant::now() < deadline, "processes were left behind");
        sleep(Duration::from_millis(20));
    }
    code
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_leaves_no_guest() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    assert_eq!(ended_by(2, &out), Some(130));
    let crowd = read(&out).expect("readable");
    assert_eq!(crowd.meta.state, State::Interrupted);
    assert!(crowd.rows.iter().any(|row| row.round > 0 && row.status == Status::Ok));
    assert!(crowd.meta.problems.is_empty(), "to be stopped is no failure: {:?}", crowd.meta.problems);
    assert!(out.join("summary.csv").is_file());
}

#[test]
fn kill_9_leaves_a_readable_folder_and_no_guest() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    assert_eq!(ended_by(9, &out), None);
    let crowd = read(&out).expect("readable");
    assert_eq!(crowd.meta.state, State::Running, "nobody could say that it ended");
    assert!(run(&["report", out.to_str().expect("text")]).status.success());
}
