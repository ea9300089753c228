//! `evlab trace`: what it prints, when it ends, and what it refuses.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::common::{available, elf, evlab, program, run, stderr, stdout};

const EMULATED: [&str; 3] = ["emu-dbt", "emu-interp", "emu-naive"];

#[test]
fn a_program_is_traced_instruction_by_instruction() {
    // mov eax, 60; xor edi, edi; push rax; syscall
    let (_folder, path) = program(&elf(&[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x50, 0x0f, 0x05], 0));
    let path = path.to_str().expect("text");
    for engine in available(&EMULATED) {
        let output = run(&["trace", path, "--ring", "3", "--engine", engine]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{engine}: {text}{}", stderr(&output));
        let insn = |text: &str| text.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(insn).collect();
        assert!(lines[0].starts_with("ring RIP INSTRUCTION"), "{text}");
        assert_eq!(lines[1], "r3 0000000000400078 mov eax, 0x3c rax=0x3c", "{text}");
        assert!(lines[2].starts_with("r3 000000000040007d xor edi, edi flags=["), "{text}");
        assert!(lines[3].starts_with("r3 000000000040007f push rax rsp=0x7ff"), "{text}");
        assert!(lines[3].contains(" w8 [0x7ff") && lines[3].ends_with("]=0x3c"), "{text}");
        assert!(lines[4].starts_with("r3 0000000000400080 syscall") && lines[4].contains("cs=0x10"), "{text}");
        assert_eq!(text.lines().last(), Some("end: the guest ended with exit code 0"));
    }
}

#[test]
fn a_program_that_is_killed_shows_why() {
    let (_folder, path) = program(&elf(&[0x90, 0x90, 0x31, 0xc0, 0xff, 0xe0], 0)); // nop; nop; xor eax, eax; jmp rax
    let path = path.to_str().expect("text");
    for engine in available(&EMULATED) {
        let output = run(&["trace", path, "--ring", "3", "--around-fault=2", "--exception", "#PF", "-e", engine]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{engine}: {text}");
        let fault = text.lines().find(|line| line.contains("#PF error 0x14 address 0x0 at 0x0 -> 0x")).expect(&text);
        assert!(fault.ends_with("ring 3 -> 0"), "{text}");
        assert!(text.contains("jmp rax") && text.contains("(cannot be fetched)"), "{text}");
    }
}

#[test]
fn nobody_has_to_read_to_the_end() {
    for json in [&[][..], &["--json"]] {
        let mut command = evlab();
        command.args(["trace", "sieve", "--limit", "1000000000"]).args(json);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evlab starts");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("text");
        assert!(!line.trim().is_empty());
        drop(reader);
        let mut complaint = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("text");
        assert_eq!((child.wait().expect("it ends").code(), complaint.as_str()), (Some(0), ""));
    }
}

#[test]
fn exits_of_kvm_have_their_times() {
    for engine in available(&["kvm"]) {
        let output = run(&["trace", "port_io", "--engine", engine, "--roi", "--limit", "20"]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
        assert_eq!(text.lines().count(), 22, "header, 20 exits, end: {text}");
        assert!(text.lines().nth(1).is_some_and(|line| line.contains("(scratch), 1 byte: ")), "{text}");
        assert!(text.trim_end().ends_with("the limit of 20 steps that are shown; --limit sets it"), "{text}");
        for option in [&["--around-fault"][..], &["--events", "insn"], &["--exception", "pf"]] {
            let output = run(&[&["trace", "noop", "--engine", engine], option].concat());
            assert_eq!(output.status.code(), Some(2), "{option:?}");
            assert!(stderr(&output).contains(option[0]) && stderr(&output).lines().count() == 1, "{option:?}");
        }
    }
}

#[test]
fn a_hang_is_ended_by_the_limit_or_the_time() {
    let (_folder, path) = program(&elf(&[0xeb, 0xfe], 0)); // jmp $
    let path = path.to_str().expect("text");
    let output = run(&["trace", path, "--ring", "3", "--limit", "5"]);
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 7), "{}", stdout(&output));
    let output = run(&["trace", path, "--address", "0x1", "--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("end: the guest did not end within its time limit\n"), "{}", stdout(&output));
}

#[test]
fn what_cannot_be_traced_is_refused() {
    let refuse = |args: &[&str]| {
        let output = evlab().arg("trace").args(args).output().expect("evlab starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
        stderr(&output)
    };
    assert!(refuse(&["seive"]).contains("unknown workload 'seive', did you mean 'sieve'?"));
    for engine in ["native", "qemu-tcg", "qemu-kvm"] {
        let text = refuse(&["sieve", "--engine", engine]);
        assert!(text.lines().count() == 1 && text.contains("choose kvm, emu-dbt, emu-interp or emu-naive"), "{text}");
    }
    assert!(refuse(&["sieve", "--address", "0x20..0x10"]).contains("write A..B with A below B"));
    assert!(refuse(&["sieve", "--address", "main"]).contains("\"main\" is not an address"));
    assert!(refuse(&["sieve", "--exception", "page"]).contains("is no exception"));
    assert!(refuse(&["sieve", "--ring", "1"]).contains("give 0 or 3"));
    assert!(refuse(&["sieve", "--events", "insns"]).contains("insn"));
    assert!(refuse(&["sieve", "--limit", "0"]).contains("--limit"));
}
