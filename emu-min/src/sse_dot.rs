//! Exceptions of dot products, whose multiplications and additions raise them one after the other (Intel SDM volume 2,
//! DPPS: "Exceptions are determined separately for each add and multiply operation, in the order of their execution").

use crate::sse::raised;
use crate::sse_range::{flags_of_step, unmasked};
use crate::sse_scalar::{self, DOUBLE, Format, Operation, SINGLE};
use crate::sse_steps::Step;

/// One operation on all lanes: its results, and what it raises, which is added to `flags`.
fn stage(operation: Operation, format: Format, pairs: &[(u128, u128)], mxcsr: u32, flags: &mut u32) -> Vec<u128> {
    let mut own = 0;
    let one = |&(a, b): &(u128, u128)| {
        let operands = [a, b, 0];
        own |= flags_of_step(&Step { operation, source: format, result: format, operands }, mxcsr);
        sse_scalar::run(operation, format, operands, mxcsr & !0x3f | 0x1f80).0
    };
    let results = pairs.iter().map(one).collect();
    *flags |= raised(own, mxcsr);
    results
}

fn pairs(values: &[u128]) -> Vec<(u128, u128)> {
    values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

/// The exception flags of DPPS or DPPD up to the operation that raises one that is not masked.
pub(crate) fn flags(name: &str, immediate: u8, wide: bool, a: [u128; 2], b: [u128; 2], mxcsr: u32) -> u32 {
    let format = if name == "dpps" { SINGLE } else { DOUBLE };
    let per_lane = 128 / format.bits;
    let mask = u128::MAX >> (128 - format.bits);
    let mut flags = 0;
    let mut values = Vec::new();
    let lanes = if wide { 2 } else { 1 };
    for (a, b) in a.into_iter().zip(b).take(lanes) {
        for i in 0..per_lane {
            let chosen = immediate >> (4 + i) & 1 != 0;
            let pair = (a >> (i * format.bits) & mask, b >> (i * format.bits) & mask);
            values.push(chosen.then_some(pair));
        }
    }
    let chosen: Vec<_> = values.iter().flatten().copied().collect();
    let mut products = stage(Operation::Mul, format, &chosen, mxcsr, &mut flags).into_iter();
    let mut values: Vec<u128> =
        values.iter().map(|pair| if pair.is_some() { products.next().unwrap_or(0) } else { 0 }).collect();
    for _ in 0..per_lane.ilog2() {
        if flags & unmasked(mxcsr) != 0 {
            break;
        }
        values = stage(Operation::Add, format, &pairs(&values), mxcsr, &mut flags);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse_range::{DE, IE, PE, UE};

    #[test]
    fn additions_raise_nothing_once_a_product_has_raised_an_exception() {
        let infinities = u128::from(f64::INFINITY.to_bits()) | u128::from(f64::NEG_INFINITY.to_bits()) << 64;
        let ones = u128::from(1.0_f64.to_bits()) * (1 | 1 << 64);
        let of = |a, b, mxcsr| flags("dppd", 0x31, false, [a, 0], [b, 0], mxcsr);
        assert_eq!(of(infinities, ones, 0x1f80), IE);
        let denormal = ones & !(u128::from(u64::MAX)) | 1;
        assert_eq!(of(infinities, denormal, 0x1f80), IE | DE);
        assert_eq!(of(infinities, denormal, 0x1e80), DE);
        // The product is denormal, which is found before the addition only.
        let tiny = u128::from(2.0_f64.powi(-530).to_bits());
        assert_eq!(of(tiny, tiny | 1, 0x1e80), UE | PE | DE);
        let third = u128::from((1.0_f64 / 3.0).to_bits());
        assert_eq!(flags("dppd", 0x21, false, [third, 0], [third, 0], 0x1f80), 0);
        assert_eq!(flags("dppd", 0x11, false, [third, 0], [third, 0], 0x1f80), PE);
    }
}
