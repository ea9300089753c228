//! What the tests of the program share.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The program under test.
pub(crate) fn evlab() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evlab"));
    // Help is wrapped to the terminal; here there is none.
    command.env("COLUMNS", "100");
    command
}

/// Runs it with these arguments.
pub(crate) fn run(args: &[&str]) -> Output {
    evlab().args(args).output().expect("start evlab")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A static executable for address 0x400000 whose only segment, of `memory` bytes, holds `code` and starts with it.
pub(crate) fn elf(code: &[u8], memory: u64) -> Vec<u8> {
    let base: u64 = 0x40_0000;
    let headers: u64 = 64 + 56;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend(2u16.to_le_bytes()); // ET_EXEC
    elf.extend(62u16.to_le_bytes()); // EM_X86_64
    elf.extend(1u32.to_le_bytes());
    elf.extend((base + headers).to_le_bytes()); // entry
    elf.extend(64u64.to_le_bytes()); // program headers
    elf.extend([0; 12]); // no sections, no flags
    for half in [64u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes()); // PT_LOAD
    elf.extend(7u32.to_le_bytes()); // readable, writable, executable
    let in_file = headers + code.len() as u64;
    for word in [0, base, base, in_file, in_file.max(memory), 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// The engines that this host has, from a candidate list; says which are missing and why. With
/// `EVLAB_REQUIRE_ENGINES` set, as in CI, none may be missing.
pub(crate) fn available(candidates: &[&'static str]) -> Vec<&'static str> {
    use evlab::engines::{Availability, engine};
    candidates
        .iter()
        .copied()
        .filter(|name| match engine(name.parse().expect("an engine")).availability() {
            Availability::Available { .. } => true,
            Availability::Missing { reason, .. } => {
                assert!(std::env::var_os("EVLAB_REQUIRE_ENGINES").is_none(), "{name} is required: {reason}");
                println!("not tested on {name}: {reason}");
                false
            }
        })
        .collect()
}

/// Writes a program file into a fresh folder, which lives as long as the first value.
pub(crate) fn program(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("program.elf");
    std::fs::write(&path, bytes).expect("write the program");
    (dir, path)
}
