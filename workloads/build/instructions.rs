//! Checks by disassembly that the kernel's ring-0 code uses no instruction that a KVM backend may fail to emulate.
//!
//! On the PVM backend (`kvm_pvm`) ring 0 is emulated by the host kernel, which knows few vector instructions and no x87;
//! the kernel must also leave the vector registers alone, as it does not save those of the program it interrupts.
//! Shared by `build.rs` and a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, EncodingKind, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpKind,
};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind};

/// The functions that may use vector registers, and then only to load and store: they run where no program has state.
const VECTOR_FUNCTIONS: [&str; 1] = ["boot_copy"];

/// The routines of the micro-benchmarks begin so: which backend can run what they do is what they tell.
const MEASURED: &str = "micro_";

/// The 32-bit code of the PVH entry lies between these two symbols.
const ENTRY_32BIT: (&str, &str) = ("pvh_entry", "long_mode");

/// One instruction that ring 0 must not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its address.
    pub address: u64,
    /// Its mnemonic.
    pub mnemonic: Mnemonic,
    /// The symbol it belongs to.
    pub symbol: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Why an image is no kernel that every backend can run.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// It is no ELF64.
    NotElf(object::Error),
    /// It has no executable section with instructions, so nothing was checked.
    NoCode,
    /// It uses these instructions.
    Forbidden(Vec<Violation>),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf(why) => write!(f, "not an ELF64 image: {why}"),
            Self::NoCode => f.write_str("the image holds no executable section"),
            Self::Forbidden(violations) => {
                write!(f, "{} instructions that ring 0 must not use:", violations.len())?;
                for Violation { address, mnemonic, symbol, why } in violations {
                    write!(f, "\n  {address:#x} in {symbol}: {} ({why})", format!("{mnemonic:?}").to_lowercase())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for CheckError {}

/// Disassembles every executable section; yields the number of instructions checked.
///
/// # Errors
/// [`CheckError`], with every offending instruction.
pub(crate) fn check(image: &[u8]) -> Result<usize, CheckError> {
    let file = ElfFile64::<Endianness>::parse(image).map_err(CheckError::NotElf)?;
    let mut symbols = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.section_index().is_some() {
            symbols.insert(symbol.address(), symbol.name().unwrap_or("?").to_owned());
        }
    }
    let mut sweep = Sweep { symbols, info: InstructionInfoFactory::new(), checked: 0, violations: Vec::new() };
    for section in file.sections() {
        if section.kind() == SectionKind::Text {
            let bytes = section.data().map_err(CheckError::NotElf)?;
            sweep.section(section.address(), bytes);
        }
    }
    match (sweep.checked, sweep.violations.is_empty()) {
        (0, _) => Err(CheckError::NoCode),
        (checked, true) => Ok(checked),
        _ => Err(CheckError::Forbidden(sweep.violations)),
    }
}

/// A linear sweep over code. Compilers and linkers put no data between instructions here but `int3` padding.
struct Sweep {
    symbols: BTreeMap<u64, String>,
    info: InstructionInfoFactory,
    checked: usize,
    violations: Vec<Violation>,
}

impl Sweep {
    fn section(&mut self, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        // Decoding starts afresh at every symbol, so that a damaged function does not hide the next.
        let mut cuts: BTreeSet<u64> = self.symbols.range(start..end).map(|(&address, _)| address).collect();
        cuts.extend([start, end]);
        let cuts: Vec<u64> = cuts.into_iter().collect();
        let mut bitness = 64;
        for pair in cuts.windows(2) {
            let symbol = self.symbols.get(&pair[0]).cloned().unwrap_or_default();
            if symbol == ENTRY_32BIT.0 {
                bitness = 32;
            } else if symbol == ENTRY_32BIT.1 {
                bitness = 64;
            }
            self.function(&symbol, pair[0], &bytes[(pair[0] - start) as usize..(pair[1] - start) as usize], bitness);
        }
    }

    fn function(&mut self, symbol: &str, start: u64, bytes: &[u8], bitness: u32) {
        if symbol.starts_with(MEASURED) {
            return;
        }
        let may_move_vectors = VECTOR_FUNCTIONS.contains(&symbol);
        let mut decoder = Decoder::with_ip(bitness, bytes, start, DecoderOptions::NONE);
        let mut falls_through = true;
        while decoder.can_decode() {
            let rest = &bytes[decoder.position()..];
            // The linker fills the gap before the next function with int3, which nothing can reach. A call counts as
            // an end, since a function that does not return may be called last.
            if !falls_through && rest.iter().all(|&byte| byte == 0xcc) {
                return;
            }
            let instruction = decoder.decode();
            self.checked += 1;
            falls_through = matches!(
                instruction.flow_control(),
                FlowControl::Next
                    | FlowControl::ConditionalBranch
                    | FlowControl::Interrupt
                    | FlowControl::XbeginXabortXend
            );
            if let Some(why) = self.objection(&instruction, may_move_vectors) {
                let (address, mnemonic, symbol) = (instruction.ip(), instruction.mnemonic(), symbol.to_owned());
                self.violations.push(Violation { address, mnemonic, symbol, why });
            }
        }
    }

    /// What is wrong with an instruction, if anything.
    fn objection(&mut self, instruction: &Instruction, may_move_vectors: bool) -> Option<&'static str> {
        let mnemonic = instruction.mnemonic();
        if instruction.code() == Code::INVALID {
            return Some("bytes that are no instruction");
        }
        if instruction.code().encoding() != EncodingKind::Legacy {
            return Some("VEX, EVEX or XOP encoding is not emulated");
        }
        if fails_in_ring_0(mnemonic) {
            return Some("fails where ring 0 is emulated");
        }
        if is_fine_in_ring_0(mnemonic) {
            return None;
        }
        let touches_vectors = self
            .info
            .info(instruction)
            .used_registers()
            .iter()
            .any(|used| used.register().is_vector_register() || used.register().is_mm() || used.register().is_st());
        if touches_vectors {
            let through_memory =
                (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
            let is_move = matches!(mnemonic, Mnemonic::Movups | Mnemonic::Movaps | Mnemonic::Movdqu);
            return match (may_move_vectors, is_move && through_memory) {
                (true, true) => None,
                (true, false) => Some("only loads and stores of vectors are emulated"),
                (false, _) => Some("touches a register that belongs to the interrupted program"),
            };
        }
        instruction.cpuid_features().iter().any(is_vector_or_x87).then_some("x87, MMX or SSE is not emulated")
    }
}

/// Instructions measured to end in an emulation failure, a wrong result or a hang.
fn fails_in_ring_0(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{
        Adcx, Adox, Clac, Cmpxchg16b, Crc32, Int, Int1, Int3, Into, Invpcid, Lar, Lsl, Lzcnt, Movbe, Popcnt, Rdpid,
        Rdtscp, Stac, Sysenter, Sysexit, Tzcnt, Vmcall, Vmmcall, Xgetbv, Xrstor, Xrstor64, Xrstors, Xrstors64, Xsave,
        Xsave64, Xsavec, Xsavec64, Xsaveopt, Xsaveopt64, Xsaves, Xsaves64, Xsetbv,
    };
    matches!(
        mnemonic,
        Adcx | Adox
            | Clac
            | Cmpxchg16b
            | Crc32
            | Int
            | Int1
            | Int3
            | Into
            | Invpcid
            | Lar
            | Lsl
            | Lzcnt
            | Movbe
            | Popcnt
            | Rdpid
            | Rdtscp
            | Stac
            | Sysenter
            | Sysexit
            | Tzcnt
            | Vmcall
            | Vmmcall
            | Xgetbv
            | Xrstor
            | Xrstor64
            | Xrstors
            | Xrstors64
            | Xsave
            | Xsave64
            | Xsavec
            | Xsavec64
            | Xsaveopt
            | Xsaveopt64
            | Xsaves
            | Xsaves64
            | Xsetbv
    )
}

/// Instructions of the vector and x87 extensions that are emulated and change no register of the program for good.
fn is_fine_in_ring_0(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Fninit, Fxrstor, Fxrstor64, Fxsave, Fxsave64, Lfence, Mfence, Sfence};
    matches!(mnemonic, Fninit | Fxrstor | Fxrstor64 | Fxsave | Fxsave64 | Lfence | Mfence | Sfence)
}

fn is_vector_or_x87(feature: &CpuidFeature) -> bool {
    use CpuidFeature::{
        FPU, FPU287, FPU287XL_ONLY, FPU387, FPU387SL_ONLY, MMX, SSE, SSE2, SSE3, SSE4_1, SSE4_2, SSE4A, SSSE3,
    };
    matches!(
        feature,
        FPU | FPU287
            | FPU287XL_ONLY
            | FPU387
            | FPU387SL_ONLY
            | MMX
            | SSE
            | SSE2
            | SSE3
            | SSSE3
            | SSE4_1
            | SSE4_2
            | SSE4A
    )
}
