//! Overflow and underflow of SSE arithmetic while they are not masked (Intel SDM volume 1, 4.9.1.4 to 4.9.1.6).
//!
//! Emulated operations run with exceptions masked, and then report what a masked operation reports: underflow only if
//! the denormal result is inexact, and inexact whenever the number did not fit. Unmasked, a tiny result is an underflow
//! even if exact, and only a number that was rounded to the format's precision is inexact. The x87 unit tells: with the
//! precision of the format and a far larger range it rounds, but neither overflows nor underflows.

use crate::x87::wide::{self, F80};

const OE: u32 = 1 << 3;
const UE: u32 = 1 << 4;
const PE: u32 = 1 << 5;

/// A binary floating-point format.
#[derive(Debug, Clone, Copy)]
struct Format {
    bits: u32,
    /// Precision control of the x87 that rounds to its significand.
    precision: u16,
    min_exponent: i32,
    max_exponent: i32,
    one: u128,
}

const SINGLE: Format = Format { bits: 32, precision: 0, min_exponent: -126, max_exponent: 127, one: 0x3f80_0000 };
const DOUBLE: Format =
    Format { bits: 64, precision: 0x200, min_exponent: -1022, max_exponent: 1023, one: 0x3ff0 << 48 };

/// Format of the operands, format of the result, and number of elements of an operation that can overflow or underflow.
fn shape(name: &str) -> Option<(Format, Format, u32)> {
    let arithmetic = ["add", "sub", "mul", "div"].iter().any(|start| name.starts_with(start));
    Some(match (name, arithmetic) {
        ("cvtsd2ss", _) => (DOUBLE, SINGLE, 1),
        ("cvtpd2ps", _) => (DOUBLE, SINGLE, 2),
        (_, false) => return None,
        _ if name.ends_with("ss") => (SINGLE, SINGLE, 1),
        _ if name.ends_with("sd") => (DOUBLE, DOUBLE, 1),
        _ if name.ends_with("ps") => (SINGLE, SINGLE, 4),
        _ => (DOUBLE, DOUBLE, 2),
    })
}

/// Whether overflow or underflow is not masked.
#[inline(always)]
pub(crate) fn is_unmasked(mxcsr: u32) -> bool {
    !mxcsr >> 7 & (OE | UE) != 0
}

/// The exception flags of the operation `name` on `a` and `b`, element by element, where `masked` gives the flags of the
/// operation with exceptions masked, and `flags` are those for all elements at once.
#[cold]
pub(crate) fn flags(name: &str, a: u128, b: u128, mxcsr: u32, flags: u32, masked: impl Fn(u128, u128) -> u32) -> u32 {
    let Some((source, result, elements)) = shape(name) else { return flags };
    let mask = u128::MAX >> (128 - source.bits);
    // Elements that raise nothing fill the rest.
    let ones = (0..128 / source.bits).fold(0, |v, i| v | source.one << (i * source.bits));
    (0..elements).fold(0, |sum, i| {
        let shift = i * source.bits;
        let (a, b) = (a >> shift & mask, b >> shift & mask);
        let alone = masked(ones & !mask | a, ones & !mask | b);
        sum | element(name, source, result, a, b, mxcsr, alone)
    })
}

fn element(name: &str, source: Format, result: Format, a: u128, b: u128, mxcsr: u32, masked: u32) -> u32 {
    const IE: u32 = 1;
    const ZE: u32 = 4;
    if masked & (IE | ZE) != 0 {
        return masked;
    }
    let (a, b) = (widen(source, a, mxcsr), widen(source, b, mxcsr));
    let rounding = (mxcsr >> 13 & 3) as u16;
    let control = 0x7f | result.precision | rounding << 10;
    let (value, inexact) = match name.get(..3) {
        Some("add") => wide::add(control, a, b),
        Some("sub") => wide::sub(control, a, b),
        Some("mul") => wide::mul(control, a, b),
        Some("div") => wide::div(control, a, b),
        _ => wide::mul(control, b, F80::ONE),
    };
    let biased = value.sign_exponent & 0x7fff;
    if value.significand == 0 || biased == 0x7fff {
        return masked;
    }
    let exponent = i32::from(biased) - 0x3fff;
    let rounded = if inexact { PE } else { 0 };
    let unmasked = !mxcsr >> 7;
    if exponent < result.min_exponent && unmasked & UE != 0 {
        masked & !(UE | PE) | UE | rounded
    } else if exponent > result.max_exponent && unmasked & OE != 0 {
        masked & !(OE | PE) | OE | rounded
    } else {
        masked
    }
}

/// The number in the x87's format; a denormal that the guest takes for zero is zero.
fn widen(format: Format, bits: u128, mxcsr: u32) -> F80 {
    const DAZ: u32 = 1 << 6;
    let exponent_mask = if format.bits == 32 { 0x7f80_0000 } else { 0x7ff0 << 48 };
    let zero = mxcsr & DAZ != 0 && bits & exponent_mask == 0;
    let bits = if zero { bits & 1 << (format.bits - 1) } else { bits };
    if format.bits == 32 { wide::from_single(bits) } else { wide::from_double(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All masked but underflow and overflow.
    const UNMASKED: u32 = 0x1f80 & !(0x400 | 0x800);

    fn of(name: &str, a: u128, b: u128, masked: u32) -> u32 {
        flags(name, a, b, UNMASKED, masked, |_, _| masked)
    }

    #[test]
    fn an_exact_tiny_sum_underflows() {
        assert_eq!(of("addss", 6, 0, 2), UE | 2);
        assert_eq!(of("subsd", 6, 0, 2), UE | 2);
    }

    #[test]
    fn a_tiny_product_is_inexact_only_if_its_significand_was_rounded() {
        let half = 0x3f00_0000;
        assert_eq!(of("mulss", 0x0080_0001, half, UE | PE), UE);
        assert_eq!(of("mulss", 0x0080_0001, 0x3f00_0001, UE | PE), UE | PE);
    }

    #[test]
    fn a_sum_that_is_too_large_is_inexact_only_if_rounded() {
        let max = 0x7f7f_ffff;
        assert_eq!(of("addss", max, max, OE | PE), OE);
        assert_eq!(of("cvtsd2ss", 0, 0x47f0_0000_0000_0001, OE | PE), OE | PE);
    }

    #[test]
    fn other_results_and_operations_keep_their_flags() {
        assert_eq!(of("addss", 0x3f80_0000, 0x3f80_0000, PE), PE);
        assert_eq!(of("sqrtss", 0, 1, 2), 2);
        assert_eq!(of("divss", 0x3f80_0000, 0, 4), 4);
    }
}
