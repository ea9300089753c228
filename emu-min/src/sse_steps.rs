//! SIMD instructions as the scalar operations that they are made of.

use crate::sse_scalar::{DOUBLE, Format, Operation, SINGLE};

/// One scalar operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    /// Format of the operands and of the result.
    pub(crate) source: Format,
    pub(crate) result: Format,
    pub(crate) operands: [u128; 3],
}

/// Element `i` of this format.
fn element(format: Format, value: [u128; 2], i: u32) -> u128 {
    let bit = i * format.bits;
    value[(bit / 128) as usize & 1] >> (bit % 128) & (u128::MAX >> (128 - format.bits))
}

/// The format and the number of elements by the end of a name.
fn shape(name: &str, bits: u32) -> Option<(Format, u32)> {
    Some(match name.get(name.len().checked_sub(2)?..)? {
        "ss" => (SINGLE, 1),
        "sd" => (DOUBLE, 1),
        "ps" => (SINGLE, bits / 32),
        "pd" => (DOUBLE, bits / 64),
        _ => return None,
    })
}

/// The steps of the instruction `name`, without the V of its VEX form, on operands of `bits`; empty if it can neither
/// overflow nor underflow. The operands are those that it reads, in the order of its encoding.
pub(crate) fn steps(name: &str, bits: u32, operands: [[u128; 2]; 3]) -> Vec<Step> {
    let [a, b, _] = operands;
    match name {
        "cvtsd2ss" => return narrow(b, 1),
        "cvtpd2ps" => return narrow(b, bits / 64),
        _ => {}
    }
    let Some((format, count)) = shape(name, bits) else { return Vec::new() };
    if let Some(fused) = fused(name, format, count, operands) {
        return fused;
    }
    let alternating = name.starts_with("addsub");
    let operation = |i: u32| match name.get(..3) {
        Some("add") if alternating && i.is_multiple_of(2) => Some(Operation::Sub),
        Some("add") => Some(Operation::Add),
        Some("sub") => Some(Operation::Sub),
        Some("mul") => Some(Operation::Mul),
        Some("div") => Some(Operation::Div),
        _ => None,
    };
    let step = |operation, a, b| Step { operation, source: format, result: format, operands: [a, b, 0] };
    let horizontal = match name.get(..4) {
        Some("hadd") => Some(Operation::Add),
        Some("hsub") => Some(Operation::Sub),
        _ => None,
    };
    if let Some(operation) = horizontal {
        let pairs = |value| {
            (0..count / 2)
                .map(move |i| step(operation, element(format, value, i * 2), element(format, value, i * 2 + 1)))
        };
        return pairs(a).chain(pairs(b)).collect();
    }
    (0..count).filter_map(|i| Some(step(operation(i)?, element(format, a, i), element(format, b, i)))).collect()
}

fn narrow(value: [u128; 2], count: u32) -> Vec<Step> {
    let step = |i| Step {
        operation: Operation::Narrow,
        source: DOUBLE,
        result: SINGLE,
        operands: [0, element(DOUBLE, value, i), 0],
    };
    (0..count).map(step).collect()
}

/// The steps of an instruction of FMA: VFMADD213PS and its like.
fn fused(name: &str, format: Format, count: u32, operands: [[u128; 2]; 3]) -> Option<Vec<Step>> {
    let (negated, rest) = match name.strip_prefix("fnm") {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix("fm")?),
    };
    let digits = rest.find(|c: char| c.is_ascii_digit())?;
    let (kind, order) = rest.split_at(digits);
    let [first, second, third] = operands;
    let (a, b, c) = match order.get(..3)? {
        "132" => (first, third, second),
        "213" => (second, first, third),
        _ => (second, third, first),
    };
    let subtracts = |i: u32| match kind {
        "sub" => true,
        "addsub" => i.is_multiple_of(2),
        "subadd" => i % 2 == 1,
        _ => false,
    };
    let step = |i| {
        let sign = |negative: bool| if negative { format.sign() } else { 0 };
        let a = element(format, a, i) ^ sign(negated);
        let c = element(format, c, i) ^ sign(subtracts(i));
        let operands = [a, element(format, b, i), c];
        Step { operation: Operation::Fma, source: format, result: format, operands }
    };
    Some((0..count).map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(name: &str, bits: u32) -> Vec<(Operation, [u128; 3])> {
        let operands = [[0x2_0000_0001, 0], [0x4_0000_0003, 0], [0x6_0000_0005, 0]];
        steps(name, bits, operands).into_iter().map(|step| (step.operation, step.operands)).take(2).collect()
    }

    #[test]
    fn elements_meet_as_the_instruction_pairs_them() {
        use Operation as O;
        assert_eq!(operations("addsubps", 128), [(O::Sub, [1, 3, 0]), (O::Add, [2, 4, 0])]);
        assert_eq!(operations("haddps", 128), [(O::Add, [1, 2, 0]), (O::Add, [0, 0, 0])]);
        assert_eq!(operations("divss", 128), [(O::Div, [1, 3, 0])]);
        assert_eq!(operations("fmadd132ss", 128), [(O::Fma, [1, 5, 3])]);
        let minus = 1 << 31;
        assert_eq!(operations("fnmsub231ss", 128), [(O::Fma, [3 | minus, 5, 1 | minus])]);
        assert_eq!(operations("fmaddsub213ps", 256), [(O::Fma, [3, 1, 5 | minus]), (O::Fma, [4, 2, 6])]);
        assert_eq!(steps("subps", 256, [[0; 2]; 3]).len(), 8);
        assert_eq!(steps("cvtpd2ps", 256, [[0; 2]; 3]).len(), 4);
        for name in ["sqrtps", "maxsd", "cvtdq2ps", "roundps"] {
            assert_eq!(operations(name, 128), []);
        }
    }
}
