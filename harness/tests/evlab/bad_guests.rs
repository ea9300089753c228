//! Guests that are not fit to run, on every engine: each ends with one clear sentence, the right exit code, and no
//! process left behind.

use std::process::Output;

use serde_json::Value;

use crate::common::{available, elf, evlab};

/// Every engine of this host.
fn engines() -> Vec<&'static str> {
    available(&["native", "kvm", "emu-naive", "emu-interp", "emu-dbt", "qemu-tcg", "qemu-kvm"])
}

/// `evlab run FILE --engine E --json ...` with the file's bytes.
fn run(bytes: &[u8], engine: &str, more: &[&str]) -> Output {
    let (_folder, path) = crate::common::program(bytes);
    evlab().arg("run").arg(path).args(["--engine", engine, "--json"]).args(more).output().expect("evlab starts")
}

fn record(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("no record ({e}): {}", String::from_utf8_lossy(&output.stderr)))
}

/// The one sentence on standard error of a run that was refused.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(text.trim_end().lines().count(), 1, "one sentence, not: {text}");
    text
}

#[test]
fn a_program_that_jumps_to_0_is_reported() {
    for engine in engines() {
        let output = run(&elf(&[0x31, 0xc0, 0xff, 0xe0], 0), engine, &[]); // xor eax, eax; jmp rax
        let record = record(&output);
        assert_eq!(output.status.code(), Some(1), "{engine}");
        assert_eq!(record["status"], "failed", "{engine}: {record}");
        assert_eq!(record["exit_code"], 139, "{engine}: {record}");
        if engine != "native" {
            let console = record["console"].as_str().expect("a console");
            assert!(console.contains("#PF at rip=0x0"), "{engine}: {console}");
        }
    }
}

#[test]
fn hlt_in_ring_3_is_reported() {
    for engine in engines() {
        let record = record(&run(&elf(&[0xf4], 0), engine, &[]));
        assert_eq!(record["status"], "failed", "{engine}: {record}");
        assert_eq!(record["exit_code"], 139, "{engine}: {record}");
        if engine != "native" {
            let console = record["console"].as_str().expect("a console");
            assert!(console.contains("#GP at rip=0x400078"), "{engine}: {console}");
        }
    }
}

#[test]
fn an_endless_loop_is_stopped_by_the_time_limit() {
    for engine in engines() {
        let output = run(&elf(&[0xeb, 0xfe], 0), engine, &["--timeout", "1"]); // jmp $
        let record = record(&output);
        assert_eq!(output.status.code(), Some(1), "{engine}");
        assert_eq!(record["status"], "timeout", "{engine}: {record}");
        let message = record["message"].as_str().expect("a message");
        assert!(message.contains("1 s"), "{engine}: {message}");
    }
}

#[test]
fn what_is_no_program_is_refused_before_it_runs() {
    let whole = elf(&[0xf4; 6000], 0);
    let mut dynamic = elf(&[0xf4], 0);
    dynamic[16] = 3; // ET_DYN
    let cases: [(&str, &[u8], &str); 4] = [
        ("not an ELF", b"#!/bin/sh\necho no\n", "ELF"),
        ("truncated", &whole[..whole.len() - 3000], "truncated"),
        ("only a header", &whole[..70], "truncated"),
        ("position-independent", &dynamic, "static"),
    ];
    for engine in engines() {
        for (name, bytes, word) in cases {
            let text = refusal(&run(bytes, engine, &[]));
            assert!(text.contains("program.elf") && text.contains(word), "{engine}, {name}: {text}");
        }
    }
}

#[test]
fn a_program_larger_than_ram_is_refused() {
    let huge = elf(&[0xf4], 1 << 30);
    for engine in engines().into_iter().filter(|e| *e != "native") {
        let text = refusal(&run(&huge, engine, &["--ram", "64"]));
        assert!(text.contains("64 MiB"), "{engine}: {text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = evlab().args(["run", "./no/such.elf", "--engine", "native"]).output().expect("evlab starts");
    assert!(refusal(&output).contains("./no/such.elf"));
}
