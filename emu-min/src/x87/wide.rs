//! Arithmetic with the range of the x87's format and the precision of another, for those who must know how a number was
//! rounded before it left the range of its own format.

pub(crate) use super::f80::F80;
use super::host::{self, Registers};

/// Bit of the status word: the result was rounded.
const PE: u16 = 1 << 5;

/// A single-precision number.
pub(crate) fn from_single(bits: u128) -> F80 {
    host::fld_m32(0x37f, bits).0
}

/// A double-precision number.
pub(crate) fn from_double(bits: u128) -> F80 {
    host::fld_m64(0x37f, bits).0
}

fn run(operation: Registers, control: u16, a: F80, b: F80) -> (F80, bool) {
    let (value, status) = operation(control, a, b);
    (value, status & PE != 0)
}

/// `a + b` under a control word with exceptions masked, and whether it was rounded.
pub(crate) fn add(control: u16, a: F80, b: F80) -> (F80, bool) {
    run(host::fadd, control, a, b)
}

/// `a - b`.
pub(crate) fn sub(control: u16, a: F80, b: F80) -> (F80, bool) {
    run(host::fsub, control, a, b)
}

/// `a * b`.
pub(crate) fn mul(control: u16, a: F80, b: F80) -> (F80, bool) {
    run(host::fmul, control, a, b)
}

/// `a / b`.
pub(crate) fn div(control: u16, a: F80, b: F80) -> (F80, bool) {
    run(host::fdiv, control, a, b)
}
