//! Exceptions of VCVTPS2PH while overflow or underflow is not masked.

use crate::sse_range::{DAZ, DE, IE, OE, PE, UE, adjust};
use crate::sse_scalar::{Format, SINGLE};

const HALF: Format = Format { bits: 16, fraction: 10, min_exponent: -14, max_exponent: 15 };
/// Bits that a single-precision significand has more.
const EXTRA: u32 = SINGLE.fraction - HALF.fraction;

/// The exception flags of the conversion of `count` single-precision numbers.
pub(crate) fn flags(value: [u128; 2], count: u32, immediate: u8, mxcsr: u32) -> u32 {
    let rounding = if immediate & 4 != 0 { mxcsr >> 13 & 3 } else { u32::from(immediate & 3) };
    (0..count).fold(0, |sum, i| {
        let bits = (value[(i / 4) as usize & 1] >> (i % 4 * 32)) as u32;
        sum | flags_of(bits, rounding, mxcsr)
    })
}

/// Drops `count` bits of a significand: the rest, rounded, and whether it is inexact.
fn round(significand: u32, count: u32, negative: bool, rounding: u32) -> (u32, bool) {
    let count = count.min(31);
    let (kept, dropped) = (significand >> count, significand & ((1 << count) - 1));
    let half = 1 << (count - 1);
    let up = match rounding {
        0 => dropped > half || dropped == half && kept & 1 != 0,
        1 => negative && dropped != 0,
        2 => !negative && dropped != 0,
        _ => false,
    };
    (kept + u32::from(up), dropped != 0)
}

fn flags_of(bits: u32, rounding: u32, mxcsr: u32) -> u32 {
    let value = u128::from(bits);
    if !SINGLE.is_finite(value) {
        let signalling = bits & 0x7f_ffff != 0 && bits & 0x40_0000 == 0;
        return if signalling { IE } else { 0 };
    }
    if SINGLE.is_zero(value) || SINGLE.is_small(value) && mxcsr & DAZ != 0 {
        return 0;
    }
    let denormal = if SINGLE.is_small(value) { DE } else { 0 };
    let exponent = SINGLE.exponent(value);
    let significand = SINGLE.with_exponent(value, 0) as u32 & 0x7f_ffff | 0x80_0000;
    let negative = bits >> 31 != 0;
    let (kept, inexact) = round(significand, EXTRA, negative, rounding);
    // Rounding may have carried into the next power of two.
    let rounded_exponent = exponent + i32::from(kept >> (HALF.fraction + 1) != 0);
    let masked = if rounded_exponent > HALF.max_exponent {
        OE | PE
    } else if rounded_exponent < HALF.min_exponent {
        let lost = EXTRA + (HALF.min_exponent - exponent) as u32;
        if round(significand, lost, negative, rounding).1 { UE | PE } else { 0 }
    } else {
        u32::from(inexact) * PE
    };
    adjust(HALF, rounded_exponent, inexact, mxcsr, masked | denormal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNMASKED: u32 = 0x1f80 & !(0x400 | 0x800);

    fn of(value: f32, mxcsr: u32) -> u32 {
        flags([u128::from(value.to_bits()), 0], 1, 0, mxcsr)
    }

    #[test]
    fn what_does_not_fit_raises_what_its_mask_says() {
        assert_eq!((of(65504.0, UNMASKED), of(65536.0, UNMASKED), of(65536.0, 0x1f80)), (0, OE, OE | PE));
        assert_eq!(of(65520.0, UNMASKED), OE | PE);
        let tiny = 2_f32.powi(-15);
        assert_eq!((of(tiny, UNMASKED), of(tiny, 0x1f80)), (UE, 0));
        assert_eq!((of(1e-10, UNMASKED), of(1e-10, 0x1f80)), (UE | PE, UE | PE));
        assert_eq!((of(f32::from_bits(1), UNMASKED), of(f32::from_bits(1), UNMASKED | DAZ)), (UE | DE, 0));
        assert_eq!((of(1.0, UNMASKED), of(0.1, UNMASKED), of(f32::NAN, UNMASKED)), (0, PE, 0));
        assert_eq!(of(f32::from_bits(0x7f80_0001), UNMASKED), IE);
    }
}
