//! Where the time goes: exits with their latencies, quadrants that add up, and a meaning for every counter.

use evlab::meaning;
use evlab::model::RunRecord;

use crate::common::{available, run, stderr, stdout};

const MACHINES: [&str; 4] = ["kvm", "emu-naive", "emu-interp", "emu-dbt"];

fn record(engine: &str, workload: &str, arguments: &[&str]) -> RunRecord {
    let output = run(&[&["run", workload, "-e", engine, "--json", "--"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{workload} on {engine}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("a record")
}

fn value(record: &RunRecord, name: &str) -> Option<u64> {
    record.counters.iter().find(|c| c.counter == name).map(|c| c.value)
}

#[test]
fn every_counter_has_a_meaning_and_a_name_of_its_own() {
    let engines = ["native", "kvm", "emu-naive", "emu-interp", "emu-dbt", "qemu-tcg", "qemu-kvm"];
    for engine in available(&engines) {
        for (workload, arguments) in [("preempt", &[][..]), ("pagefault", &["16", "2"]), ("port_io", &["200"])] {
            if engine == "native" && workload != "pagefault" {
                continue;
            }
            let record = record(engine, workload, arguments);
            for (i, counter) in record.counters.iter().enumerate() {
                let (source, name) = (&counter.source, &counter.counter);
                assert!(meaning::of(source, name).is_some(), "{workload} on {engine}: {source} {name} has no meaning");
                let twice = record.counters[..i].iter().any(|c| c.counter == *name && c.source == *source);
                assert!(!twice, "{workload} on {engine}: {source} {name} is there twice");
            }
        }
    }
}

#[test]
fn every_exit_has_its_latencies() {
    for engine in available(&MACHINES) {
        let record = record(engine, "port_io", &["500"]);
        let count = |latency: &str| {
            let found = record.histograms.iter().find(|h| h.latency == latency);
            found.map_or(0, |h| h.buckets.iter().map(|b| b.count).sum::<u64>())
        };
        let exits = value(&record, "exit.io").expect("it is counted");
        assert_eq!(
            (exits, value(&record, "exit.io.scratch"), value(&record, "exit.io.marker")),
            (501, Some(500), Some(1))
        );
        assert_eq!((value(&record, "exit.io.out"), value(&record, "exit.io.in")), (Some(501), Some(0)));
        assert_eq!((count("exit.io"), count("exit.io.scratch"), count("run.io")), (500, 500, 501), "{engine}");
        let percentile = |name: &str| value(&record, name).expect("it is known");
        let served = ["p50", "p90", "p99", "max"].map(|end| percentile(&format!("exit.io.{end}_ns")));
        assert!(served[0] > 0 && served.is_sorted(), "{engine}: {served:?}");
        // The median of the histogram is that of the counters, which are finer.
        let buckets = &record.histograms.iter().find(|h| h.latency == "exit.io").expect("there are exits").buckets;
        let below: u64 = buckets.iter().filter(|b| b.from_ns <= served[0]).map(|b| b.count).sum();
        let above: u64 = buckets.iter().filter(|b| b.to_ns > served[0]).map(|b| b.count).sum();
        assert!(below >= 250 && above >= 249, "{engine}: {} in {buckets:?}", served[0]);
        let longest = buckets.last().expect("it is not empty");
        assert!(served[3].abs_diff(longest.from_ns) <= longest.to_ns / 8, "{engine}: {served:?} {longest:?}");
    }
}

#[test]
fn quadrants_add_up_to_the_region_of_interest() {
    for engine in available(&MACHINES) {
        for (workload, arguments) in [("syscall", &["300"][..]), ("sieve", &["200000"]), ("sleep", &[])] {
            let record = record(engine, workload, arguments);
            let roi = record.roi_host_ns.expect("it is timed");
            let part = |name: &str| value(&record, &format!("quadrant.{name}_ns"));
            let error = part("error").expect("it is stated");
            let sum: u64 = meaning::quadrant::PARTS.iter().filter_map(|(name, _)| value(&record, name)).sum();
            assert!(sum.abs_diff(roi) <= error, "{workload} on {engine}: {sum} of {roi} ns, error {error}");
            if workload == "sleep" {
                let idle = part("idle").expect("it is known");
                // A host with other work lets the guest sleep less.
                assert!(
                    idle > 1_000_000 && idle == value(&record, "idle_ns").unwrap_or(0),
                    "{engine}: {idle} of {roi}"
                );
            }
            if engine == "kvm" {
                assert!(part("guest").or(part("mixed")).is_some_and(|ns| ns > 0 || workload == "sleep"));
                assert_eq!(part("guest_user"), None, "nothing tells the rings apart");
            } else {
                let (user, kernel) = (part("guest_user").expect("known"), part("guest_kernel").expect("known"));
                let count = |name| value(&record, name).expect("it is counted");
                let (ring3, ring0) = (count("ring3.instructions"), count("ring0.instructions"));
                assert_eq!(Some(ring3 + ring0), record.guest_instructions, "{workload} on {engine}");
                match workload {
                    "syscall" => {
                        assert!(kernel > 0 && ring0 > 300 && ring3 > 300, "{engine}: {kernel} {ring0} {ring3}");
                    }
                    "sieve" => assert!(user > 2 * kernel && ring3 > 100 * ring0, "{engine}: {user} {kernel}"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_child_process_is_looked_at_from_outside() {
    for engine in available(&["native", "qemu-tcg", "qemu-kvm"]) {
        let record = record(engine, "fib", &["24", "400"]);
        let roi = record.roi_host_ns.expect("it is long enough");
        let sum: u64 = meaning::quadrant::PARTS.iter().filter_map(|(name, _)| value(&record, name)).sum();
        assert_eq!(sum, roi, "{engine}: {:?}", record.counters);
        let busy = roi - value(&record, "quadrant.off_cpu_ns").expect("it is known");
        assert!(busy * 10 > roi, "{engine} worked {busy} of {roi} ns");
    }
}

#[test]
fn a_run_is_explained_in_the_terminal() {
    for engine in available(&["kvm", "emu-interp"]) {
        let output = run(&["run", "port_io", "-e", engine, "--", "50"]);
        let text = stdout(&output);
        for part in ["GUEST AND HOST", "(error of a part, at most)", "EXITS", "SERVED IN", "io.scratch", "WHAT IT IS"] {
            assert!(text.contains(part), "{part} on {engine}: {text}");
        }
        assert!(text.contains("port I/O at 0x80, which does nothing"), "{text}");
        assert!(!text.contains("p50_ns") && !text.contains("quadrant."), "they have tables of their own: {text}");
    }
}
