//! Scalar floating-point operations of the host under given MXCSR controls, for those who must know what each step of an
//! instruction does alone.

use core::arch::asm;
use core::arch::x86_64::__m128i;

use crate::sse::{bits, vector};

/// A binary floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) bits: u32,
    /// Bits of the significand but for the leading one.
    pub(crate) fraction: u32,
    pub(crate) min_exponent: i32,
    pub(crate) max_exponent: i32,
}

pub(crate) const SINGLE: Format = Format { bits: 32, fraction: 23, min_exponent: -126, max_exponent: 127 };
pub(crate) const DOUBLE: Format = Format { bits: 64, fraction: 52, min_exponent: -1022, max_exponent: 1023 };

impl Format {
    pub(crate) fn sign(self) -> u128 {
        1 << (self.bits - 1)
    }

    fn exponent_mask(self) -> u128 {
        (self.sign() - 1) >> self.fraction << self.fraction
    }

    pub(crate) fn is_finite(self, value: u128) -> bool {
        value & self.exponent_mask() != self.exponent_mask()
    }

    pub(crate) fn is_zero(self, value: u128) -> bool {
        value & (self.sign() - 1) == 0
    }

    /// Denormal, or zero.
    pub(crate) fn is_small(self, value: u128) -> bool {
        value & self.exponent_mask() == 0
    }

    /// The exponent of a number that is neither zero nor infinite, as if its range were not bounded.
    pub(crate) fn exponent(self, value: u128) -> i32 {
        let biased = ((value & self.exponent_mask()) >> self.fraction) as i32;
        if biased != 0 {
            return biased - self.max_exponent;
        }
        let significand = value & (self.sign() - 1);
        self.min_exponent - (significand.leading_zeros() as i32 - (127 - self.fraction as i32))
    }

    /// The number with its exponent replaced by one within the format's range.
    pub(crate) fn with_exponent(self, value: u128, exponent: i32) -> u128 {
        let shift = (self.min_exponent - self.exponent(value)).max(0);
        let fraction = value << shift & ((1 << self.fraction) - 1);
        value & self.sign() | ((exponent + self.max_exponent) as u128) << self.fraction | fraction
    }
}

/// What is computed of operands `a`, `b` and `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `b` in single precision, from double.
    Narrow,
    /// `a * b + c`, rounded once.
    Fma,
}

/// `$name a, b, $c` on XMM registers under MXCSR `$controls`: the result and the exception flags.
macro_rules! run {
    ($name:literal, $tail:literal, $controls:expr, $a:expr, $b:expr, $c:expr) => {{
        let mut value: __m128i = vector($a);
        let mut status: u32 = $controls;
        let mut saved = 0_u32;
        // SAFETY: an instruction on registers that the host has: CPUs offer FMA only on hosts with FMA. The host's
        // MXCSR is saved and restored within the block, and exceptions are masked in the controls.
        unsafe {
            asm!("stmxcsr [{saved}]", "ldmxcsr [{status}]", concat!($name, " {a}, {b}", $tail), "stmxcsr [{status}]",
                "ldmxcsr [{saved}]", "/* {c} */", a = inout(xmm_reg) value, b = in(xmm_reg) vector($b), c = in(xmm_reg) vector($c),
                saved = in(reg) &raw mut saved, status = in(reg) &raw mut status, options(nostack));
        }
        (bits(value), status & 0x3f)
    }};
}

/// The result and the exception flags of an operation on the low elements of its operands; `controls` mask all
/// exceptions.
pub(crate) fn run(operation: Operation, format: Format, [a, b, c]: [u128; 3], controls: u32) -> (u128, u32) {
    use Operation as O;
    let (value, flags) = match (operation, format.bits == 32) {
        (O::Add, true) => run!("addss", "", controls, a, b, c),
        (O::Add, false) => run!("addsd", "", controls, a, b, c),
        (O::Sub, true) => run!("subss", "", controls, a, b, c),
        (O::Sub, false) => run!("subsd", "", controls, a, b, c),
        (O::Mul, true) => run!("mulss", "", controls, a, b, c),
        (O::Mul, false) => run!("mulsd", "", controls, a, b, c),
        (O::Div, true) => run!("divss", "", controls, a, b, c),
        (O::Div, false) => run!("divsd", "", controls, a, b, c),
        (O::Narrow, _) => run!("cvtsd2ss", "", controls, a, b, c),
        (O::Fma, true) => run!("vfmadd213ss", ", {c}", controls, a, b, c),
        (O::Fma, false) => run!("vfmadd213sd", ", {c}", controls, a, b, c),
    };
    let mask = if format.bits == 32 || operation == O::Narrow { 0xffff_ffff } else { u128::from(u64::MAX) };
    (value & mask, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_read_and_replaced() {
        let half = u128::from(0.5_f32.to_bits());
        assert_eq!(SINGLE.exponent(half), -1);
        assert_eq!(SINGLE.exponent(1), -149);
        assert_eq!(DOUBLE.exponent(3), -1073);
        assert_eq!(SINGLE.with_exponent(3, 0), u128::from(1.5_f32.to_bits()));
        assert_eq!(DOUBLE.with_exponent(u128::from((-12.0_f64).to_bits()), 1), u128::from((-3.0_f64).to_bits()));
        assert!(SINGLE.is_small(1) && !SINGLE.is_zero(1) && SINGLE.is_zero(SINGLE.sign()));
        assert!(!DOUBLE.is_finite(u128::from(f64::INFINITY.to_bits())));
    }

    #[test]
    fn operations_are_the_host_s() {
        let of = |operation, a: f32, b: f32| {
            let [a, b] = [a, b].map(|value| u128::from(value.to_bits()));
            run(operation, SINGLE, [a, b, 0], 0x1f80)
        };
        assert_eq!(of(Operation::Sub, 3.0, 1.0), (u128::from(2.0_f32.to_bits()), 0));
        assert_eq!(of(Operation::Div, 1.0, 0.0), (u128::from(f32::INFINITY.to_bits()), 4));
        assert_eq!(of(Operation::Mul, 1e-30, 1e-30).1, 0x30);
    }
}
