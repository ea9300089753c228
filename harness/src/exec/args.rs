//! The command line of `evlab exec`, and the snippet it describes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::memory::{Access, PAGE, Region};
use super::names::{NameError, set_register};
use super::registers::Registers;
use super::runner::Engine;
use super::snippet::{MAX_MEMORY, Mode, Snippet};
use crate::cli::{CpuArgs, EmuArgs};
use crate::fuzz::corpus::parse_bytes;

/// Where code goes without `--entry`.
const DEFAULT_ENTRY: u64 = 0x40_0000;
/// The stack that is there unless `rsp` is set.
const STACK: u64 = 0x6fff_0000;
const STACK_LEN: u64 = 0x1_0000;
const STACK_POINTER: u64 = STACK + STACK_LEN - 0x100;
/// `hlt`.
const HLT: u8 = 0xf4;

/// `evlab exec`
#[derive(Debug, Args)]
#[command(after_long_help = EXEC_HELP)]
pub struct ExecArgs {
    /// Machine code in hexadecimal, put at the entry; `hlt` follows it
    #[arg(long, value_name = "HEX", value_parser = Bytes::from_str)]
    pub bytes: Option<Bytes>,
    /// Put the bytes of a file at an address; may be given several times
    #[arg(long, value_name = "ADDR=FILE", value_parser = Load::from_str)]
    pub load: Vec<Load>,
    /// Map zeroed memory, readable and as said (default rwx); may be given several times
    #[arg(long, value_name = "ADDR:SIZE[:rwx]", value_parser = Map::from_str)]
    pub map: Vec<Map>,
    /// Set a register; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = Assignment::from_str)]
    pub reg: Vec<Assignment>,
    /// 64-bit mode, or 32-bit code in compatibility mode
    #[arg(long, value_name = "64|32", default_value = "64", value_parser = parse_mode)]
    pub mode: Mode,
    /// Where execution begins [default: where --bytes or the first --load is, 0x400000 for --bytes]
    #[arg(long, value_name = "ADDR", value_parser = parse_number)]
    pub entry: Option<u64>,
    /// The engines, separated by commas: native, kvm, emu-naive, emu-interp, emu-dbt
    #[arg(long, short, alias = "engines", value_name = "A,B", value_delimiter = ',', default_value = "emu-interp", value_parser = Engine::from_str)]
    pub engine: Vec<Engine>,
    /// The emulated CPU.
    #[command(flatten)]
    pub cpu: CpuArgs,
    /// Its mechanisms.
    #[command(flatten)]
    pub emu: EmuArgs,
    /// Stop after this many instructions
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub budget: u64,
    /// Print the final state as JSON
    #[arg(long)]
    pub json: bool,
}

const EXEC_HELP: &str = "\
The code runs in ring 3 until it reaches `hlt`, raises an exception or has used up the budget.
Without --reg rsp=... there is a stack of 64 KiB below 0x70000000. Numbers are decimal or 0x-hexadecimal.
With several engines, what differs from the first is listed, and the exit code is 1 if any manual defines it.
The native engine bounds the time instead of counting instructions, and refuses system calls.

Examples:
  evlab exec --bytes \"48 ff c0\" --reg rax=41
  evlab exec --bytes \"0f 0b\" --engine native,emu-naive,emu-interp --json
  evlab exec --load 0x10000=test.bin --map 0x20000:0x4000:rw --reg rsi=0x20000 --mode 32 --engine native";

/// Bytes of `--bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = parse_bytes(text)?;
        if bytes.is_empty() { Err("give at least one byte, such as 90".to_owned()) } else { Ok(Self(bytes)) }
    }
}

/// `ADDR=FILE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Where the first byte goes.
    pub address: u64,
    /// The file.
    pub file: PathBuf,
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, file) = text.split_once('=').ok_or("write ADDR=FILE, such as 0x400000=code.bin".to_owned())?;
        Ok(Self { address: parse_number(address)?, file: file.into() })
    }
}

/// `ADDR:SIZE[:rwx]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    /// First address, a multiple of the page size.
    pub address: u64,
    /// Bytes, a multiple of the page size.
    pub size: u64,
    /// What may be done with it.
    pub access: Access,
}

impl FromStr for Map {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let form = || "write ADDR:SIZE or ADDR:SIZE:rwx, such as 0x20000:0x4000:rw".to_owned();
        let (Some(address), Some(size), access, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(form());
        };
        let (address, size) = (parse_number(address)?, parse_number(size)?);
        if !address.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || size == 0 {
            return Err("address and size must be multiples of 0x1000, the size not 0".to_owned());
        }
        if size > MAX_MEMORY {
            return Err(format!("{size:#x} bytes are too much; at most 64 MiB in all"));
        }
        let access = match access {
            None => Access::RWX,
            Some(letters) => {
                let known = letters.chars().all(|letter| "rwx".contains(letter));
                if !known || !letters.contains('r') {
                    return Err(format!("access {letters:?} does not exist; write r, rw, rx or rwx"));
                }
                Access { write: letters.contains('w'), execute: letters.contains('x') }
            }
        };
        Ok(Self { address, size, access })
    }
}

/// `NAME=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The register.
    pub name: String,
    /// The value.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as rax=0x10".to_owned())?;
        let assignment = Self { name: name.to_owned(), value: value.to_owned() };
        // Wrong names and values are refused here, where the option is named.
        assignment.apply(&mut Registers::default()).map_err(|e| e.to_string())?;
        Ok(assignment)
    }
}

impl Assignment {
    fn apply(&self, registers: &mut Registers) -> Result<(), NameError> {
        set_register(registers, &self.name, &self.value)
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "64" => Ok(Mode::Bits64),
        "32" => Ok(Mode::Bits32),
        _ => Err("write 64 or 32".to_owned()),
    }
}

/// An address as users write it: decimal, or 0x-hexadecimal, with underscores where they like.
pub(crate) fn parse_number(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        _ => digits.parse(),
    };
    number.map_err(|_| format!("{text:?} is not an address; write a decimal or 0x-hexadecimal number"))
}

/// Why the arguments describe no snippet.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Nothing to execute.
    #[error("there is no code: give --bytes \"48 ff c0\" or --load ADDR=FILE")]
    NoCode,
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// Two `--map` overlap.
    #[error("two --map overlap at {address:#x}; keep them apart")]
    Overlap {
        /// Where the second begins.
        address: u64,
    },
    /// Bytes that do not fit below the end of the address space.
    #[error("{bytes} bytes at {address:#x} do not fit into the address space or the 64 MiB of a snippet")]
    TooBig {
        /// Where they go.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// A register.
    #[error(transparent)]
    Register(#[from] NameError),
}

impl ExecArgs {
    /// The snippet that the arguments describe.
    ///
    /// # Errors
    /// They contradict each other, or a file cannot be read.
    pub fn snippet(&self) -> Result<Snippet, ArgsError> {
        let mut pages = Pages::default();
        for map in &self.map {
            pages.map(map)?;
        }
        for load in &self.load {
            let bytes =
                std::fs::read(&load.file).map_err(|source| ArgsError::File { path: load.file.clone(), source })?;
            pages.write(load.address, &bytes, 0)?;
        }
        let first_load = self.load.first().map(|load| load.address);
        let entry = match (&self.bytes, self.entry.or(first_load)) {
            (None, None) => return Err(ArgsError::NoCode),
            (None, Some(entry)) => entry,
            (Some(bytes), _) => {
                let entry = self.entry.unwrap_or(DEFAULT_ENTRY);
                let mut code = bytes.0.clone();
                code.push(HLT);
                pages.write(entry, &code, HLT)?;
                entry
            }
        };
        let mut registers = Registers { rip: entry, ..Registers::default() };
        for assignment in &self.reg {
            assignment.apply(&mut registers)?;
        }
        if registers.gprs[4] == 0 && pages.is_free(STACK, STACK_LEN) {
            registers.gprs[4] = STACK_POINTER;
            pages.map(&Map { address: STACK, size: STACK_LEN, access: Access::RW })?;
        }
        Ok(Snippet { mode: self.mode, registers, regions: pages.regions(), budget: self.budget })
    }
}

/// Memory page by page, until it becomes regions.
#[derive(Default)]
struct Pages(BTreeMap<u64, (Vec<u8>, Access)>);

impl Pages {
    fn map(&mut self, map: &Map) -> Result<(), ArgsError> {
        for page in (0..map.size).step_by(PAGE as usize) {
            let address = map.address.checked_add(page).ok_or(too_big(map.address, map.size as usize))?;
            if self.0.insert(address, (vec![0; PAGE as usize], map.access)).is_some() {
                return Err(ArgsError::Overlap { address });
            }
        }
        Ok(())
    }

    fn is_free(&self, address: u64, len: u64) -> bool {
        self.0.range(address..address + len).next().is_none()
    }

    /// Writes bytes, mapping pages filled with `filler` where there are none.
    fn write(&mut self, address: u64, bytes: &[u8], filler: u8) -> Result<(), ArgsError> {
        let end = address.checked_add(bytes.len() as u64);
        if end.is_none() || bytes.len() as u64 > MAX_MEMORY {
            return Err(too_big(address, bytes.len()));
        }
        let mut rest = bytes;
        let mut at = address;
        while !rest.is_empty() {
            let page = at & !(PAGE - 1);
            let offset = (at - page) as usize;
            let (head, tail) = rest.split_at(rest.len().min(PAGE as usize - offset));
            let (memory, _) = self.0.entry(page).or_insert_with(|| (vec![filler; PAGE as usize], Access::RWX));
            memory[offset..offset + head.len()].copy_from_slice(head);
            at += head.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Consecutive pages with the same rights as one region.
    fn regions(self) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        for (address, (bytes, access)) in self.0 {
            match regions.last_mut() {
                Some(last) if last.access == access && last.address + last.bytes.len() as u64 == address => {
                    last.bytes.extend(bytes);
                }
                _ => regions.push(Region { address, bytes, access }),
            }
        }
        regions
    }
}

fn too_big(address: u64, bytes: usize) -> ArgsError {
    ArgsError::TooBig { address, bytes }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        exec: ExecArgs,
    }

    fn parse(args: &[&str]) -> Result<ExecArgs, String> {
        Cli::try_parse_from([&["exec"], args].concat()).map(|cli| cli.exec).map_err(|e| e.to_string())
    }

    #[test]
    fn bytes_get_a_page_a_stack_and_a_hlt() {
        let snippet = parse(&["--bytes", "48 ff c0", "--reg", "rax=41"]).unwrap().snippet().unwrap();
        assert_eq!((snippet.registers.rip, snippet.registers.gprs[0]), (DEFAULT_ENTRY, 41));
        assert_eq!(snippet.registers.gprs[4], STACK_POINTER);
        assert_eq!(snippet.regions[0].at(DEFAULT_ENTRY).unwrap()[..5], [0x48, 0xff, 0xc0, HLT, HLT]);
        assert_eq!(snippet.regions.len(), 2);
        assert!(snippet.validate().is_ok());
    }

    #[test]
    fn files_and_maps_share_pages() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("code.bin");
        std::fs::write(&file, [1, 2, 3, 4]).unwrap();
        let load = format!("0x10ffe={}", file.display());
        let args = parse(&["--load", &load, "--map", "0x11000:0x1000:r", "--reg", "rsp=0x11000"]).unwrap();
        let snippet = args.snippet().unwrap();
        assert_eq!(snippet.registers.rip, 0x10ffe);
        assert_eq!(snippet.regions.len(), 2);
        assert_eq!(snippet.regions[1].access, Access::R);
        assert_eq!(snippet.regions[1].bytes[..3], [3, 4, 0]);
    }

    #[test]
    fn bad_input_is_refused_in_a_sentence() {
        for (args, says) in [
            (&["--bytes", "4"][..], "pairs of hexadecimal digits"),
            (&["--bytes", ""], "at least one byte"),
            (&["--map", "0x1000"], "ADDR:SIZE"),
            (&["--map", "0x1001:0x1000"], "multiples of 0x1000"),
            (&["--map", "0x1000:0x1000:w"], "r, rw, rx or rwx"),
            (&["--load", "x"], "ADDR=FILE"),
            (&["--load", "zz=x"], "not an address"),
            (&["--reg", "rax"], "NAME=VALUE"),
            (&["--reg", "foo=1"], "no register"),
            (&["--mode", "16"], "write 64 or 32"),
            (&["--engine", "qemu-tcg"], "choose from native"),
            (&["--budget", "0"], "--budget"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(says), "{args:?}: {error}");
        }
        assert!(matches!(parse(&[]).unwrap().snippet(), Err(ArgsError::NoCode)));
        let overlap = parse(&["--bytes", "90", "--map", "0x1000:0x2000", "--map", "0x2000:0x1000"]).unwrap();
        assert!(matches!(overlap.snippet(), Err(ArgsError::Overlap { address: 0x2000 })));
        let missing = parse(&["--load", "0x1000=/nonexistent"]).unwrap();
        assert!(matches!(missing.snippet(), Err(ArgsError::File { .. })));
        let high = parse(&["--bytes", "90 90", "--entry", "0xffffffffffffffff"]).unwrap();
        assert!(matches!(high.snippet(), Err(ArgsError::TooBig { .. })));
    }
}
