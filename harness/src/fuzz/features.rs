//! Which instructions a processor says it has: CPUID, in the names of the decoder.

use std::collections::BTreeSet;

use emu_min::Model;
use iced_x86::{Code, CpuidFeature};

use crate::exec::{EmuRunner, Engine, ExecError, Mode, Region, Registers, Runner, Snippet};

/// Extensions that a processor has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    extensions: BTreeSet<u32>,
    /// LAHF and SAHF exist in 64-bit mode, which is no extension by the decoder's names.
    lahf_in_64_bit_mode: bool,
}

/// What every x86-64 processor has, or has no CPUID bit for.
const ALWAYS: [CpuidFeature; 15] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::CPUID,
    CpuidFeature::MSR,
    CpuidFeature::TSC,
    CpuidFeature::RDPMC,
    CpuidFeature::SMM,
    CpuidFeature::PAUSE,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::FPU287,
    CpuidFeature::FPU387,
];

/// Leaf (sub-leaf 0), register (EAX, EBX, ECX, EDX as 0 to 3), bit and extension (Intel SDM volume 2, CPUID).
const BITS: [(u32, usize, u32, CpuidFeature); 39] = [
    (1, 3, 0, CpuidFeature::FPU),
    (1, 3, 8, CpuidFeature::CX8),
    (1, 3, 11, CpuidFeature::SEP),
    (1, 3, 15, CpuidFeature::CMOV),
    (1, 3, 19, CpuidFeature::CLFSH),
    (1, 3, 23, CpuidFeature::MMX),
    (1, 3, 24, CpuidFeature::FXSR),
    (1, 3, 25, CpuidFeature::SSE),
    (1, 3, 26, CpuidFeature::SSE2),
    (1, 2, 0, CpuidFeature::SSE3),
    (1, 2, 1, CpuidFeature::PCLMULQDQ),
    (1, 2, 9, CpuidFeature::SSSE3),
    (1, 2, 12, CpuidFeature::FMA),
    (1, 2, 13, CpuidFeature::CMPXCHG16B),
    (1, 2, 19, CpuidFeature::SSE4_1),
    (1, 2, 20, CpuidFeature::SSE4_2),
    (1, 2, 22, CpuidFeature::MOVBE),
    (1, 2, 23, CpuidFeature::POPCNT),
    (1, 2, 25, CpuidFeature::AES),
    (1, 2, 26, CpuidFeature::XSAVE),
    (1, 2, 28, CpuidFeature::AVX),
    (1, 2, 29, CpuidFeature::F16C),
    (1, 2, 30, CpuidFeature::RDRAND),
    (7, 1, 0, CpuidFeature::FSGSBASE),
    (7, 1, 3, CpuidFeature::BMI1),
    (7, 1, 5, CpuidFeature::AVX2),
    (7, 1, 8, CpuidFeature::BMI2),
    (7, 1, 10, CpuidFeature::INVPCID),
    (7, 1, 18, CpuidFeature::RDSEED),
    (7, 1, 19, CpuidFeature::ADX),
    (7, 1, 20, CpuidFeature::SMAP),
    (7, 1, 23, CpuidFeature::CLFLUSHOPT),
    (7, 1, 24, CpuidFeature::CLWB),
    (7, 1, 29, CpuidFeature::SHA),
    (7, 2, 22, CpuidFeature::RDPID),
    (0x8000_0001, 2, 5, CpuidFeature::LZCNT),
    (0x8000_0001, 2, 8, CpuidFeature::PREFETCHW),
    (0x8000_0001, 3, 11, CpuidFeature::SYSCALL),
    (0x8000_0001, 3, 27, CpuidFeature::RDTSCP),
];

impl Features {
    /// From what CPUID answers to a leaf: EAX, EBX, ECX, EDX.
    ///
    /// # Errors
    /// Those of `cpuid`.
    pub fn from_cpuid<E>(mut cpuid: impl FnMut(u32) -> Result<[u32; 4], E>) -> Result<Self, E> {
        let mut found: BTreeSet<u32> = ALWAYS.iter().map(|&feature| feature as u32).collect();
        for (leaf, register, bit, feature) in BITS {
            let highest = cpuid(leaf & 0x8000_0000)?[0];
            if leaf <= highest && cpuid(leaf)?[register] >> bit & 1 != 0 {
                found.insert(feature as u32);
            }
        }
        let lahf_in_64_bit_mode = cpuid(0x8000_0000)?[0] > 0x8000_0000 && cpuid(0x8000_0001)?[2] & 1 != 0;
        Ok(Self { extensions: found, lahf_in_64_bit_mode })
    }

    /// Whether all of `needed` are there.
    #[must_use]
    pub fn have(&self, needed: &[CpuidFeature]) -> bool {
        needed.iter().all(|&feature| self.extensions.contains(&(feature as u32)))
    }

    /// Whether the processor has an instruction in code of so many bits.
    #[must_use]
    pub fn allow(&self, code: Code, bits: u32) -> bool {
        let in_64_bit_mode = self.lahf_in_64_bit_mode || !matches!(code, Code::Lahf | Code::Sahf);
        self.have(code.cpuid_features()) && (bits != 64 || in_64_bit_mode)
    }

    /// What both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self {
            extensions: self.extensions.intersection(&other.extensions).copied().collect(),
            lahf_in_64_bit_mode: self.lahf_in_64_bit_mode && other.lahf_in_64_bit_mode,
        }
    }
}

/// What emu-min advertises with a CPU of this model: it is asked by executing CPUID on it.
///
/// # Errors
/// emu-min failed to execute CPUID.
pub fn emulated(cpu: Model) -> Result<Features, ExecError> {
    const CODE: u64 = 0x1000_0000;
    let mut runner = EmuRunner::new(Engine::EmuNaive, Engine::EmuNaive.config(cpu));
    Features::from_cpuid(|leaf| {
        let mut bytes = vec![0xf4; 0x1000];
        bytes[..2].copy_from_slice(&[0x0f, 0xa2]);
        let mut registers = Registers { rip: CODE, ..Registers::default() };
        registers.gprs[0] = u64::from(leaf);
        let regions = vec![Region { address: CODE, bytes, access: crate::exec::Access::RX }];
        let state = runner.run(&Snippet { mode: Mode::Bits64, registers, regions, budget: 10 })?;
        let gprs = state.registers.gprs;
        Ok([gprs[0] as u32, gprs[3] as u32, gprs[1] as u32, gprs[2] as u32])
    })
}

/// What the host's processor has.
#[must_use]
pub fn host() -> Features {
    let cpuid = |leaf| {
        let answer = std::arch::x86_64::__cpuid_count(leaf, 0);
        Ok::<_, std::convert::Infallible>([answer.eax, answer.ebx, answer.ecx, answer.edx])
    };
    match Features::from_cpuid(cpuid) {
        Ok(features) => features,
        Err(never) => match never {},
    }
}

/// The host's processor: vendor, family and model (Intel SDM volume 2, CPUID, leaves 0 and 1).
#[must_use]
pub fn processor() -> String {
    let names = std::arch::x86_64::__cpuid(0);
    let vendor = [names.ebx, names.edx, names.ecx].map(u32::to_le_bytes).concat();
    let signature = std::arch::x86_64::__cpuid(1).eax;
    let field = |low: u32, bits: u32| signature >> low & ((1 << bits) - 1);
    let family = field(8, 4) + if field(8, 4) == 15 { field(20, 8) } else { 0 };
    let model = field(4, 4) | if matches!(field(8, 4), 6 | 15) { field(16, 4) << 4 } else { 0 };
    format!("{} family {family:#x} model {model:#x}", String::from_utf8_lossy(&vendor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_only_from_leaves_that_exist() {
        let all = |highest: u32| {
            Features::from_cpuid(|leaf| {
                Ok::<_, std::convert::Infallible>(if leaf & 0x7fff_ffff == 0 { [highest; 4] } else { [u32::MAX; 4] })
            })
            .unwrap()
        };
        assert!(!all(1).have(&[CpuidFeature::BMI1]));
        assert!(all(7).have(&[CpuidFeature::BMI1, CpuidFeature::SSE2]));
        assert!(!all(7).have(&[CpuidFeature::LZCNT]));
        assert!(!all(7).allow(Code::Lahf, 64) && all(7).allow(Code::Lahf, 32));
        assert!(all(0x8000_0001).allow(Code::Lahf, 64));
        assert!(!all(7).common(&all(1)).have(&[CpuidFeature::BMI1]));
    }

    #[test]
    fn both_processors_have_the_baseline() {
        let baseline = [CpuidFeature::SSE2, CpuidFeature::CX8, CpuidFeature::CMOV, CpuidFeature::X64];
        assert!(host().have(&baseline));
        assert!(emulated(Model::V1).unwrap().have(&baseline));
    }
}
