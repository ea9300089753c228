//! The command line: its help, its lists, and its answers to bad input.

use crate::common::{elf, evlab, run, stderr, stdout};

/// Runs a command that must fail with code 2 and one line on standard error, and returns that line.
fn refused(args: &[&str]) -> String {
    let output = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(text.starts_with("evlab: "), "{text}");
    text
}

#[test]
fn help_teaches_every_command() {
    let commands = [
        "",
        "studio",
        "ablate",
        "run",
        "list",
        "doctor",
        "report",
        "compare",
        "gate",
        "calibrate",
        "exec",
        "fuzz",
        "isolation",
        "micro",
        "crowd",
        "debug",
        "warmup",
        "explain",
        "predict",
        "walk",
        "trace",
        "completions",
        "man",
    ];
    for command in commands {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let output = run(&args);
        assert!(output.status.success());
        let name = if command.is_empty() { "help".to_owned() } else { format!("help_{command}") };
        insta::assert_snapshot!(name, stdout(&output));
    }
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&run(&["completions", shell]));
        assert!(script.contains("two_processes") || script.contains("studio"), "{shell}");
        assert!(script.contains("precision"), "{shell} knows the options of evlab studio");
    }
    // The shell itself says whether it can read the script.
    let script = stdout(&run(&["completions", "bash"]));
    let read = std::process::Command::new("bash").args(["-n", "-c", &script]).status().expect("start bash");
    assert!(read.success());
    assert!(refused_by_clap(&["completions", "tcsh"]).contains("tcsh"));
}

/// The message for a command line that cannot be read, which takes more than one line.
fn refused_by_clap(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    stderr(&output)
}

#[test]
fn every_command_has_a_man_page() {
    let page = stdout(&run(&["man"]));
    assert!(page.contains(".TH evlab 1") && page.contains("evlab\\-studio(1)"), "{page}");
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("man1");
    assert!(run(&["man", "--out", out.to_str().expect("text")]).status.success());
    let page = std::fs::read_to_string(out.join("evlab-studio.1")).expect("a page");
    assert!(page.contains(".TH evlab-studio 1") && page.contains("precision"), "{page}");
    assert!(!out.join("evlab-event.1").exists(), "hidden commands have none");
    // A file stands where the folder should.
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("write");
    assert!(refused(&["man", "--out", file.to_str().expect("text")]).contains("file"));
}

#[test]
fn list_names_workloads_and_engines() {
    let output = run(&["list"]);
    assert!(output.status.success());
    // Sizes are tuned from time to time, and columns with them.
    let text = stdout(&output);
    let lines: Vec<String> = text.lines().map(plain).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// A line with every number as N and every gap as one space.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| match word.split_once('=') {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => format!("{name}=N"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn list_as_json_holds_the_same() {
    let output = run(&["list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names = |key: &str| -> Vec<String> {
        let list = json[key].as_array().expect("a list");
        list.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
    };
    let known: Vec<String> = workloads::catalogue().iter().map(|w| w.name.to_owned()).collect();
    assert_eq!(names("workloads"), known);
    let known: Vec<&str> = evlab::model::EngineId::ALL.iter().map(|e| e.name()).collect();
    assert_eq!(names("engines"), known);
    for workload in json["workloads"].as_array().expect("a list") {
        for param in workload["params"].as_array().expect("a list") {
            assert!(param["quick"].as_u64() <= param["default"].as_u64(), "{workload}");
        }
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let text = refused(&["run", "seive", "--engine", "native"]);
    assert!(text.contains("unknown workload 'seive', did you mean 'sieve'?"), "{text}");
    assert!(text.contains("known: dense_mm, "), "{text}");
    let text = refused(&["run", "sieve", "--engine", "kwm"]);
    assert!(text.contains("unknown engine 'kwm', did you mean 'kvm'?"), "{text}");
    let text = refused(&["studio", "--engines", "native,qemu"]);
    assert!(text.contains("unknown engine 'qemu', did you mean 'qemu-"), "{text}");
    let text = refused(&["studio", "--workloads", "zzzz"]);
    assert!(text.contains("unknown workload 'zzzz'; known: "), "{text}");
}

#[test]
fn arguments_are_checked_before_anything_runs() {
    let text = refused(&["run", "sieve", "--engine", "native", "--", "many"]);
    assert!(text.contains("argument 'many' of sieve is no number"), "{text}");
    let text = refused(&["run", "noop", "--engine", "native", "--", "1"]);
    assert!(text.contains("noop takes no arguments"), "{text}");
    for bad in [["--size", "0"], ["--ram", "4096"], ["--timeout", "0"], ["--prefault", "maybe"], ["--cpu", "v4"]] {
        let output = run(&["run", "sieve", "--engine", "native", bad[0], bad[1]]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(stderr(&output).contains(bad[0]), "{}", stderr(&output));
    }
}

#[test]
fn the_model_of_the_emulated_cpu_decides_what_executes() {
    const POPCNT: &str = "f3 0f b8 c1"; // popcnt eax, ecx
    let exec = |model: &str| {
        let output = run(&["exec", "--bytes", POPCNT, "--reg", "rcx=7", "--cpu", model, "--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert!(exec("v1").contains("#UD"), "{}", exec("v1"));
    assert!(!exec("v2").contains("#UD"), "{}", exec("v2"));
    let output = run(&["run", "noop", "--engine", "emu-interp", "--cpu", "v1", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for other in [&["run", "noop", "--engine", "native"][..], &["exec", "--bytes", "90", "--engine", "native"]] {
        let text = refused(&[other, &["--cpu", "v1"]].concat());
        assert!(text.contains("--cpu sets the model of emu-naive, emu-interp and emu-dbt"), "{text}");
    }
}

#[test]
fn the_mechanisms_of_the_emulated_cpu_can_be_chosen() {
    let output = run(&["run", "noop", "--engine", "emu-interp", "--emu", "link=off,flags=eager", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["engine"], "emu-interp[flags=eager,link=off]");
    let output = run(&["run", "noop", "--engine", "emu-dbt"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let engines = "emu-naive,emu-interp,emu-dbt";
    let output = run(&["exec", "--bytes", "48 ff c0", "--engine", engines, "--emu", "bulk=off"]);
    assert!(stdout(&output).contains("all engines agree"), "{}", stdout(&output));

    let exec = ["exec", "--bytes", "90", "--engine", "native"];
    let fuzz = ["fuzz", "--engines", "native,kvm", "--cases", "1"];
    for other in [&["run", "noop", "--engine", "native"][..], &["studio", "--engines", "kvm"], &exec, &fuzz] {
        let text = refused(&[other, &["--emu", "link=off"]].concat());
        assert!(text.contains("--emu chooses mechanisms of emu-naive, emu-interp and emu-dbt"), "{text}");
    }
    let refuse = |choices: &str| refused(&["run", "noop", "--engine", "emu-interp", "--emu", choices]);
    let text = refuse("tlb=off");
    assert!(
        text.contains("choose from decode, mmu, flags, link, fuse, bulk, translate, chain, inline-cache, window"),
        "{text}"
    );
    assert!(refuse("inlinecache=off").contains("did you mean 'inline-cache'?"));
    assert!(refuse("mmu=off").contains("choose mmu=walk or mmu=tlb"));
    assert!(refuse("decode=each").contains("link=on needs decode=cached"));
    let text = refused(&["ablate", "noop", "--emu", "link=off"]);
    assert!(text.contains("chooses the mechanisms itself"), "{text}");
}

#[test]
fn a_file_that_is_no_program_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let refuse = |bytes: &[u8]| {
        let path = dir.path().join("program");
        std::fs::write(&path, bytes).expect("write");
        refused(&["run", path.to_str().expect("text"), "--engine", "native"])
    };
    let text = refuse(b"#!/bin/sh\necho hello\n");
    assert!(text.contains("ELF"), "{text}");
    refuse(b"");
    let good = workloads::find("noop").expect("in the catalogue").elf;
    let text = refuse(&good[..good.len() / 8]);
    assert!(text.contains("truncated") || text.contains("ends"), "{text}");
    let text = refuse(&good[..30]);
    assert!(text.contains("program"), "{text}");
    let text = refuse(&elf(b"\xf4", 300 << 20));
    assert!(text.contains("--ram"), "{text}");
    let mut long = elf(b"\xf4", 0);
    long.resize(257 << 20, 0);
    let text = refuse(&long);
    assert!(text.contains("257 MiB") && text.contains("--ram"), "{text}");
    let text = refused(&["run", dir.path().to_str().expect("text"), "--engine", "native"]);
    assert!(text.contains("is not a file"), "{text}");
    let text = refused(&["run", "./no/such/file", "--engine", "native"]);
    assert!(text.contains("./no/such/file") && text.contains("No such file"), "{text}");
}

#[test]
fn a_results_folder_that_cannot_be_used_is_named() {
    let studio = |out: &str| refused(&["studio", "--engines", "native", "--workloads", "noop", "--out", out]);
    let text = studio("/proc/evlab");
    assert!(text.contains("/proc/evlab") && text.contains("--out"), "{text}");
    let dir = tempfile::tempdir().expect("temporary folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("write");
    let text = studio(file.join("below").to_str().expect("text"));
    assert!(text.contains("--out"), "{text}");
    std::fs::write(dir.path().join("runs.csv"), "").expect("write");
    let text = studio(dir.path().to_str().expect("text"));
    assert!(text.contains("already holds"), "{text}");
}

#[test]
fn a_folder_without_results_is_not_rendered() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let text = refused(&["report", dir.path().to_str().expect("text")]);
    assert!(text.contains("not a results folder"), "{text}");
}

#[test]
fn precision_and_budget_are_checked() {
    let refuse = |args: &[&str], why: &str| {
        let output = run(&[&["studio", "--engines", "native", "--workloads", "noop"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(why) && stderr(&output).contains(args[0]), "{}", stderr(&output));
    };
    refuse(&["--precision", "2"], "give a percentage with its sign, such as 2%");
    refuse(&["--precision", "90%"], "from 0.1% to 50%");
    refuse(&["--budget", "5"], "give a time with its unit, such as 90s");
    refuse(&["--budget", "0s"], "from 1s to 168h");
}

#[test]
fn a_plan_without_work_is_refused() {
    let text = refused(&["studio", "--engines", "native", "--workloads", "port_io"]);
    assert!(text.contains("none of the chosen workloads"), "{text}");
}

#[test]
fn a_reader_that_leaves_early_gets_no_complaint() {
    for args in [["list", "--json"].as_slice(), &["list"], &["run", "noop", "--engine", "native"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = evlab().args(args).stdout(writer).output().expect("start evlab");
        assert_eq!(output.status.code(), Some(141), "{args:?}: as SIGPIPE would end it");
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}
