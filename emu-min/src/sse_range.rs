//! Overflow and underflow of SIMD arithmetic while they are not masked (Intel SDM volume 1, 4.9.1.4 to 4.9.1.6).
//!
//! Emulated operations run with exceptions masked, and then report what a masked operation reports: underflow only if
//! the denormal result is inexact, and inexact whenever the number did not fit. Unmasked, a tiny result is an underflow
//! even if exact, and only a number that was rounded to the format's precision is inexact. The x87 unit tells: with the
//! precision of the format and a far larger range it rounds, but neither overflows nor underflows. For fused operations
//! the numbers are scaled instead.

use iced_x86::Mnemonic;

use crate::simd_stub::{Stub, base_name};
use crate::sse::raised;
use crate::sse_dot;
use crate::sse_half;
use crate::sse_scalar::{self, Format, Operation, SINGLE};
use crate::sse_steps::{Step, steps};
use crate::x87::wide::{self, F80};

pub(crate) const IE: u32 = 1;
pub(crate) const DE: u32 = 1 << 1;
pub(crate) const ZE: u32 = 1 << 2;
pub(crate) const OE: u32 = 1 << 3;
pub(crate) const UE: u32 = 1 << 4;
pub(crate) const PE: u32 = 1 << 5;
/// Denormal operands are zeros.
pub(crate) const DAZ: u32 = 1 << 6;
/// Exception masks.
const MASKS: u32 = 0x1f80;

/// Whether overflow or underflow is not masked.
#[inline(always)]
pub(crate) fn is_unmasked(mxcsr: u32) -> bool {
    unmasked(mxcsr) & (OE | UE) != 0
}

/// The exceptions that are not masked.
#[inline(always)]
pub(crate) fn unmasked(mxcsr: u32) -> u32 {
    !mxcsr >> 7 & 0x3f
}

/// The exception flags of the operation `name` on `a` and `b`, element by element, where `flags` are those of the
/// operation with exceptions masked.
#[cold]
pub(crate) fn flags(name: &str, a: u128, b: u128, mxcsr: u32, flags: u32) -> u32 {
    sum(&steps(name, 128, [[a, 0], [b, 0], [0; 2]]), mxcsr, flags)
}

/// The exception flags that an instruction raises which a stub executed on `operands`, where `flags` are those that it
/// had with exceptions masked.
#[cold]
pub(crate) fn flags_of_stub(mnemonic: Mnemonic, stub: Stub, operands: &[[u128; 2]; 5], mxcsr: u32, flags: u32) -> u32 {
    if unmasked(mxcsr) == 0 {
        return flags;
    }
    let name = base_name(mnemonic);
    let [_, first, second, third, _] = *operands;
    let [a, b, c] = match name.as_str() {
        _ if name.starts_with("fm") || name.starts_with("fnm") || !stub.vex => [first, second, third],
        "cvtpd2ps" => [first, second, third],
        _ => [second, third, [0; 2]],
    };
    let flags = match name.as_str() {
        "dpps" | "dppd" => return sse_dot::flags(&name, stub.immediate, stub.wide, a, b, mxcsr),
        _ if !is_unmasked(mxcsr) => flags,
        "cvtps2ph" => sse_half::flags(second, if stub.wide { 8 } else { 4 }, stub.immediate, mxcsr),
        _ => sum(&steps(&name, if stub.wide { 256 } else { 128 }, [a, b, c]), mxcsr, flags),
    };
    raised(flags, mxcsr)
}

fn sum(steps: &[Step], mxcsr: u32, flags: u32) -> u32 {
    if steps.is_empty() {
        return flags;
    }
    steps.iter().fold(0, |sum, step| sum | flags_of_step(step, mxcsr))
}

/// The exception flags of one scalar operation.
pub(crate) fn flags_of_step(step: &Step, mxcsr: u32) -> u32 {
    let controls = mxcsr & !0x3f | MASKS;
    let masked = sse_scalar::run(step.operation, step.source, step.operands, controls).1;
    if masked & (IE | ZE) != 0 || !step.operands.iter().all(|&value| step.source.is_finite(value)) {
        return masked;
    }
    let rounded = if step.operation == Operation::Fma { fused(step, mxcsr) } else { rounded(step, mxcsr) };
    let Some((exponent, inexact)) = rounded else { return masked };
    adjust(step.result, exponent, inexact, mxcsr, masked)
}

/// The flags of a result with this exponent before it was fitted into the format, given those with exceptions masked.
pub(crate) fn adjust(result: Format, exponent: i32, inexact: bool, mxcsr: u32, masked: u32) -> u32 {
    let rounded = if inexact { PE } else { 0 };
    if exponent < result.min_exponent && unmasked(mxcsr) & UE != 0 {
        masked & !(UE | PE) | UE | rounded
    } else if exponent > result.max_exponent && unmasked(mxcsr) & OE != 0 {
        masked & !(OE | PE) | OE | rounded
    } else {
        masked
    }
}

/// The exponent of the result, rounded to the precision of its format but not to its range, and whether it is inexact;
/// `None` for zero.
fn rounded(step: &Step, mxcsr: u32) -> Option<(i32, bool)> {
    let [a, b] = [step.operands[0], step.operands[1]].map(|value| widen(step.source, value, mxcsr));
    let rounding = (mxcsr >> 13 & 3) as u16;
    let precision = if step.result == SINGLE { 0 } else { 0x200 };
    let control = 0x7f | precision | rounding << 10;
    let (value, inexact) = match step.operation {
        Operation::Add => wide::add(control, a, b),
        Operation::Sub => wide::sub(control, a, b),
        Operation::Mul => wide::mul(control, a, b),
        Operation::Div => wide::div(control, a, b),
        _ => wide::mul(control, b, F80::ONE),
    };
    let biased = value.sign_exponent & 0x7fff;
    let finite = value.significand != 0 && biased != 0x7fff;
    finite.then_some((i32::from(biased) - 0x3fff, inexact))
}

/// The number in the x87's format; a denormal that the guest takes for zero is zero.
fn widen(format: Format, bits: u128, mxcsr: u32) -> F80 {
    let bits = flush(format, bits, mxcsr);
    if format == SINGLE { wide::from_single(bits) } else { wide::from_double(bits) }
}

/// The number as the guest takes it: with DAZ a denormal is a zero.
fn flush(format: Format, bits: u128, mxcsr: u32) -> u128 {
    if mxcsr & DAZ != 0 && format.is_small(bits) { bits & format.sign() } else { bits }
}

/// As [`rounded`], for `a * b + c`: the factors are scaled into [1, 2), the addend along with them. Where it is too far
/// from the product to be scaled, it, or else the product, is less than any bit of the result, and how much less does
/// not matter.
fn fused(step: &Step, mxcsr: u32) -> Option<(i32, bool)> {
    let format = step.result;
    let [a, b, c] = step.operands.map(|value| flush(format, value, mxcsr));
    if format.is_zero(a) || format.is_zero(b) {
        return (!format.is_zero(c)).then(|| (format.exponent(c), false));
    }
    let scale = format.exponent(a) + format.exponent(b);
    let far = format.max_exponent - 20;
    let (c, scale) = if format.is_zero(c) {
        (c, scale)
    } else {
        let distance = (format.exponent(c) - scale).clamp(-far, far);
        let scale = if distance == far { format.exponent(c) - far } else { scale };
        (format.with_exponent(c, distance), scale)
    };
    let operands = [format.with_exponent(a, 0), format.with_exponent(b, 0), c];
    let (value, flags) = sse_scalar::run(Operation::Fma, format, operands, mxcsr & !(0x3f | DAZ | 1 << 15) | MASKS);
    (!format.is_zero(value)).then(|| (format.exponent(value) + scale, flags & PE != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All masked but underflow and overflow.
    const UNMASKED: u32 = 0x1f80 & !(0x400 | 0x800);

    fn of(name: &str, a: u128, b: u128) -> u32 {
        flags(name, a, b, UNMASKED, 0x3f)
    }

    #[test]
    fn an_exact_tiny_sum_underflows() {
        assert_eq!(of("addss", 6, 0), UE | DE);
        assert_eq!(of("subsd", 6, 0), UE | DE);
    }

    #[test]
    fn a_tiny_product_is_inexact_only_if_its_significand_was_rounded() {
        let half = 0x3f00_0000;
        assert_eq!(of("mulss", 0x0080_0001, half), UE);
        assert_eq!(of("mulss", 0x0080_0001, 0x3f00_0001), UE | PE);
    }

    #[test]
    fn a_sum_that_is_too_large_is_inexact_only_if_rounded() {
        let max = 0x7f7f_ffff;
        assert_eq!(of("addss", max, max), OE);
        assert_eq!(of("cvtsd2ss", 0, 0x47f0_0000_0000_0001), OE | PE);
    }

    #[test]
    fn other_results_and_operations_keep_their_flags() {
        assert_eq!(of("addss", 0x3f80_0000, 0x3f80_0000), 0);
        assert_eq!(of("divss", 0x3f80_0000, 0), ZE);
        assert_eq!(flags("sqrtss", 0, 1, UNMASKED, DE), DE);
    }

    #[test]
    fn a_fused_result_is_rounded_once() {
        if !is_x86_feature_detected!("fma") {
            eprintln!("skipped: this host has no FMA");
            return;
        }
        let of = |a: f64, b: f64, c: f64| {
            let operands = [a, b, c].map(|value| u128::from(value.to_bits()));
            let step =
                Step { operation: Operation::Fma, source: sse_scalar::DOUBLE, result: sse_scalar::DOUBLE, operands };
            flags_of_step(&step, UNMASKED)
        };
        let tiny = f64::from_bits(1);
        assert_eq!(of(1.0, 0.0, tiny), UE | DE);
        assert_eq!(of(f64::MIN_POSITIVE, 0.5, 0.0), UE);
        assert_eq!(of(f64::MIN_POSITIVE, 0.5, tiny), UE | DE);
        assert_eq!(of(tiny, tiny, 0.0), UE | DE);
        assert_eq!(of(tiny, tiny, tiny), UE | PE | DE);
        assert_eq!(of(f64::MAX, 2.0, 0.0), OE);
        assert_eq!(of(f64::MAX, 2.0, 1.0), OE | PE);
        assert_eq!(of(f64::MAX, 2.0, -f64::MAX), 0);
        assert_eq!(of(1e-200, 1e-200, 1.0), PE);
        // The product is far below the addend, and rounding it does not count.
        assert_eq!(of(1e300, 1e-300, f64::MAX), PE);
    }
}
