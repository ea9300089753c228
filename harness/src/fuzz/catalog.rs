//! The instructions that are fuzzed.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, CodeSize, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic};

use super::encode::encode;
use super::features::Features;
use super::generate::processors_differ;
use super::recipe::Recipe;
use super::rng::Dice;
use crate::exec::Mode;

/// Instructions that cannot be compared, and why.
const EXCLUDED: [(&[Mnemonic], &str); 7] = [
    (
        &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Vmcall, Mnemonic::Vmmcall],
        "calls a kernel or a hypervisor, which the native engine forbids",
    ),
    (&[Mnemonic::Sysexit, Mnemonic::Sysexitq], "AMD's processors lack it in long mode"),
    (&[Mnemonic::Sgdt, Mnemonic::Sidt, Mnemonic::Sldt, Mnemonic::Str, Mnemonic::Smsw], "Linux hides the answer (UMIP)"),
    (
        &[Mnemonic::Rdtsc, Mnemonic::Rdtscp, Mnemonic::Rdpmc, Mnemonic::Rdrand, Mnemonic::Rdseed, Mnemonic::Rdpid],
        "the answer is another each time",
    ),
    (&[Mnemonic::Cpuid, Mnemonic::Xgetbv], "the answer describes the processor"),
    (
        &[
            Mnemonic::Xsave,
            Mnemonic::Xsave64,
            Mnemonic::Xsaveopt,
            Mnemonic::Xsaveopt64,
            Mnemonic::Xsavec,
            Mnemonic::Xsavec64,
            Mnemonic::Xrstor,
            Mnemonic::Xrstor64,
        ],
        "the image depends on the features that the processor enables",
    ),
    (&[Mnemonic::Lsl, Mnemonic::Lar, Mnemonic::Verr, Mnemonic::Verw], "the kernel's descriptor tables show through"),
];

/// Why there is nothing to fuzz.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A mnemonic that does not exist or is not fuzzed.
    #[error("{0:?} is not among the instructions that are fuzzed; leave out --only to see all with --coverage FILE")]
    Unknown(String),
}

/// The instructions to fuzz, by mode.
#[derive(Debug, Clone)]
pub struct Catalog {
    features: Features,
    long: Vec<Recipe>,
    compatible: Vec<Recipe>,
}

/// Tries to encode an instruction before it counts as one that the decoder never yields (an alias).
const TRIES: u64 = 120;

impl Catalog {
    /// Every instruction of `features` that can be encoded and compared.
    #[must_use]
    pub fn new(features: &Features) -> Self {
        let recipes: Vec<Recipe> = Code::values()
            .filter(|code| features.have(code.cpuid_features()) && excluded(code.mnemonic()).is_none())
            .filter(|&code| code != Code::Hlt && !processors_differ(code))
            .filter_map(Recipe::new)
            .collect();
        let of = |mode: Mode| {
            let has = |recipe: &&Recipe| features.allow(recipe.code, mode.bits()) && encodable(recipe, mode);
            recipes.iter().filter(has).cloned().collect()
        };
        Self { features: features.clone(), long: of(Mode::Bits64), compatible: of(Mode::Bits32) }
    }

    /// Only the instructions with these mnemonics.
    ///
    /// # Errors
    /// A mnemonic that is not in the catalogue.
    pub fn only(mut self, mnemonics: &[String]) -> Result<Self, CatalogError> {
        if mnemonics.is_empty() {
            return Ok(self);
        }
        let name = |recipe: &Recipe| mnemonic_name(recipe.code.mnemonic());
        for wanted in mnemonics {
            let wanted = wanted.to_ascii_lowercase();
            if !self.long.iter().chain(&self.compatible).any(|recipe| name(recipe) == wanted) {
                return Err(CatalogError::Unknown(wanted));
            }
        }
        let keep = |recipe: &Recipe| mnemonics.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name(recipe)));
        self.long.retain(keep);
        self.compatible.retain(keep);
        Ok(self)
    }

    /// Instructions that there are but that are not compared.
    #[must_use]
    pub fn exclusions(&self) -> BTreeSet<Exclusion> {
        Code::values()
            .filter(|code| self.features.have(code.cpuid_features()))
            .filter_map(|code| {
                let mnemonic = code.mnemonic();
                let reason = excluded(mnemonic)?;
                Some(Exclusion { name: mnemonic_name(mnemonic), reason, checked_by: checked_by(mnemonic) })
            })
            .collect()
    }

    /// Whether there are 256-bit registers.
    pub(super) fn has_avx(&self) -> bool {
        self.features.have(&[CpuidFeature::AVX])
    }

    /// The recipes of a mode.
    pub(super) fn recipes(&self, mode: Mode) -> &[Recipe] {
        match mode {
            Mode::Bits64 => &self.long,
            Mode::Bits32 => &self.compatible,
        }
    }

    /// Whether an instruction that was decoded may be executed and compared. An undefined one may: it raises #UD.
    pub(super) fn allows(&self, instruction: &Instruction) -> bool {
        let code = instruction.code();
        if code == Code::INVALID {
            return true;
        }
        let system_call = code == Code::Int_imm8 && instruction.immediate8() == 0x80;
        let bits = if instruction.code_size() == CodeSize::Code64 { 64 } else { 32 };
        self.features.allow(code, bits) && excluded(code.mnemonic()).is_none() && !system_call
    }

    /// All encodings, with their mnemonic: what a table of coverage lists.
    #[must_use]
    pub fn encodings(&self) -> BTreeMap<String, Vec<Code>> {
        let mut by_name: BTreeMap<String, Vec<Code>> = BTreeMap::new();
        for recipe in self.long.iter().chain(&self.compatible) {
            let codes = by_name.entry(mnemonic_name(recipe.code.mnemonic())).or_default();
            if !codes.contains(&recipe.code) {
                codes.push(recipe.code);
            }
        }
        by_name
    }
}

/// The mnemonic in lower case.
pub(super) fn mnemonic_name(mnemonic: Mnemonic) -> String {
    format!("{mnemonic:?}").to_ascii_lowercase()
}

/// Why instructions of this mnemonic are not compared.
fn excluded(mnemonic: Mnemonic) -> Option<&'static str> {
    EXCLUDED.iter().find(|(mnemonics, _)| mnemonics.contains(&mnemonic)).map(|&(_, reason)| reason)
}

/// An instruction that is not compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exclusion {
    /// Mnemonic, in lower case.
    pub name: String,
    /// Why it is not.
    pub reason: &'static str,
    /// The tests that check it instead.
    pub checked_by: &'static str,
}

/// Where tests are that check instructions which are not compared.
fn checked_by(mnemonic: Mnemonic) -> &'static str {
    use Mnemonic as M;
    match mnemonic {
        M::Cpuid => "emu-min/tests/models.rs",
        M::Xgetbv
        | M::Xsave
        | M::Xsave64
        | M::Xsaveopt
        | M::Xsaveopt64
        | M::Xsavec
        | M::Xsavec64
        | M::Xrstor
        | M::Xrstor64 => "emu-min/tests/xsave.rs",
        M::Syscall => "emu-min/tests/exceptions.rs",
        M::Sysenter | M::Sysexit | M::Sysexitq | M::Lar | M::Lsl | M::Verr | M::Verw => "emu-min/tests/selectors.rs",
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => "emu-min/tests/supervisor_access.rs",
        _ => "emu-min/tests/uncompared.rs",
    }
}

/// Whether encodings by `recipe` decode to its instruction in `mode`.
fn encodable(recipe: &Recipe, mode: Mode) -> bool {
    let info = recipe.code.op_code();
    let exists = if mode == Mode::Bits64 { info.mode64() } else { info.mode32() };
    exists
        && (0..TRIES).any(|i| {
            let bytes = encode(recipe, mode, &mut Dice::new(recipe.code as u64, i), false);
            Decoder::new(mode.bits(), &bytes, DecoderOptions::NONE).decode().code() == recipe.code
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::features;

    #[test]
    fn the_host_s_own_instructions_are_in_the_catalogue() {
        let catalog = Catalog::new(&features::host());
        let encodings = catalog.encodings();
        for name in ["add", "imul", "pshufb", "fadd", "cmpxchg16b", "aaa", "jrcxz", "fxsave", "movdqu", "iretq", "in"] {
            assert!(encodings.contains_key(name), "{name}");
        }
        for name in ["syscall", "cpuid", "rdtsc", "hlt", "vaddps zmm"] {
            assert!(!encodings.contains_key(name), "{name}");
        }
        assert!(catalog.recipes(Mode::Bits64).len() > 1000);
        let only = catalog.clone().only(&["ADD".to_owned()]).unwrap();
        assert_eq!(only.encodings().keys().collect::<Vec<_>>(), ["add"]);
        assert_eq!(catalog.only(&["cpuid".to_owned()]).unwrap_err(), CatalogError::Unknown("cpuid".to_owned()));
    }

    #[test]
    fn kernel_calls_are_never_allowed() {
        let catalog = Catalog::new(&features::host());
        for bytes in [&[0x0f, 0x05][..], &[0xcd, 0x80], &[0x0f, 0x34], &[0x0f, 0x01, 0xc1]] {
            let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
            assert!(!catalog.allows(&instruction), "{bytes:x?}");
        }
        assert!(catalog.allows(&Decoder::new(64, &[0xcd, 0x81], DecoderOptions::NONE).decode()));
    }
}
