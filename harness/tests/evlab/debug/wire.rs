//! Clients that are no gdb.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::{ENGINES, Waiting};
use crate::common::{available, elf, program, run, stderr};

/// A jump to itself.
const SPIN: &[u8] = &[0xeb, 0xfe];

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
fn a_step_over_the_kernel_outlasts_what_is_said_meanwhile() {
    // write(1, 0x400000, 0x8000), then a jump to itself
    let call = [0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0, 0, 0x40, 0, 0xba, 0, 0x80, 0, 0, 0x0f, 0x05, 0xeb, 0xfe];
    let (_folder, path) = program(&elf(&call, 0x1_0000));
    for engine in available(&ENGINES) {
        let waiting = Waiting::start(&[path.to_str().expect("text"), "-e", engine]);
        let mut stream = waiting.connect();
        // monitor step over
        assert!(ask(&mut stream, "qRcmd,73746570206f766572").starts_with('O'));
        assert_eq!(answer(&mut stream), "OK", "{engine}");
        for _ in 0..4 {
            ask(&mut stream, "s");
        }
        let mut second = stream.try_clone().expect("a copy");
        stream.write_all(&packet("s")).expect("evlab reads");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    // An acknowledgement, which calls the debugger and asks nothing.
                    second.write_all(b"+").expect("evlab reads");
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let stopped = answer(&mut stream);
            done.store(true, Ordering::Relaxed);
            assert!(stopped.starts_with("S05") || stopped.starts_with("T05"), "{engine}: {stopped}");
        });
        // RIP, its zeros run-length encoded.
        assert!(ask(&mut stream, "p10").starts_with("8e0040"), "{engine}: behind the call");
        stream.write_all(&packet("k")).expect("evlab reads");
        let output = waiting.end();
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
        assert_eq!(output.stdout.len(), 0x8000, "{engine}");
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
