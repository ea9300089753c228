//! `evlab debug` with the gdb of this host, and with clients that are no gdb.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{available, elf, evlab, program, run, stderr, stdout};

const ENGINES: [&str; 4] = ["emu-interp", "emu-naive", "emu-dbt", "kvm"];
/// A jump to itself.
const SPIN: &[u8] = &[0xeb, 0xfe];

/// Whether there is a gdb; says so if not, and fails where all must be there.
fn has_gdb() -> bool {
    let found = Command::new("gdb").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "gdb is required");
        println!("not tested: this host has no gdb");
    }
    found
}

/// A session that waits for a client.
struct Waiting {
    child: Child,
    errors: BufReader<ChildStderr>,
    /// What gdb connects to.
    target: String,
    /// The program's ELF and the kernel's.
    images: [String; 2],
    _folder: TempDir,
}

impl Waiting {
    fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = evlab();
        command.arg("debug").args(args).arg("--images").arg(folder.path());
        if !args.contains(&"--unix") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // The program's arguments come last.
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("evlab starts");
        let mut errors = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = || {
            let mut text = String::new();
            errors.read_line(&mut text).expect("text");
            text
        };
        let (first, second) = (line(), line());
        assert!(first.contains("waits for gdb at "), "{first}{second}");
        let between = |before: &str, after: &str| {
            let (_, rest) = second.split_once(before).unwrap_or_else(|| panic!("no {before}: {second}"));
            rest.split_once(after).expect("quoted").0.to_owned()
        };
        let images = [between("-ex 'file ", "'"), between("'add-symbol-file ", "'")];
        Self { target: between("'target remote ", "'"), images, child, errors, _folder: folder }
    }

    /// Lets gdb connect and do this, and waits for both: what gdb printed, and how evlab ended.
    fn gdb(self, commands: &[&str]) -> (String, Output) {
        let [program, kernel] = &self.images;
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-q", "-batch", "-ex", "set confirm off", "-ex", "set height 0"]);
        for command in [
            &format!("file {program}"),
            &format!("add-symbol-file {kernel}"),
            &format!("target remote {}", self.target),
        ] {
            gdb.args(["-ex", command]);
        }
        gdb.args(commands.iter().flat_map(|command| ["-ex", command]));
        // What monitor commands answer comes on standard error: in order only if both are one.
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        gdb.stdin(Stdio::null()).stdout(writer.try_clone().expect("a copy")).stderr(writer);
        let mut child = gdb.spawn().expect("gdb starts");
        drop(gdb);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        child.wait().expect("it is our child");
        println!("{text}");
        (text, self.end())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.target).expect("evlab listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    fn end(mut self) -> Output {
        let mut errors = Vec::new();
        self.errors.read_to_end(&mut errors).expect("pipes can be read");
        let output = self.child.wait_with_output().expect("it is our child");
        println!("{}", String::from_utf8_lossy(&errors));
        Output { stderr: errors, ..output }
    }
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

const TO_SYSCALL: &[&str] = &["while *(unsigned short *)$rip != 0x050f", "stepi"];

#[test]
fn gdb_stops_programs_and_kernel_and_reads_both_processes() {
    if !has_gdb() {
        return;
    }
    for engine in available(&ENGINES) {
        let script = program_script(TO_SYSCALL);
        let waiting = Waiting::start(&["two_processes", "-e", engine]);
        let source = format!("source {}", script.1.display());
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

/// A gdb script that steps to the next SYSCALL and over it; the address behind is in `$after`.
fn program_script(to_syscall: &[&str]) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("script.gdb");
    let text = format!("{}\nend\nset $after = $rip + 2\nstepi\n", to_syscall.join("\n"));
    std::fs::write(&path, text).expect("it is writable");
    (folder, path)
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
        let script = program_script(TO_SYSCALL);
        let source = format!("source {}", script.1.display());
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

/// A packet of the remote protocol.
fn packet(body: &str) -> Vec<u8> {
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("${body}#{sum:02x}").into_bytes()
}

/// Sends a packet and yields the answer's body.
fn ask(stream: &mut (impl Read + Write), body: &str) -> String {
    stream.write_all(&packet(body)).expect("evlab reads");
    answer(stream)
}

fn answer(stream: &mut (impl Read + Write)) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.contains(&b'#') {
        stream.read_exact(&mut byte).expect("evlab answers");
        match byte[0] {
            b'$' => text.clear(),
            other => text.push(other),
        }
    }
    stream.read_exact(&mut [0; 2]).expect("a checksum");
    stream.write_all(b"+").expect("evlab reads");
    text.pop();
    String::from_utf8(text).expect("text")
}

#[test]
fn ctrl_c_stops_a_guest_that_spins() {
    let (_folder, path) = program(&elf(SPIN, 0));
    for engine in available(&ENGINES) {
        let waiting = Waiting::start(&[path.to_str().expect("text"), "-e", engine]);
        let mut stream = waiting.connect();
        assert!(ask(&mut stream, "?").starts_with(['S', 'T']));
        stream.write_all(&packet("c")).expect("evlab reads");
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(&[3]).expect("evlab reads");
        let stopped = answer(&mut stream);
        assert!(stopped.starts_with("S02") || stopped.starts_with("T02"), "{engine}: {stopped}");
        assert!(ask(&mut stream, "m400078,2").starts_with("ebfe"), "{engine}");
        stream.write_all(&packet("k")).expect("evlab reads");
        let output = waiting.end();
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn one_client_is_served_and_its_disappearance_ends_the_guest() {
    let (_folder, path) = program(&elf(SPIN, 0));
    for engine in available(&ENGINES) {
        // It runs, or it waits.
        for running in [false, true] {
            let waiting = Waiting::start(&[path.to_str().expect("text"), "-e", engine]);
            let mut stream = waiting.connect();
            ask(&mut stream, "?");
            let second = TcpStream::connect(&waiting.target).map_err(|e| e.kind());
            assert!(matches!(second, Err(ErrorKind::ConnectionRefused)), "{second:?}");
            if running {
                stream.write_all(&packet("c")).expect("evlab reads");
            }
            drop(stream);
            let output = waiting.end();
            assert_eq!(output.status.code(), Some(3), "{engine}: {}", stderr(&output));
            assert!(
                stderr(&output).contains("gdb went away without a word; the guest was ended"),
                "{}",
                stderr(&output)
            );
        }
    }
}

#[test]
fn what_is_no_packet_ends_the_session_in_good_order() {
    let long = format!("$m0,{}#00", "f".repeat(20_000)).into_bytes();
    let cases: [&[u8]; 6] =
        [b"$?#00", b"$vCont;x:zz#zz", &long, b"GET / HTTP/1.0\r\n\r\n$#", &[0xff; 64], b"$Z9,zz,-1#00\x03\x03$qXfer"];
    for bytes in cases {
        let waiting = Waiting::start(&["noop"]);
        let mut stream = waiting.connect();
        // evlab may have had enough before all is sent.
        let _ = stream.write_all(bytes);
        drop(stream);
        let output = waiting.end();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

#[test]
fn addresses_outside_the_guest_are_errors() {
    for engine in available(&ENGINES) {
        let waiting = Waiting::start(&["noop", "-e", engine]);
        let mut stream = waiting.connect();
        for place in ["0,8", "ffffffffffffffff,10", "800000000000,8", "7ffffffff000,8", "10,fff"] {
            assert!(ask(&mut stream, &format!("m{place}")).starts_with('E'), "{engine}: m{place}");
        }
        assert!(ask(&mut stream, "M10,2:9090").starts_with('E'), "{engine}");
        // CS alone cannot be changed.
        assert!(ask(&mut stream, "P12=10000000").starts_with('E'), "{engine}");
        assert_eq!(ask(&mut stream, "P0=0807060504030201"), "OK", "{engine}");
        assert_eq!(ask(&mut stream, "p0"), "0807060504030201", "{engine}");
        stream.write_all(&packet("D")).expect("evlab reads");
        let output = waiting.end();
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
    }
}

#[test]
fn what_cannot_be_debugged_is_answered_in_a_sentence() {
    let refused = |args: &[&str]| {
        let output = run(&[&["debug"], args].concat());
        let text = stderr(&output);
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{args:?}: {text}");
        text
    };
    assert!(refused(&["noop", "-e", "native"]).contains("gdb --args noop"));
    assert!(refused(&["noop", "-e", "qemu-tcg"]).contains("-gdb tcp:"));
    assert!(refused(&["nop"]).contains("did you mean 'noop'?"));
    assert!(refused(&["noop", "--listen", "0.0.0.0:0"]).contains("--allow-remote"));
    assert!(refused(&["noop", "--listen", "here"]).contains("'here' is no address"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert!(refused(&["noop", "--listen", &address]).contains(&format!("{address} is in use")));
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(refused(&["noop", "--unix", file.path().to_str().expect("text")]).contains("exists; remove it"));
    assert!(refused(&["noop", "--listen", "127.0.0.1:0", "--images", "/proc/evlab"]).contains("--images"));
    if !Path::new("/dev/kvm").exists() {
        assert!(refused(&["noop", "-e", "kvm"]).contains("/dev/kvm"));
    }
}

#[test]
fn a_unix_socket_takes_one_client_and_is_removed() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("gdb.socket");
    let waiting = Waiting::start(&["noop", "--unix", path.to_str().expect("text")]);
    let mut stream = UnixStream::connect(&path).expect("evlab listens");
    assert!(ask(&mut stream, "?").starts_with(['S', 'T']));
    assert!(!path.exists());
    stream.write_all(&packet("D")).expect("evlab reads");
    assert_eq!(waiting.end().status.code(), Some(0));
}

/// A session that needs all that a debugger may ask of the kernel. Without one of the rules of the sandbox it is cut off.
fn demanding_session(engine: &str, without: Option<&str>) -> Output {
    // mov eax, 39; syscall; jmp to itself
    let (_folder, path) = program(&elf(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xfe], 0));
    let mut args = vec![path.to_str().expect("text"), "-e", engine];
    args.extend(without.iter().flat_map(|rule| ["--sandbox-without", rule]));
    let waiting = Waiting::start(&args);
    let mut stream = waiting.connect();
    let xmm0 = format!("P28={}", "01".repeat(16));
    // RAX, the base of FS and XMM0 are changed; then a step, and one into the kernel; the end.
    for body in ["?", "p10", "P0=0100000000000000", "P39=0010000000000000", &xmm0, "s", "s", "k"] {
        let mut answered = stream.write_all(&packet(body)).is_ok();
        let mut byte = [0];
        let mut end = 0;
        // Up to the checksum; `k` has no answer.
        while answered && body != "k" && end < 3 {
            answered = stream.read_exact(&mut byte).is_ok();
            end = if end > 0 || byte[0] == b'#' { end + 1 } else { 0 };
        }
        if !answered {
            break;
        }
    }
    waiting.end()
}

#[test]
fn every_rule_for_debuggers_is_needed() {
    use std::os::unix::process::ExitStatusExt;

    use evlab::sandbox::{Runner, list};

    let cases = [("emu-interp", Runner::Emulator, Runner::DebuggedEmulator), ("kvm", Runner::Kvm, Runner::DebuggedKvm)];
    for (engine, plain, debugged) in cases {
        if available(&[engine]).is_empty() {
            continue;
        }
        let whole = demanding_session(engine, None);
        assert_eq!(whole.status.code(), Some(0), "{engine}: {}", stderr(&whole));
        for (rule, _) in list(debugged).into_iter().filter(|rule| !list(plain).contains(rule)) {
            let output = demanding_session(engine, Some(rule));
            let call = rule.split('-').next().expect("a name");
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{rule} on {engine}: {}", stderr(&output));
            assert!(stderr(&output).contains(&format!("it made the system call {call} (")), "{}", stderr(&output));
        }
    }
}
