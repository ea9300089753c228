//! Programs of the user's own, on every engine that this host has.

use crate::common::{available, elf, program, run, stderr, stdout};
use evlab::model::{RunRecord, Status};

const ALL: [&str; 7] = ["native", "kvm", "qemu-kvm", "emu-dbt", "emu-interp", "emu-naive", "qemu-tcg"];

/// `exit(0)` after `write(1, "hi\n", 3)`.
const HELLO: &[u8] = b"\xb8\x01\0\0\0\
    \xbf\x01\0\0\0\
    \x48\x8d\x35\x10\0\0\0\
    \xba\x03\0\0\0\
    \x0f\x05\
    \xb8\x3c\0\0\0\
    \x31\xff\
    \x0f\x05\
    hi\n";

#[test]
fn a_program_of_ones_own_runs_everywhere() {
    let (_dir, path) = program(&elf(HELLO, 0));
    let path = path.to_str().expect("text");
    for engine in available(&ALL) {
        let output = run(&["run", path, "--engine", engine, "--json", "--ram", "64"]);
        assert_eq!(output.status.code(), Some(0), "{engine}: {}", stderr(&output));
        let record: RunRecord = serde_json::from_slice(&output.stdout).expect("a record");
        assert_eq!(record.status, Status::Ok, "{engine}: {record:?}");
        assert_eq!(record.console, "hi\n", "{engine}");
        assert_eq!(record.exit_code, Some(0), "{engine}");
        assert_eq!(record.checksum, None, "{engine}: it printed none");
    }
}

#[test]
fn the_record_is_also_printed_for_people() {
    let (_dir, path) = program(&elf(HELLO, 0));
    let output = run(&["run", path.to_str().expect("text"), "--engine", "native"]);
    let text = stdout(&output);
    assert!(text.starts_with("hi\n"), "{text}");
    assert!(text.contains("status") && text.contains("ok"), "{text}");
}
