//! `evlab walk`: page tables, frames and TLBs as the guest itself and the manual have them.

use serde_json::Value;

use crate::common::{available, elf, evlab, program, run, stderr, stdout};

const ENGINES: [&str; 4] = ["kvm", "emu-dbt", "emu-interp", "emu-naive"];
/// The address part of an entry.
const TABLE: u64 = 0x000f_ffff_ffff_f000;

/// The picture of one engine, with the exit code.
fn picture(args: &[&str]) -> (Value, Option<i32>) {
    let output = run(&[&["walk", "--json"], args].concat());
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", stderr(&output)));
    (report["engines"][0].clone(), output.status.code())
}

/// The only process of a guest that ended well.
fn process(args: &[&str]) -> Value {
    let (picture, code) = picture(args);
    assert_eq!((code, picture["processes"].as_array().map(Vec::len)), (Some(0), Some(1)), "{args:?}: {picture}");
    picture["processes"][0].clone()
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no number: {value}"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hexadecimal")
}

/// The frames that the guest printed, by process: `frame pid=1 va=0xabcd pa=0x1aabcd value=4`.
fn printed(console: &str) -> Vec<(u64, u64, u64)> {
    let field = |line: &str, name: &str| {
        let text = line.split_whitespace().find_map(|word| word.strip_prefix(name)).expect("a field").to_owned();
        text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).expect("a number")
    };
    let lines = console.lines().filter(|line| line.starts_with("frame ") && line.contains("va=0xabcd"));
    lines.map(|line| (field(line, "pid="), field(line, "pa="), field(line, "value="))).collect()
}

#[test]
fn two_processes_have_the_frames_that_they_report() {
    for engine in available(&ENGINES) {
        for moment in ["last", "end"] {
            let (picture, code) = picture(&["two_processes", "0xabcd", "--engine", engine, "--at", moment, "--", "20"]);
            assert_eq!((code, &picture["ended_well"]), (Some(0), &true.into()), "{engine}: {picture}");
            let processes = picture["processes"].as_array().expect("a list");
            let frames = printed(picture["console"].as_str().expect("text"));
            assert_eq!((frames.len(), processes.len()), (2, 2), "{engine}: {picture}");
            assert_ne!(frames[0].1, frames[1].1, "they are apart");
            for (process, (pid, physical, value)) in processes.iter().zip(frames) {
                assert_eq!(process["process"], pid, "{engine}");
                assert_eq!(number(&process["page"]["physical"]), physical, "{engine} {moment}: {process}");
                assert_eq!(process["value"]["byte"], value, "{engine}: {process}");
                check_chain(process);
                check_tlb(engine, process);
            }
        }
    }
}

/// Each entry lies in the table that the one before it names.
fn check_chain(process: &Value) {
    let mut table = number(&process["cr3"]) & TABLE;
    let entries = process["entries"].as_array().expect("a list");
    let names: Vec<&str> = entries.iter().map(|entry| entry["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["PML4E", "PDPTE", "PDE", "PTE"]);
    for entry in entries {
        let index = entry["index"].as_u64().expect("a number");
        assert_eq!(number(&entry["address"]), table + index * 8, "{process}");
        let bits: Vec<&str> = entry["bits"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert!(["P", "W", "U"].iter().all(|bit| bits.contains(bit)), "{process}");
        table = number(&entry["value"]) & TABLE;
    }
    assert_eq!(table, number(&process["page"]["frame"]));
}

fn check_tlb(engine: &str, process: &Value) {
    let tlb = &process["tlb"];
    assert_eq!(tlb["may_hold"], true);
    let (kind, hit) = match engine {
        "kvm" => ("hardware", Value::Null),
        "emu-naive" => ("none", Value::Null),
        _ => ("soft", true.into()),
    };
    assert_eq!((&tlb["kind"], &tlb["hit"]), (&kind.into(), &hit), "{engine}: {process}");
    for entry in tlb["entries"].as_array().expect("a list") {
        assert_eq!(entry["physical"], process["page"]["physical"], "{engine}: {process}");
        assert_eq!(entry["rights"], "user", "{engine}: {process}");
    }
}

#[test]
fn engines_stand_below_one_another_and_agree() {
    let engines = available(&ENGINES).join(",");
    let output = run(&["walk", "two_processes", "0xabcd", "--engine", &engines, "--", "5"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("One address, different frames: P1 0x"), "{text}");
    assert!(text.contains("The engines agree: the same page tables, frames and values."), "{text}");
    assert!(text.contains("none: every access walks"), "{text}");
}

#[test]
fn the_first_look_ends_the_run() {
    for engine in available(&ENGINES) {
        let (picture, code) = picture(&["two_processes", "0xabcd", "--engine", engine, "--at", "first"]);
        assert_eq!(code, Some(0), "{engine}: {picture}");
        assert_eq!(picture["end"], "the run was ended at the moment asked for", "{engine}");
        assert_eq!(picture["processes"].as_array().map(Vec::len), Some(2), "{engine}");
        assert_eq!(printed(picture["console"].as_str().expect("text")).len(), 1, "{engine}: within P2's first line");
    }
}

#[test]
fn where_a_walk_ends_is_said() {
    for engine in available(&["kvm", "emu-interp"]) {
        let walk = |address: &str| process(&["sieve", address, "--engine", engine, "--", "1000"]);
        let unmapped = walk("0x1234");
        assert!(unmapped["page"].is_null() && unmapped["value"].is_null(), "{unmapped}");
        assert!(unmapped["unmapped"].as_str().expect("text").ends_with("is not present)"), "{unmapped}");
        assert_eq!(unmapped["tlb"]["may_hold"], false, "{unmapped}");
        let hole = walk("0x800000000000");
        assert_eq!((&hole["unmapped"], &hole["entries"]), (&"not canonical".into(), &Value::Array(Vec::new())));
        let kernel = walk("0xffffffff80100000");
        assert_eq!((&kernel["page"]["size"], &kernel["page"]["user"]), (&0x20_0000.into(), &false.into()), "{kernel}");
        assert_eq!(number(&kernel["page"]["physical"]), 0x10_0000);
        assert_eq!(kernel["entries"].as_array().map(Vec::len), Some(3), "{kernel}");
        // The kernel maps 4 GiB of physical memory, whatever RAM there is.
        let beyond = walk("0xffff8000c0000000");
        assert_eq!(
            (&beyond["page"]["in_ram"], &beyond["value"]),
            (&false.into(), &Value::Null),
            "{engine} outside RAM: {beyond}"
        );
    }
}

#[test]
fn a_program_of_ones_own_is_walked_too() {
    let exit = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]; // mov eax, 60; xor edi, edi; syscall
    let (_folder, path) = program(&elf(&exit, 0));
    let process = process(&[path.to_str().expect("text"), "4_194_304"]);
    assert_eq!(process["value"]["bytes"], "7f 45 4c 46 02 01 01 00", "the ELF header: {process}");
}

#[test]
fn a_guest_that_hangs_is_seen_at_its_end() {
    let (_folder, path) = program(&elf(&[0xeb, 0xfe], 0)); // jmp $
    for engine in available(&["kvm", "emu-interp"]) {
        let args = [path.to_str().expect("text"), "0x400000", "--engine", engine, "--timeout", "1"];
        let (picture, code) = picture(&args);
        assert_eq!((code, &picture["ended_well"]), (Some(1), &false.into()), "{engine}: {picture}");
        assert!(picture["end"].as_str().expect("text").contains("time limit"), "{picture}");
        assert_eq!(picture["processes"][0]["value"]["byte"], 0x7f, "{engine}: {picture}");
    }
}

#[test]
fn what_cannot_be_walked_is_refused() {
    let refuse = |args: &[&str]| {
        let output = evlab().arg("walk").args(args).output().expect("evlab starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
        stderr(&output)
    };
    assert!(refuse(&["seive", "0x1000"]).contains("unknown workload 'seive', did you mean 'sieve'?"));
    assert!(refuse(&["sieve", "0x1000", "--engine", "kwm"]).contains("unknown engine 'kwm', did you mean 'kvm'?"));
    assert!(refuse(&["sieve", "abcd"]).contains("\"abcd\" is not an address; write a decimal or 0x-hexadecimal"));
    assert!(refuse(&["sieve", "0x1_0000_0000_0000_0000"]).contains("is not an address"));
    for engine in ["native", "qemu-tcg", "qemu-kvm"] {
        let text = refuse(&["sieve", "0x1000", "--engine", engine]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(engine) && text.contains("choose kvm, emu-dbt, emu-interp or emu-naive"), "{text}");
    }
    assert!(refuse(&["sieve", "0x1000", "--engine", "kvm", "--cpu", "v1"]).contains("--cpu"));
    assert!(refuse(&["sieve", "0x1000", "--", "many"]).contains("argument 'many' of sieve is no number"));
}
