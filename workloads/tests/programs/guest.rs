//! The kernel and the programs together, on QEMU's emulator where it is installed: the same checksums, the markers of the
//! contract, and the programs that only run in a guest.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use workloads::{Profile, Workload, catalogue, find, kernel};

use crate::run::install;
use crate::{expected, numbers, reference};

/// What a guest left behind.
struct Guest {
    console: String,
    markers: String,
}

/// Whether QEMU is missing; says why a test does nothing then. Where EVLAB_REQUIRE_ENGINES is set, that is a failure.
fn qemu_is_missing() -> bool {
    let found =
        Command::new("qemu-system-x86_64").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "qemu-system-x86_64 is required, but not installed");
        println!("skipped: qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)");
    }
    !found
}

/// Runs a program in a guest of 256 MiB; `label` keeps the files of concurrent tests apart.
fn boot(label: &str, workload: &Workload, args: &[String], processes: u32) -> Guest {
    install();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guest-{label}"));
    fs::create_dir_all(&folder).expect("a folder for the guest");
    let (kernel_file, program, markers) = (folder.join("kernel"), folder.join("program"), folder.join("markers"));
    fs::write(&kernel_file, kernel()).expect("the kernel as a file");
    fs::write(&program, workload.elf).expect("the program as a file");
    let words = [&[workload.name.to_owned()], args].concat().join(" ");
    // A guest that hangs must not hang the tests.
    let output = Command::new("timeout")
        .args(["60", "qemu-system-x86_64", "-M", "microvm,acpi=off", "-accel", "tcg", "-m", "256", "-nodefaults"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-debugcon")
        .arg(format!("file:{}", markers.display()))
        .arg("-kernel")
        .arg(&kernel_file)
        .arg("-initrd")
        .arg(&program)
        .arg("-append")
        .arg(format!("procs={processes} tsc_khz=1000000{} -- {words}", timer(workload)))
        .output()
        .expect("timeout, of coreutils");
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let markers = fs::read_to_string(&markers).unwrap_or_default();
    assert!(!markers.is_empty(), "QEMU started no guest: {}", String::from_utf8_lossy(&output.stderr));
    Guest { console, markers }
}

/// The option for the timer that the program needs. (No more than about right is what 1 GHz is here; a sleep is then too
/// short or too long by the host's clock, and right by the guest's.)
fn timer(workload: &Workload) -> String {
    if workload.hz == 0 { String::new() } else { format!(" hz={}", workload.hz) }
}

/// The line that begins with this word, without it.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no line '{word}' in {text:?}"))
}

#[test]
fn programs_match_the_reference_in_a_guest() {
    if qemu_is_missing() {
        return;
    }
    for workload in catalogue().iter().filter(|workload| workload.native) {
        let (name, args) = (workload.name, workload.args(Profile::Quick, 0.2));
        let guest = boot("all", workload, &args, workload.processes);
        assert_eq!(guest.markers, "UBEX00", "{name} {args:?}: {}", guest.console);
        let checksum = format!("{:016x}", expected(name, &numbers(&args)));
        assert_eq!(line(&guest.console, "result "), checksum, "{name} {args:?}");
    }
}

#[test]
fn one_address_of_two_processes_is_two_frames() {
    if qemu_is_missing() {
        return;
    }
    let workload = find("two_processes").expect("two_processes");
    let guest = boot("two", workload, &["50".to_owned()], workload.processes);
    assert_eq!(guest.markers, "UBEX00", "{}", guest.console);
    let frames = ["frame pid=1 va=0xabcd pa=", "frame pid=2 va=0xabcd pa="].map(|word| line(&guest.console, word));
    let [(first, four), (second, five)] = frames.map(|frame| frame.split_once(" value=").expect("a value"));
    assert_eq!([four, five], ["4", "5"]);
    assert_ne!(first, second, "both processes share a frame");
    assert!(first.ends_with("bcd") && second.ends_with("bcd"), "the offset in the page: {first}, {second}");
    // 50 rounds and the one before the region, each of which read 4.
    let checksum = reference::fold([4; 51]);
    assert_eq!(line(&guest.console, "result "), format!("{checksum:016x}"));
}

#[test]
fn one_process_alone_is_told_so() {
    if qemu_is_missing() {
        return;
    }
    let guest = boot("alone", find("two_processes").expect("two_processes"), &[], 1);
    assert_eq!(guest.markers, "UX02", "{}", guest.console);
    assert!(
        guest.console.contains("no second process to switch to; start the guest with procs=2"),
        "{}",
        guest.console
    );
}

#[test]
fn a_program_may_write_the_scratch_port() {
    if qemu_is_missing() {
        return;
    }
    let guest = boot("port", find("port_io").expect("port_io"), &["300".to_owned()], 1);
    assert_eq!(guest.markers, "UBEX00", "{}", guest.console);
    let checksum = reference::fold(0..300);
    assert_eq!(line(&guest.console, "result "), format!("{checksum:016x}"));
}
