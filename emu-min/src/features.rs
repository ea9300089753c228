//! Which instruction-set extensions a CPU has: what CPUID says and what decoding lets through, in one set.

use iced_x86::{Code, CpuidFeature as F};

use crate::simd_stub::EXTENSIONS;

/// What is implemented and has a CPUID bit; what is not listed here is neither advertised nor executed.
const IMPLEMENTED: Features = Features::of(&[
    F::FPU,
    F::MSR,
    F::TSC,
    F::CX8,
    F::CMOV,
    F::CLFSH,
    F::MMX,
    F::FXSR,
    F::SSE,
    F::SSE2,
    F::SEP,
    F::SMAP,
    F::INVPCID,
    F::SYSCALL,
    F::RDTSCP,
    F::PREFETCHW,
    F::FSGSBASE,
    F::CMPXCHG16B,
    F::POPCNT,
    F::BMI1,
    F::BMI2,
    F::LZCNT,
    F::MOVBE,
    F::XSAVE,
    F::XSAVEOPT,
    F::XSAVEC,
    F::SSE3,
    F::SSSE3,
    F::SSE4_1,
    F::SSE4_2,
    F::AVX,
    F::AVX2,
    F::F16C,
    F::FMA,
    F::AES,
    F::PCLMULQDQ,
    F::SHA,
]);

/// What every x86-64 processor has, or has no CPUID bit for.
const ALWAYS: Features = Features::of(&[
    F::INTEL8086,
    F::INTEL186,
    F::INTEL286,
    F::INTEL386,
    F::INTEL486,
    F::X64,
    F::CPUID,
    F::RDPMC,
    F::SMM,
    F::PAUSE,
    F::MULTIBYTENOP,
    F::FPU287,
    F::FPU387,
]);

/// What x86-64-v2 has beyond v1 (System V ABI, AMD64 supplement, 3.1.1), but for LAHF and SAHF, which the decoder does
/// not tell apart.
const V2: Features = Features::of(&[F::CMPXCHG16B, F::POPCNT, F::SSE3, F::SSSE3, F::SSE4_1, F::SSE4_2]);

/// What x86-64-v3 has beyond v2, and what comes with it here: cryptography and the variants of XSAVE.
const V3: Features = Features::of(&[
    F::AVX,
    F::AVX2,
    F::BMI1,
    F::BMI2,
    F::F16C,
    F::FMA,
    F::LZCNT,
    F::MOVBE,
    F::XSAVE,
    F::XSAVEOPT,
    F::XSAVEC,
    F::AES,
    F::PCLMULQDQ,
    F::SHA,
]);

/// A set of extensions, by the decoder's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features([u64; 4]);

impl Features {
    const fn of(list: &[F]) -> Self {
        let mut words = [0; 4];
        let mut i = 0;
        while i < list.len() {
            let number = list[i] as usize;
            words[(number / 64) & 3] |= 1 << (number % 64);
            i += 1;
        }
        Self(words)
    }

    /// x86-64-v1 and the system features that every model has.
    pub(crate) const fn v1() -> Self {
        IMPLEMENTED.without(V2).without(V3).with(ALWAYS)
    }

    /// x86-64-v2.
    pub(crate) const fn v2() -> Self {
        IMPLEMENTED.without(V3).with(ALWAYS)
    }

    /// x86-64-v3.
    pub(crate) const fn v3() -> Self {
        IMPLEMENTED.with(ALWAYS)
    }

    /// This set and the extensions of another.
    const fn with(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a | e, b | f, c | g, d | h])
    }

    /// This set without the extensions of another.
    pub(crate) const fn without(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a & !e, b & !f, c & !g, d & !h])
    }

    /// This set without the extensions whose instructions are executed by stubs.
    pub(crate) const fn without_simd(self) -> Self {
        self.without(Self::of(&EXTENSIONS))
    }

    /// This set without one extension.
    pub(crate) const fn without_one(self, feature: F) -> Self {
        self.without(Self::of(&[feature]))
    }

    #[inline]
    pub(crate) const fn has(self, feature: F) -> bool {
        let number = feature as usize;
        self.0[(number / 64) & 3] >> (number % 64) & 1 != 0
    }

    /// Whether a CPU with these extensions has this instruction.
    #[inline]
    pub(crate) fn allow(self, code: Code) -> bool {
        code.cpuid_features().iter().all(|&feature| self.has(feature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_build_on_each_other() {
        for feature in F::values() {
            assert!(!Features::v1().has(feature) || Features::v2().has(feature), "{feature:?}");
            assert!(!Features::v2().has(feature) || Features::v3().has(feature), "{feature:?}");
        }
        assert!(Features::v1().has(F::SSE2) && !Features::v1().has(F::POPCNT));
        assert!(Features::v2().has(F::POPCNT));
    }

    #[test]
    fn an_instruction_needs_all_its_extensions() {
        let v3 = Features::v3();
        assert!(v3.allow(Code::Add_r32_rm32) && v3.allow(Code::Fldenv_m28byte) && v3.allow(Code::Popcnt_r32_rm32));
        assert!(!v3.without_one(F::POPCNT).allow(Code::Popcnt_r32_rm32));
        assert!(!v3.without_one(F::CMOV).allow(Code::Fcmovb_st0_sti));
        assert!(!v3.allow(Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er) && !v3.allow(Code::Femms));
    }
}
