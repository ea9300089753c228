//! What SSSE3 added to MMX, lane by lane.

use iced_x86::Mnemonic as M;

use crate::core::Core;
use crate::mmx::{binary, source, write};
use crate::op::{Op, R, Selected, seq};

type Words = [i16; 4];
type Doublewords = [i32; 2];

fn words(value: u64) -> Words {
    [0, 16, 32, 48].map(|shift| (value >> shift) as i16)
}

fn from_words(words: Words) -> u64 {
    words.iter().rev().fold(0, |value, word| value << 16 | u64::from(*word as u16))
}

fn doublewords(value: u64) -> Doublewords {
    [value as i32, (value >> 32) as i32]
}

fn from_doublewords(doublewords: Doublewords) -> u64 {
    u64::from(doublewords[0] as u32) | u64::from(doublewords[1] as u32) << 32
}

/// Neighbouring words of both operands, combined.
fn horizontal(a: u64, b: u64, f: impl Fn(i16, i16) -> i16) -> u64 {
    let (a, b) = (words(a), words(b));
    from_words([f(a[0], a[1]), f(a[2], a[3]), f(b[0], b[1]), f(b[2], b[3])])
}

fn horizontal_doublewords(a: u64, b: u64, f: impl Fn(i32, i32) -> i32) -> u64 {
    let (a, b) = (doublewords(a), doublewords(b));
    from_doublewords([f(a[0], a[1]), f(b[0], b[1])])
}

fn each_byte(a: u64, b: u64, f: impl Fn(i8, i8) -> i8) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|i| f(a[i] as i8, b[i] as i8) as u8))
}

fn each_word(a: u64, b: u64, f: impl Fn(i16, i16) -> i16) -> u64 {
    let (a, b) = (words(a), words(b));
    from_words(std::array::from_fn(|i| f(a[i], b[i])))
}

fn each_doubleword(a: u64, b: u64, f: impl Fn(i32, i32) -> i32) -> u64 {
    let (a, b) = (doublewords(a), doublewords(b));
    from_doublewords(std::array::from_fn(|i| f(a[i], b[i])))
}

/// `a` with the sign of `b` applied: negated, kept or cleared.
macro_rules! sign {
    ($each:ident) => {
        |a, b| $each(a, b, |a, b| a.wrapping_mul(b.signum()))
    };
}

fn pshufb(a: u64, b: u64) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u64::from_le_bytes(b.map(|index| if index & 0x80 != 0 { 0 } else { a[usize::from(index & 7)] }))
}

fn pmulhrsw(a: i16, b: i16) -> i16 {
    (((i32::from(a) * i32::from(b)) >> 14).wrapping_add(1) >> 1) as i16
}

/// Unsigned bytes of `a` times signed bytes of `b`, neighbours added with saturation.
fn pmaddubsw(a: u64, b: u64) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i] as i8);
    from_words(std::array::from_fn(|i| {
        (product(i * 2) + product(i * 2 + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }))
}

fn palignr(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let low = source(core, op)?;
    let joined = u128::from(core.fpu.mm(op.dst)) << 64 | u128::from(low);
    let value = joined.checked_shr((op.imm & 0xff) as u32 * 8).unwrap_or(0) as u64;
    write(core, op.dst, value);
    Ok(())
}

macro_rules! lanes {
    ($op:expr, $($mnemonic:ident $f:expr),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => seq!(|core: &mut Core, op: &Op| -> R { binary(core, op, $f) }),)*
            M::Palignr => seq!(palignr),
            _ => None,
        }
    };
}

/// Handlers of operations on MMX registers.
pub(crate) fn select(op: &Op) -> Selected {
    lanes!(op,
        Pshufb pshufb,
        Phaddw |a, b| horizontal(a, b, i16::wrapping_add),
        Phaddsw |a, b| horizontal(a, b, i16::saturating_add),
        Phsubw |a, b| horizontal(a, b, i16::wrapping_sub),
        Phsubsw |a, b| horizontal(a, b, i16::saturating_sub),
        Phaddd |a, b| horizontal_doublewords(a, b, i32::wrapping_add),
        Phsubd |a, b| horizontal_doublewords(a, b, i32::wrapping_sub),
        Pmaddubsw pmaddubsw,
        Pmulhrsw |a, b| each_word(a, b, pmulhrsw),
        Psignb sign!(each_byte),
        Psignw sign!(each_word),
        Psignd sign!(each_doubleword),
        Pabsb |_, b| each_byte(b, b, |b, _| b.wrapping_abs()),
        Pabsw |_, b| each_word(b, b, |b, _| b.wrapping_abs()),
        Pabsd |_, b| each_doubleword(b, b, |b, _| b.wrapping_abs()),
    )
}
