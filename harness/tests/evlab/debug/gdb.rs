//! Sessions of the gdb of this host.

use std::io::Write;
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use super::{ENGINES, Waiting};
use crate::common::{available, elf, program, stderr, stdout};

/// Whether there is a gdb; says so if not, and fails where all must be there.
fn has_gdb() -> bool {
    let found = Command::new("gdb").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "gdb is required");
        println!("not tested: this host has no gdb");
    }
    found
}

/// Each of these in `text`, one after another.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        rest = match rest.split_once(part) {
            Some((_, rest)) => rest,
            None => panic!("no '{part}' in what is left of:\n{text}\nwhich is:\n{rest}"),
        };
    }
}

/// Steps to the next SYSCALL and over it; the address behind is then in `$after`.
const OVER_SYSCALL: &str = "while *(unsigned short *)$rip != 0x050f\nstepi\nend\nset $after = $rip + 2\nstepi\n";

#[test]
fn gdb_stops_programs_and_kernel_and_reads_both_processes() {
    if !has_gdb() {
        return;
    }
    for engine in available(&ENGINES) {
        let script = script(OVER_SYSCALL);
        let waiting = Waiting::start(&["two_processes", "-e", engine]);
        let source = format!("source {}", script.path().display());
        let (text, output) = waiting.gdb(&[
            r#"printf "first instruction in ring %d\n", $cs & 3"#,
            "rbreak syscall::frame",
            "continue",
            "monitor pid",
            "x/gx 0xabcd",
            "monitor walk 0xabcd",
            "continue",
            "monitor pid",
            "x/gx 0xabcd",
            "delete",
            &source,
            "monitor ring",
            "info symbol $rip",
            "x/i $rip",
            "tbreak *$after",
            "continue",
            r#"printf "behind the call: %d, ring %d\n", $rip == $after, $cs & 3"#,
            "break dispatch",
            "continue",
            "info registers rax rip eflags cs cr3",
            "monitor cr",
            "p $xmm0.uint128",
            "set $r15 = 77",
            "p $r15",
            "x/gx 0x10",
            "set var *(char *)0xabcd = 9",
            "x/bx 0xabcd",
            "delete",
            "monitor walk 0x10",
            "monitor nonsense",
            "detach",
        ]);
        let four = ["0xabcd:\t0x0000000000000004", "0xabcd:\t0x0000000000000005"];
        in_order(
            &text,
            &["first instruction in ring 3", "process 1, page tables at", four[0], "PML4E", "PTE", "physical address"],
        );
        in_order(&text, &["process 2, page tables at", four[1], "ring 0, 64-bit mode", "behind the call: 1, ring 3"]);
        let symbols = ["syscall_entry", "page_fault", "vectors"];
        assert!(
            symbols
                .iter()
                .any(|symbol| text.contains(&format!("{symbol} in section")) || text.contains(&format!("{symbol} + "))),
            "{engine}"
        );
        in_order(
            &text,
            &["Breakpoint", "dispatch", "rax", "cr3", "PG", "LMA", "= 77", "Cannot access memory at address 0x10"],
        );
        in_order(&text, &["not present", "0x10 is not mapped", "unknown command 'nonsense'"]);
        // The debugger changed the value of process 2, which notices.
        assert!(stderr(&output).contains("the guest ended with exit code"), "{engine}: {}", stderr(&output));
        assert!(stdout(&output).contains("frame pid=2 va=0xabcd"), "{engine}: {}", stdout(&output));
    }
}

/// A file for gdb's `source`, which takes commands of several lines.
fn script(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it is writable");
    file
}

#[test]
fn the_session_of_the_handout_works_as_printed() {
    if !has_gdb() {
        return;
    }
    let page = include_str!("../../../../docs/studio.md");
    let blocks = page.split("```gdb\n").skip(1).map(|rest| rest.split_once("\n```").expect("it is closed").0);
    let commands = script(&blocks.collect::<Vec<_>>().join("\n"));
    let source = format!("source {}", commands.path().display());
    for engine in available(&["emu-interp", "kvm"]) {
        let (text, output) = Waiting::start(&["two_processes", "-e", engine]).gdb(&[&source]);
        in_order(&text, &["0xabcd:\t0x0000000000000004", "0xabcd is at physical address"]);
        in_order(
            &text,
            &["0xabcd:\t0x0000000000000005", "0xabcd is at physical address", "stepi steps over the kernel"],
        );
        in_order(&text, &["stepi steps over the kernel", "ring 3", "dispatch ()", "ring 0, 64-bit mode"]);
        in_order(&text, &["ring 0, 64-bit mode", "LMA", "0xabcd:\t0x0000000000000005"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
        assert!(stderr(&output).contains("the guest ended with exit code 0"), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn a_guest_runs_to_its_end_under_gdb() {
    if !has_gdb() {
        return;
    }
    for engine in available(&ENGINES) {
        let (text, output) = Waiting::start(&["two_processes", "-e", engine, "--console", "gdb"]).gdb(&["continue"]);
        assert!(text.contains("frame pid=1 va=0xabcd") && text.contains("result "), "{engine}");
        assert!(text.contains("exited normally"), "{engine}");
        assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()), "{engine}");
    }
    // mov eax, 60; mov edi, 7; syscall
    let (_folder, path) = program(&elf(&[0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05], 0));
    let (text, output) = Waiting::start(&[path.to_str().expect("text")]).gdb(&["stepi", "p $eax", "continue"]);
    in_order(&text, &["= 60", "exited with code 07"]);
    assert_eq!(output.status.code(), Some(1));
    // A program that the kernel ends.
    let (_folder, path) = program(&elf(&[0xf4], 0));
    let (text, output) = Waiting::start(&[path.to_str().expect("text")]).gdb(&["continue"]);
    assert!(text.contains("exited with code 0213"), "139 in octal");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn gdb_watches_data_on_emulated_cpus() {
    if !has_gdb() {
        return;
    }
    for engine in ["emu-interp", "emu-naive", "emu-dbt"] {
        let (text, output) = Waiting::start(&["two_processes", "-e", engine]).gdb(&[
            "rbreak syscall::frame",
            "continue",
            "delete",
            "awatch *(char *)0xabcd",
            "continue",
            "delete",
            "watch *(int *)&current_pid",
            "continue",
            "monitor ring",
            "kill",
        ]);
        in_order(
            &text,
            &[
                "Hardware access (read/write) watchpoint",
                "alue = 4",
                "Hardware watchpoint",
                "Old value = 1",
                "New value = 2",
            ],
        );
        in_order(&text, &["New value = 2", "ring 0, 64-bit mode"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
        assert!(stderr(&output).contains("gdb killed the guest"), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn a_step_can_go_over_the_kernel() {
    if !has_gdb() {
        return;
    }
    for engine in available(&ENGINES) {
        let script = script(OVER_SYSCALL);
        let source = format!("source {}", script.path().display());
        let (text, output) = Waiting::start(&["two_processes", "-e", engine]).gdb(&[
            "rbreak rt::syscall::write",
            "continue",
            "delete",
            "monitor step over",
            &source,
            r#"printf "behind the call: %d, ring %d\n", $rip == $after, $cs & 3"#,
            "continue",
        ]);
        in_order(&text, &["stepi steps over the kernel", "behind the call: 1, ring 3", "exited normally"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn a_session_can_begin_before_the_kernel_on_a_unix_socket() {
    if !has_gdb() {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let socket = folder.path().join("gdb.socket");
    let path = socket.to_str().expect("text");
    for engine in available(&["emu-interp", "kvm"]) {
        let waiting = Waiting::start(&["noop", "-e", engine, "--from", "boot", "--unix", path]);
        let (text, output) =
            waiting.gdb(&["monitor ring", "stepi", "break kernel_main", "continue", "p $cr3", "delete", "continue"]);
        in_order(&text, &["ring 0, 32-bit protected mode", "Breakpoint 1, ", "kernel_main", "exited normally"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
        assert!(!socket.exists());
    }
}
