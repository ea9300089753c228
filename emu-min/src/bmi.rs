//! BMI1, BMI2, LZCNT and MOVBE: bit fields, counts, shifts without flags and byte-swapped moves.

use iced_x86::Mnemonic;

use crate::bits::source;
use crate::core::{Core, RDX};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, REG3, Selected, seq, store};

/// The last of three operands: a register or memory.
fn third<T: Int>(core: &mut Core, op: &Op) -> R<u64> {
    if op.has(REG3) {
        return Ok(T::get(core, op.aux));
    }
    let address = core.linear(op, T::SIZE, false)?;
    core.load::<T>(address)
}

/// Stores a result; ZF and SF come from it, OF is cleared.
fn finish<T: Int>(core: &mut Core, op: &Op, result: u64, carry: bool) {
    core.flags.set_result_cf_of(T::sext(result), carry, false);
    T::set(core, op.dst, result);
}

fn andn<T: Int>(core: &mut Core, op: &Op) -> R {
    let second = third::<T>(core, op)?;
    let result = !T::get(core, op.src) & second;
    finish::<T>(core, op, result, false);
    Ok(())
}

/// BEXTR: the control operand holds the start in its low byte and the length in the next.
fn bextr<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    let control = T::get(core, op.aux);
    let (start, length) = (control & 0xff, control >> 8 & 0xff);
    let field = value.checked_shr(start as u32).unwrap_or(0);
    finish::<T>(core, op, low_bits(field, length), false);
    Ok(())
}

/// The low `count` bits of a value.
fn low_bits(value: u64, count: u64) -> u64 {
    if count >= 64 { value } else { value & ((1 << count) - 1) }
}

fn bzhi<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    let count = T::get(core, op.aux) & 0xff;
    finish::<T>(core, op, low_bits(value, count), count >= u64::from(T::BITS));
    Ok(())
}

/// BLSI: the lowest set bit alone.
fn blsi<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    finish::<T>(core, op, value & value.wrapping_neg(), value != 0);
    Ok(())
}

/// BLSMSK: ones up to the lowest set bit. They are never none, but ZF is cleared in any case.
fn blsmsk<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    finish::<T>(core, op, T::trunc(value ^ value.wrapping_sub(1)), value == 0);
    Ok(())
}

/// BLSR: the lowest set bit cleared.
fn blsr<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    finish::<T>(core, op, value & value.wrapping_sub(1), value == 0);
    Ok(())
}

/// LZCNT and TZCNT: CF says that there was no bit, ZF that the count is zero; the other flags are undefined.
fn count<const LEADING: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    let zeros = match (value, LEADING) {
        (0, _) => T::BITS,
        (_, true) => value.leading_zeros() - (64 - T::BITS),
        (_, false) => value.trailing_zeros(),
    };
    core.flags.set_cf(value == 0);
    core.flags.set_zf(zeros == 0);
    T::set(core, op.dst, u64::from(zeros));
    Ok(())
}

/// MULX: the low half first, so that one register named twice holds the high half.
fn mulx<T: Int>(core: &mut Core, op: &Op) -> R {
    let factor = third::<T>(core, op)?;
    let product = u128::from(T::get(core, RDX as u8)) * u128::from(factor);
    T::set(core, op.src, product as u64);
    T::set(core, op.dst, (product >> T::BITS) as u64);
    Ok(())
}

/// Spreads the low bits of `value` to where `mask` has ones.
fn deposit(mut value: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        if value & 1 != 0 {
            result |= lowest;
        }
        value >>= 1;
        mask ^= lowest;
    }
    result
}

/// Gathers the bits of `value` where `mask` has ones.
fn extract(value: u64, mut mask: u64) -> u64 {
    let mut result = 0;
    let mut at = 0;
    while mask != 0 {
        let lowest = mask & mask.wrapping_neg();
        result |= u64::from(value & lowest != 0) << at;
        at += 1;
        mask ^= lowest;
    }
    result
}

/// PDEP and PEXT.
fn scatter<const DEPOSIT: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    let mask = third::<T>(core, op)?;
    let value = T::get(core, op.src);
    let result = if DEPOSIT { deposit(value, mask) } else { extract(value, mask) };
    T::set(core, op.dst, result);
    Ok(())
}

fn rorx<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    let shift = op.imm as u32 & (T::BITS - 1);
    T::set(core, op.dst, value >> shift | value << ((T::BITS - shift) & (T::BITS - 1)));
    Ok(())
}

/// SARX, SHLX and SHRX: `shift` gets the value, sign-extended, and the count.
fn shift<T: Int>(core: &mut Core, op: &Op, shift: impl Fn(u64, u32) -> u64) -> R {
    let value = source::<T>(core, op)?;
    let count = T::get(core, op.aux) as u32 & (T::BITS - 1);
    T::set(core, op.dst, shift(value, count));
    Ok(())
}

fn sarx<T: Int>(core: &mut Core, op: &Op) -> R {
    shift::<T>(core, op, |value, count| (T::sext(value) as i64 >> count) as u64)
}

fn shlx<T: Int>(core: &mut Core, op: &Op) -> R {
    shift::<T>(core, op, |value, count| value << count)
}

fn shrx<T: Int>(core: &mut Core, op: &Op) -> R {
    shift::<T>(core, op, |value, count| value >> count)
}

fn reversed<T: Int>(value: u64) -> u64 {
    value.swap_bytes() >> (64 - T::BITS)
}

fn movbe_load<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    T::set(core, op.dst, reversed::<T>(value));
    Ok(())
}

fn movbe_store<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, true)?;
    let value = reversed::<T>(T::get(core, op.src));
    core.store::<T>(address, value)
}

pub(crate) fn select(op: &Op) -> Selected {
    use Mnemonic as M;
    macro_rules! sized {
        ($f:ident) => {
            by_size!(op.size, T => seq!($f::<T>))
        };
        ($f:ident, $variant:literal) => {
            by_size!(op.size, T => seq!($f::<$variant, T>))
        };
    }
    match op.mnemonic {
        M::Andn => sized!(andn),
        M::Bextr => sized!(bextr),
        M::Blsi => sized!(blsi),
        M::Blsmsk => sized!(blsmsk),
        M::Blsr => sized!(blsr),
        M::Bzhi => sized!(bzhi),
        M::Lzcnt => sized!(count, true),
        M::Tzcnt => sized!(count, false),
        M::Mulx => sized!(mulx),
        M::Pdep => sized!(scatter, true),
        M::Pext => sized!(scatter, false),
        M::Rorx => sized!(rorx),
        M::Sarx => sized!(sarx),
        M::Shlx => sized!(shlx),
        M::Shrx => sized!(shrx),
        M::Movbe if op.form == Form::MR => by_size!(op.size, T => store!(movbe_store::<T>)),
        M::Movbe => sized!(movbe_load),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_deposited_and_extracted_in_order() {
        assert_eq!(deposit(0b1011, 0xf0f0), 0xb0);
        assert_eq!(deposit(0x5a, 0xf0f0), 0x50a0);
        assert_eq!(extract(0x50a0, 0xf0f0), 0x5a);
        assert_eq!((deposit(u64::MAX, 0), extract(u64::MAX, 0)), (0, 0));
        assert_eq!(low_bits(u64::MAX, 63), u64::MAX >> 1);
        assert_eq!((low_bits(7, 64), low_bits(7, 255), low_bits(7, 0)), (7, 7, 0));
    }

    #[test]
    fn bytes_are_reversed_within_the_operand() {
        assert_eq!(reversed::<u16>(0x1234), 0x3412);
        assert_eq!(reversed::<u32>(0x1234_5678), 0x7856_3412);
        assert_eq!(reversed::<u64>(1), 1 << 56);
    }

    proptest! {
        #[test]
        fn extraction_inverts_deposition(value: u64, mask: u64) {
            let deposited = deposit(value, mask);
            prop_assert_eq!(deposited & !mask, 0);
            prop_assert_eq!(extract(deposited, mask), low_bits(value, u64::from(mask.count_ones())));
            prop_assert_eq!(deposit(extract(value, mask), mask), value & mask);
        }
    }
}
