//! The sandbox of the process that runs a guest: what is forbidden ends it, and every rule is needed.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use evlab::sandbox::{Runner, list};
use tempfile::TempDir;

use crate::common::{available, elf, evlab, run, stderr, stdout};

/// A jump to itself.
const SPIN: &[u8] = &[0xeb, 0xfe];
/// `write(1, 0x401000, 400 KiB); exit(0)`
const LONG_TEXT: &[u8] = &[
    0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0, 0x10, 0x40, 0, 0xba, 0, 0x40, 0x06, 0, 0x0f, 0x05, 0xb8, 60, 0, 0, 0,
    0x31, 0xff, 0x0f, 0x05,
];

#[test]
fn a_forbidden_call_ends_the_process_and_is_named() {
    for engine in available(&["kvm", "emu-naive", "emu-interp", "emu-dbt"]) {
        for call in ["socket", "openat", "execve", "clone3", "ptrace", "kill", "memfd_create", "mprotect", "ioctl"] {
            let output = run(&["run", "noop", "-e", engine, "--json", "--sandbox-call", call]);
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{call} on {engine}: {output:?}");
            assert!(output.stdout.is_empty(), "{call} on {engine}: the guest was not started");
            let text = stderr(&output);
            assert!(text.contains(&format!("it made the system call {call} (")), "{engine}: {text}");
            assert_eq!(text.lines().count(), 1, "{engine}: {text}");
        }
    }
}

#[test]
fn the_record_says_what_was_in_force() {
    for engine in available(&["kvm", "emu-interp", "qemu-tcg"]) {
        let sandbox = |more: &[&str]| {
            let output = run(&[&["run", "noop", "-e", engine, "--json"], more].concat());
            assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
            let record: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("a record");
            record["sandbox"].as_str().expect("it is known").to_owned()
        };
        assert!(sandbox(&[]).contains("seccomp"), "{engine}");
        assert_eq!(sandbox(&["--no-sandbox"]), "off", "{engine}");
    }
    let output = run(&["run", "noop", "-e", "emu-interp"]);
    assert_eq!(output.status.code(), Some(0), "the text form needs no further call: {}", stderr(&output));
}

/// A use of the program that must work in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// A guest runs to its end.
    Whole,
    /// A timer interrupts it.
    Timer,
    /// It asks for the time as on a host whose clock cannot be read without the kernel.
    Clock,
    /// It does not end, and is stopped by the clock.
    TimeLimit,
    /// ... or by Ctrl-C.
    CtrlC,
    /// The whole process is halted and goes on.
    Halted,
    /// A guest prints much.
    LongText,
}

const SCENES: [Scene; 7] =
    [Scene::Whole, Scene::Timer, Scene::Clock, Scene::TimeLimit, Scene::CtrlC, Scene::Halted, Scene::LongText];

/// Rules without which the process has no last words: it could not write them, or a thread that ends has blocked every
/// signal, so that the kernel ends the process without calling a handler.
const SILENT: [&str; 3] = ["write", "exit", "madvise-dontneed"];

struct Stage {
    folder: TempDir,
    engine: &'static str,
}

impl Stage {
    fn new(engine: &'static str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("spin"), elf(SPIN, 0)).expect("it is writable");
        fs::write(folder.path().join("text"), elf(LONG_TEXT, 0x10_0000)).expect("it is writable");
        Self { folder, engine }
    }

    /// Plays a scene without one of the rules, or with all.
    fn play(&self, scene: Scene, without: Option<&str>) -> Output {
        let file = |name: &str| self.folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let (guest, options): (String, &[&str]) = match scene {
            Scene::Whole => ("noop".to_owned(), &[]),
            Scene::Timer => ("sleep".to_owned(), &["--hz", "1000"]),
            Scene::Clock => ("noop".to_owned(), &["--sandbox-call", "clock_gettime"]),
            Scene::TimeLimit => (file("spin"), &["--timeout", "1"]),
            Scene::CtrlC | Scene::Halted => (file("spin"), &["--timeout", "60"]),
            Scene::LongText => (file("text"), &["--timeout", "60"]),
        };
        let mut command = evlab();
        command.args(["run", &guest, "-e", self.engine, "--json", "--ram", "16"]).args(options);
        command.args(without.iter().flat_map(|rule| ["--sandbox-without", rule]));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evlab starts");
        let output = child.stdout.take().map(read);
        let errors = child.stderr.take().map(read);
        if matches!(scene, Scene::CtrlC | Scene::Halted) {
            await_status(&mut child, "Seccomp:\t2");
            if scene == Scene::Halted {
                signal(&child, libc::SIGSTOP);
                await_status(&mut child, "State:\tT");
                signal(&child, libc::SIGCONT);
            }
            signal(&child, libc::SIGINT);
        }
        let status = child.wait().expect("it is our child");
        let join = |thread: Option<thread::JoinHandle<Vec<u8>>>| thread.expect("piped").join().expect("no panic");
        Output { status, stdout: join(output), stderr: join(errors) }
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("pipes can be read");
        bytes
    })
}

fn signal(child: &Child, number: libc::c_int) {
    // SAFETY: only integers are passed; the child has not been waited for, so the number is its.
    unsafe { libc::kill(child.id().cast_signed(), number) };
}

/// Waits until the child's status has a line, or it has ended.
fn await_status(child: &mut Child, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if status.contains(line) || status.contains("State:\tZ") {
            return;
        }
        assert!(Instant::now() < deadline, "never '{line}': {status}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Leaves out each rule in turn: one of the scenes must then end with the sentence that names the rule's system call.
fn every_rule_is_needed(engine: &'static str, runner: Runner) {
    let stage = Stage::new(engine);
    for scene in SCENES {
        let output = stage.play(scene, None);
        assert!(output.status.code().is_some(), "{scene:?} on {engine} works with all rules: {}", stderr(&output));
    }
    for (rule, _) in list(runner) {
        let call = rule.split('-').next().expect("a name");
        let fails = SCENES.into_iter().find(|&scene| {
            let output = stage.play(scene, Some(rule));
            let named =
                SILENT.contains(&rule) || stderr(&output).contains(&format!("it made the system call {call} ("));
            output.status.signal() == Some(libc::SIGSYS) && named
        });
        assert!(fails.is_some(), "nothing on {engine} needs the rule {rule}");
        eprintln!("{rule} on {engine}: needed by {fails:?}");
    }
}

#[test]
fn every_rule_for_emulators_is_needed() {
    every_rule_is_needed("emu-dbt", Runner::Emulator);
}

#[test]
fn every_rule_for_kvm_is_needed() {
    for engine in available(&["kvm"]) {
        every_rule_is_needed(engine, Runner::Kvm);
    }
}

#[test]
fn the_documentation_lists_rules_and_attacks() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/isolation.md");
    let text = fs::read_to_string(path).expect("the page is there");
    let runners = [Runner::Kvm, Runner::Emulator, Runner::DebuggedKvm, Runner::DebuggedEmulator];
    for (rule, why) in runners.into_iter().flat_map(list) {
        assert!(text.contains(&format!("| `{rule}` | {why} |")), "docs/isolation.md lacks: | `{rule}` | {why} |");
    }
    for attack in evlab::isolation::attacks() {
        let row = format!("| `{}` | {} |", attack.name, attack.summary);
        assert!(text.contains(&row), "docs/isolation.md lacks: {row}");
    }
}
