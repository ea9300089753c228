//! Whole guests, traced.

use std::borrow::Cow;
use std::io::{self, Write};

use emu_min::Model;
use serde_json::Value;
use vmm_min::End;

use super::*;
use crate::engines::{Availability, Job, Program, StopFlag, engine};
use crate::model::{Confine, EngineId, RunRequest};

const EMULATED: [EngineId; 3] = [EngineId::EmuNaive, EngineId::EmuInterp, EngineId::EmuDbt];

fn job(engine: EngineId, elf: &'static [u8], args: &[&str]) -> Job<'static> {
    Job {
        request: RunRequest {
            workload: "test".to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            engine: engine.into(),
            ram_mib: 32,
            timeout_s: 60,
            prefault: false,
            cpu: Model::V1,
            hz: 0,
            deterministic: engine.has_emulated_cpu(),
            profile: None,
            placement: None,
            confine: Confine::default(),
        },
        program: Program { name: "test".to_owned(), elf: Cow::Borrowed(elf), processes: 1, native: true },
        kernel: workloads::kernel(),
    }
}

fn noop(engine: EngineId) -> Job<'static> {
    job(engine, workloads::find("noop").expect("in the catalogue").elf, &[])
}

fn all() -> Options {
    Options {
        events: EventKind::USUAL.to_vec(),
        range: None,
        ring: None,
        exceptions: Vec::new(),
        roi: false,
        around: None,
        limit: u64::MAX,
        json: true,
    }
}

fn traced(job: &Job<'_>, options: &Options) -> (Traced, String) {
    let mut out = Vec::new();
    let traced = trace(job, &StopFlag::new(), options, &mut out).expect("it can be traced");
    (traced, String::from_utf8(out).expect("text"))
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn every_emulated_engine_executes_the_same() {
    let options = Options { limit: 3000, ring: Some(3), ..all() };
    let traces = EMULATED.map(|engine| traced(&noop(engine), &options).1);
    assert!(traces[0].lines().count() > 50, "{}", traces[0]);
    assert!(traces[0] == traces[1] && traces[0] == traces[2], "they differ");
}

#[test]
fn a_trace_of_ring_3_goes_from_the_entry_to_the_end() {
    let (traced, text) = traced(&noop(EngineId::EmuInterp), &Options { ring: Some(3), ..all() });
    assert!(traced.end == End::Exited(0) && !traced.complete && !traced.is_bad());
    let lines = json(&text);
    let insns = of(&lines, "insn");
    let elf = workloads::find("noop").expect("in the catalogue").elf;
    let entry = u64::from_le_bytes(elf[24..32].try_into().expect("eight bytes"));
    assert_eq!(insns[0]["rip"], format!("{entry:#x}"));
    assert_eq!(insns.last().map(|line| &line["text"]), Some(&Value::from("syscall")));
    assert!(lines.iter().all(|line| line["event"] == "end" || line["ring"] == 3 || line["event"] == "mem"), "{text}");
    let numbers: Vec<u64> = insns.iter().filter_map(|line| line["n"].as_u64()).collect();
    assert!(numbers.is_sorted());
    // A push stores what its register holds below the stack pointer that it leaves.
    let push = insns.iter().find(|line| line["text"].as_str().is_some_and(|text| text.starts_with("push r")));
    let push = push.expect("a function saves registers");
    let rsp = push["registers"].as_array().expect("a list").iter().find(|change| change["name"] == "rsp");
    let store = lines.iter().find(|line| line["event"] == "mem" && line["n"] == push["n"]).expect("it stores");
    assert_eq!(
        (&store["address"], &store["access"], &store["size"]),
        (&rsp.expect("it moves")["to"], &"write".into(), &8.into())
    );
    assert_eq!(lines.last().map(|line| &line["reason"]), Some(&Value::from("guest")));
}

#[test]
fn the_limit_and_the_region_of_interest_end_a_trace() {
    let (traced1, text) = traced(&noop(EngineId::EmuNaive), &Options { limit: 7, ..all() });
    let lines = json(&text);
    assert!(traced1.complete && !traced1.is_bad());
    assert_eq!((of(&lines, "insn").len(), &lines.last().expect("an end")["reason"]), (7, &"limit".into()));
    assert_eq!(of(&lines, "insn")[0]["n"], 0, "the very first instruction");

    let (whole, text) = traced(&noop(EngineId::EmuInterp), &Options { roi: true, ..all() });
    let lines = json(&text);
    assert!(whole.complete);
    assert_eq!(lines.last().expect("an end")["reason"], "roi");
    let exits = of(&lines, "exit");
    assert_eq!((exits.len(), &exits[0]["data"], &exits[0]["device"]), (1, &"45".into(), &"marker".into()), "E alone");
    let insns = of(&lines, "insn").len();
    assert!((10..5000).contains(&insns), "{insns}");
}

#[test]
fn ranges_and_events_choose() {
    let options = Options { roi: true, ..all() };
    let lines = json(&traced(&noop(EngineId::EmuInterp), &options).1);
    let some = of(&lines, "insn")[3];
    let rip = u64::from_str_radix(some["rip"].as_str().expect("text").trim_start_matches("0x"), 16).expect("a number");
    let one = Options { range: Some(rip..rip + 1), ..options.clone() };
    let lines = json(&traced(&noop(EngineId::EmuInterp), &one).1);
    assert!(of(&lines, "insn").iter().all(|line| line["rip"] == some["rip"]), "{lines:?}");
    assert!(!of(&lines, "insn").is_empty());
    let io = Options { events: vec![EventKind::Io], ..options };
    let lines = json(&traced(&noop(EngineId::EmuInterp), &io).1);
    assert_eq!((lines.len(), &lines[0]["event"]), (2, &"exit".into()), "and the end");
}

#[test]
fn walks_are_at_every_access_or_at_misses_alone() {
    let options = Options { roi: true, events: vec![EventKind::Insn, EventKind::Walk], ..all() };
    let count = |engine| {
        let lines = json(&traced(&noop(engine), &options).1);
        (of(&lines, "insn").len(), of(&lines, "walk").len(), lines)
    };
    let (insns, walks, lines) = count(EngineId::EmuNaive);
    assert!(walks >= insns, "{walks} walks of {insns} instructions");
    let walk = of(&lines, "walk")[0];
    assert_eq!((&walk["for"], walk["entries"].as_array().map(|list| list.len() >= 3)), (&"fetch".into(), Some(true)));
    let (insns, walks, _) = count(EngineId::EmuInterp);
    assert!(walks < insns / 2, "{walks} walks of {insns} instructions with a TLB");
}

/// A static executable for 0x400000 whose only segment is `code`.
fn program(code: &[u8]) -> &'static [u8] {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(0x40_0078_u64.to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    let length = 0x78 + code.len() as u64;
    for word in [0, 0x40_0000, 0x40_0000, length, length, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf.leak()
}

#[test]
fn what_happened_before_a_fault_is_shown() {
    let code = [[0x90; 20].as_slice(), &[0x0f, 0x0b]].concat(); // nops; ud2
    let options = Options { around: Some(3), exceptions: vec![6], ..all() };
    for engine in EMULATED {
        let (run, text) = traced(&job(engine, program(&code), &[]), &options);
        assert!(run.is_bad(), "the program is killed: {:?}", run.end);
        let lines = json(&text);
        let insns: Vec<_> =
            of(&lines, "insn").iter().map(|line| (line["text"].clone(), line["ring"].clone())).collect();
        let (nop, ud2) = ((Value::from("nop"), Value::from(3)), (Value::from("ud2"), Value::from(3)));
        assert_eq!(insns[..4], [nop.clone(), nop.clone(), nop, ud2], "{text}");
        assert_eq!((insns.len(), &insns[4].1), (7, &Value::from(0)), "and three of the handler: {text}");
        let faults = of(&lines, "exception");
        assert_eq!((faults.len(), &faults[0]["name"], &faults[0]["rip"]), (1, &"#UD".into(), &"0x40008c".into()));
        assert_eq!((&faults[0]["ring"], &faults[0]["handler_ring"]), (&3.into(), &0.into()));
    }
}

#[test]
fn page_faults_carry_their_address() {
    // mov [0x123456], eax: no such region.
    let code = [0x89, 0x04, 0x25, 0x56, 0x34, 0x12, 0x00];
    let options = Options { exceptions: vec![14], events: vec![EventKind::Exception], ..all() };
    let lines = json(&traced(&job(EngineId::EmuDbt, program(&code), &[]), &options).1);
    let fault = of(&lines, "exception").into_iter().find(|line| line["address"] == "0x123456").expect("the fault");
    assert_eq!(
        (&fault["error"], &fault["rip"], &fault["source"]),
        (&"0x6".into(), &"0x400078".into(), &"fault".into())
    );
}

#[test]
fn a_triple_fault_is_shown_and_bad() {
    for engine in EMULATED {
        let mut job = job(engine, workloads::find("noop").expect("in the catalogue").elf, &["f"]);
        job.kernel = workloads::hostile_kernel();
        let (run, text) = traced(&job, &all());
        assert!(matches!(run.end, End::TripleFault(_)) && run.is_bad(), "{engine}: {:?}", run.end);
        let lines = json(&text);
        let last = of(&lines, "exception").into_iter().next_back().expect("the fault");
        assert!(last["handler"].is_null() && !last["then"].as_array().expect("a list").is_empty(), "{last}");
        assert!(lines.iter().any(|line| line["reason"] == "triple-fault"), "{text}");
        let (_, text) = traced(&job, &Options { json: false, ..all() });
        assert!(text.contains("and then the processor shut down: a triple fault"), "{text}");
        assert!(
            text.trim_end().lines().next_back().expect("an end").starts_with("end: the guest's processor"),
            "{text}"
        );
    }
}

#[test]
fn a_hang_is_ended_by_the_time_limit() {
    let mut job = job(EngineId::EmuInterp, program(&[0xeb, 0xfe]), &[]); // jmp $
    job.request.timeout_s = 1;
    job.request.deterministic = false;
    let (run, text) = traced(&job, &Options { range: Some(0..1), ..all() });
    assert!(matches!(run.end, End::TimeLimit(_)) && run.is_bad());
    assert_eq!(json(&text).len(), 1, "the end alone: {text}");
}

#[test]
fn kvm_is_traced_exit_by_exit() {
    if let Availability::Missing { reason, .. } = engine(EngineId::Kvm).availability() {
        assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "kvm is required: {reason}");
        println!("not tested on kvm: {reason}");
        return;
    }
    let (run, text) = traced(&noop(EngineId::Kvm), &all());
    assert!(run.end == End::Exited(0), "{:?}", run.end);
    let lines = json(&text);
    let exits = of(&lines, "exit");
    let markers: Vec<&str> =
        exits.iter().filter(|line| line["device"] == "marker").filter_map(|line| line["data"].as_str()).collect();
    assert_eq!(markers, ["55", "42", "45", "58", "30", "30"], "U, B, E, X00");
    assert!(exits.iter().all(|line| line["ns"].is_u64() && line["rip"].is_string() && line["ring"].is_u64()), "{text}");
    let numbers: Vec<u64> = exits.iter().filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=exits.len() as u64).collect::<Vec<_>>());
    let (_, text) = traced(&noop(EngineId::Kvm), &Options { roi: true, json: false, ..all() });
    assert_eq!(text.lines().count(), 3, "header, E, end: {text}");
}

/// Takes some bytes, and then no more.
struct Closed(usize);

impl Write for Closed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_ends_the_guest() {
    let mut job = job(EngineId::EmuInterp, program(&[0xeb, 0xfe]), &[]);
    job.request.deterministic = false;
    let error = trace(&job, &StopFlag::new(), &all(), &mut Closed(100_000)).expect_err("it is closed");
    assert!(matches!(error, TraceError::Write(e) if e.kind() == io::ErrorKind::BrokenPipe));
}
