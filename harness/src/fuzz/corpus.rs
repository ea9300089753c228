//! Cases kept as files: found once, replayed for ever.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use iced_x86::{Formatter, Instruction, IntelFormatter};
use serde::{Deserialize, Serialize};

use super::generate::{BUDGET, Case};
use super::layout::{self, CODE, CODE_REGION};
use crate::exec::{Mode, NameError, Registers, Snippet, nonzero_registers, set_register};

/// A case as it is written. Memory is that of the standard layout; what is not named is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// What it shows, in a sentence.
    pub about: String,
    /// 64 or 32.
    pub mode: u32,
    /// Bytes of the code, in hexadecimal; `hlt` follows.
    pub code: String,
    /// The code for readers.
    #[serde(default)]
    pub disassembly: Vec<String>,
    /// Whether the code may write to its own page.
    #[serde(default)]
    pub writable_code: bool,
    /// Registers that differ from their state after reset.
    pub registers: BTreeMap<String, String>,
    /// Address and bytes, both in hexadecimal.
    #[serde(default)]
    pub memory: BTreeMap<String, String>,
}

/// Why a file of the corpus is no case.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// It is not JSON of this form.
    #[error("{path} is not a case of the corpus: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A register is wrong.
    #[error("{path}: {source}")]
    Register {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NameError,
    },
    /// Something else is wrong.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The disassembly of code, one line an instruction.
#[must_use]
pub fn disassemble(code: &[Instruction]) -> Vec<String> {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    code.iter()
        .map(|instruction| {
            let mut text = String::new();
            formatter.format(instruction, &mut text);
            text
        })
        .collect()
}

/// Bytes in hexadecimal, blanks allowed.
///
/// # Errors
/// What is not hexadecimal, in a sentence.
pub fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()) {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("{word:?} is not bytes; write pairs of hexadecimal digits such as 48 ff c0"));
        }
        for i in (0..digits.len()).step_by(2) {
            bytes.extend(u8::from_str_radix(&digits[i..i + 2], 16));
        }
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

impl CaseFile {
    /// A case as a file.
    #[must_use]
    pub fn of(case: &Case, about: &str) -> Self {
        let snippet = &case.snippet;
        let mut memory = BTreeMap::new();
        for region in snippet.regions.iter().skip(CODE_REGION + 1) {
            let mut at = 0;
            while let Some(skip) = region.bytes[at..].iter().position(|&byte| byte != 0) {
                let from = (at + skip) & !7;
                // A run ends at eight zero bytes.
                let rest = &region.bytes[from..];
                let len = rest.chunks(8).take_while(|word| word.iter().any(|&byte| byte != 0)).count() * 8;
                memory.insert(format!("{:#x}", region.address + from as u64), hex(&rest[..len]));
                at = from + len;
            }
        }
        Self {
            about: about.to_owned(),
            mode: snippet.mode.bits(),
            code: hex(&case.bytes()),
            disassembly: disassemble(&case.code),
            writable_code: snippet.regions.get(CODE_REGION).is_some_and(|region| region.access.write),
            registers: nonzero_registers(&snippet.registers).into_iter().collect(),
            memory,
        }
    }

    /// The case in the file at `path`, which is only named in errors.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn case(&self, path: &Path) -> Result<Case, CorpusError> {
        let value = |what: String| CorpusError::Value { path: path.to_owned(), what };
        let mode = match self.mode {
            64 => Mode::Bits64,
            32 => Mode::Bits32,
            other => return Err(value(format!("mode {other} does not exist; write 64 or 32"))),
        };
        let mut registers = Registers { rip: CODE, ..Registers::default() };
        for (name, text) in &self.registers {
            set_register(&mut registers, name, text)
                .map_err(|source| CorpusError::Register { path: path.to_owned(), source })?;
        }
        let code = parse_bytes(&self.code).map_err(value)?;
        let mut regions = layout::regions(self.writable_code);
        let start = registers.rip.wrapping_sub(CODE) as usize;
        let page = regions.get_mut(CODE_REGION).and_then(|region| region.bytes.get_mut(start..));
        let page = page.ok_or_else(|| value("rip lies outside the code page".to_owned()))?;
        let kept = code.len().min(page.len());
        page[..kept].copy_from_slice(&code[..kept]);
        for (address, text) in &self.memory {
            let bytes = parse_bytes(text).map_err(value)?;
            let number = address.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let place = number.and_then(|at| {
                let region = regions.iter_mut().find(|region| region.at(at).is_some())?;
                let offset = (at - region.address) as usize;
                region.bytes.get_mut(offset..offset + bytes.len())
            });
            place
                .ok_or_else(|| value(format!("no memory for {} bytes at {address}", bytes.len())))?
                .copy_from_slice(&bytes);
        }
        Ok(Case::of(Snippet { mode, registers, regions, budget: BUDGET }, code.len()))
    }
}

/// Reads all cases of a folder (`*.json`), by name. A folder that does not exist is empty.
///
/// # Errors
/// A file that is no case.
pub fn load(folder: &Path) -> Result<Vec<(PathBuf, Case)>, CorpusError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| CorpusError::File { path, source }
    };
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file(folder))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(file(folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut cases = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(file(&path))?;
        let parsed: CaseFile =
            serde_json::from_str(&text).map_err(|source| CorpusError::Form { path: path.clone(), source })?;
        let case = parsed.case(&path)?;
        cases.push((path, case));
    }
    Ok(cases)
}

/// Writes a case into a folder, which is made if it does not exist, under a name made of its code.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn save(folder: &Path, case: &Case, about: &str) -> Result<PathBuf, CorpusError> {
    let parsed = CaseFile::of(case, about);
    let mnemonic = case.code.last().map_or("empty".to_owned(), |i| format!("{:?}", i.mnemonic()).to_ascii_lowercase());
    let digest: String = parsed.code.chars().filter(|c| !c.is_whitespace()).take(30).collect();
    let path = folder.join(format!("{mnemonic}-{}-{digest}.json", parsed.mode));
    let failed = |source| CorpusError::File { path: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let text =
        serde_json::to_string_pretty(&parsed).map_err(|source| CorpusError::Form { path: path.clone(), source })?;
    std::fs::write(&path, text + "\n").map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Catalog, Generator, features};

    #[test]
    fn a_case_survives_being_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut generator = Generator::new(2, Catalog::new(&features::host()));
        let case = generator.case(11);
        let path = save(folder.path(), &case, "a test").unwrap();
        let loaded = load(folder.path()).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].0, path);
        let mut expected = case.snippet.clone();
        expected.regions.iter_mut().zip(&loaded[0].1.snippet.regions).take(1).for_each(|(mine, read)| {
            // The page behind the code is `hlt` in both.
            assert_eq!(mine.bytes, read.bytes);
        });
        expected.registers.selectors = [0; 6];
        assert_eq!(loaded[0].1.snippet, expected);
    }

    #[test]
    fn wrong_files_are_named_with_what_is_wrong() {
        let path = Path::new("x.json");
        let good = CaseFile {
            about: String::new(),
            mode: 64,
            code: "90".to_owned(),
            disassembly: Vec::new(),
            writable_code: false,
            registers: BTreeMap::new(),
            memory: BTreeMap::new(),
        };
        assert!(good.case(path).is_ok());
        let text = |file: CaseFile| file.case(path).unwrap_err().to_string();
        assert!(text(CaseFile { mode: 16, ..good.clone() }).contains("mode 16"));
        assert!(text(CaseFile { code: "9".into(), ..good.clone() }).contains("is not bytes"));
        let registers = BTreeMap::from([("rqx".to_owned(), "0".to_owned())]);
        assert!(text(CaseFile { registers, ..good.clone() }).contains("no register"));
        let memory = BTreeMap::from([("0x1".to_owned(), "00".to_owned())]);
        assert!(text(CaseFile { memory, ..good }).contains("no memory"));
        assert!(load(Path::new("/nonexistent/corpus")).unwrap().is_empty());
    }

    #[test]
    fn bytes_may_be_written_with_or_without_blanks() {
        assert_eq!(parse_bytes("48 ff c0"), Ok(vec![0x48, 0xff, 0xc0]));
        assert_eq!(parse_bytes("48ffc0, 0xf4"), Ok(vec![0x48, 0xff, 0xc0, 0xf4]));
        assert_eq!(parse_bytes(""), Ok(vec![]));
        assert!(parse_bytes("4").is_err() && parse_bytes("zz").is_err());
    }
}
