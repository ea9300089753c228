//! Multiplication and division.

use iced_x86::Mnemonic;

use crate::core::{Core, RAX, RDX};
use crate::exception::DE;
use crate::int::{Int, by_size};
use crate::op::{Form, IMM3, Op, R, Selected, seq};

fn operand<T: Int>(core: &mut Core, op: &Op) -> R<u64> {
    match op.form {
        Form::R => Ok(T::get(core, op.dst)),
        _ => {
            let address = core.linear(op, T::SIZE, false)?;
            core.load::<T>(address)
        }
    }
}

/// Writes a double-width value to AX, or to the pair RDX:RAX of the operand's size.
fn set_pair<T: Int>(core: &mut Core, low: u64, high: u64) {
    if T::BITS == 8 {
        u16::set(core, RAX as u8, T::trunc(low) | T::trunc(high) << 8);
    } else {
        T::set(core, RAX as u8, low);
        T::set(core, RDX as u8, high);
    }
}

fn pair<T: Int>(core: &Core) -> u128 {
    if T::BITS == 8 {
        return u128::from(u16::get(core, RAX as u8));
    }
    u128::from(T::get(core, RAX as u8)) | u128::from(T::get(core, RDX as u8)) << T::BITS
}

fn mul<T: Int>(core: &mut Core, op: &Op) -> R {
    let b = operand::<T>(core, op)?;
    let product = u128::from(T::get(core, RAX as u8)) * u128::from(b);
    let (low, high) = (product as u64, (product >> T::BITS) as u64);
    set_pair::<T>(core, low, high);
    let wide = T::trunc(high) != 0;
    core.flags.set_result_cf_of(T::sext(low), wide, wide); // SF, ZF, PF are undefined
    Ok(())
}

fn imul_wide<T: Int>(core: &mut Core, op: &Op) -> R {
    let b = T::sext(operand::<T>(core, op)?) as i64;
    let a = T::sext(T::get(core, RAX as u8)) as i64;
    let product = i128::from(a) * i128::from(b);
    let low = product as u64;
    set_pair::<T>(core, low, (product >> T::BITS) as u64);
    let wide = i128::from(T::sext(low) as i64) != product;
    core.flags.set_result_cf_of(T::sext(low), wide, wide);
    Ok(())
}

#[inline(always)]
fn imul_into<T: Int>(core: &mut Core, op: &Op, a: u64, b: u64) -> R {
    let product = i128::from(T::sext(a) as i64) * i128::from(T::sext(b) as i64);
    let low = product as u64;
    T::set(core, op.dst, low);
    let wide = i128::from(T::sext(low) as i64) != product;
    core.flags.set_result_cf_of(T::sext(low), wide, wide);
    Ok(())
}

#[inline(always)]
fn imul_rr<T: Int>(core: &mut Core, op: &Op) -> R {
    let (a, b) = (T::get(core, op.dst), T::get(core, op.src));
    imul_into::<T>(core, op, a, b)
}

fn imul_rm<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, false)?;
    let b = core.load::<T>(address)?;
    let a = T::get(core, op.dst);
    imul_into::<T>(core, op, a, b)
}

#[inline(always)]
fn imul_rri<T: Int>(core: &mut Core, op: &Op) -> R {
    let a = T::get(core, op.src);
    imul_into::<T>(core, op, a, op.imm)
}

fn imul_rmi<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, false)?;
    let a = core.load::<T>(address)?;
    imul_into::<T>(core, op, a, op.imm)
}

fn div<T: Int>(core: &mut Core, op: &Op) -> R {
    let divisor = u128::from(operand::<T>(core, op)?);
    let dividend = pair::<T>(core);
    if divisor == 0 || (dividend >> T::BITS) >= divisor {
        return Err(core.fault(DE));
    }
    let (quotient, remainder) = match (u64::try_from(dividend), u64::try_from(divisor)) {
        // 64 by 64 bits is what programs do, and far cheaper on the host.
        (Ok(a), Ok(b)) => (a / b, a % b),
        _ => ((dividend / divisor) as u64, (dividend % divisor) as u64),
    };
    set_pair::<T>(core, quotient, remainder);
    Ok(())
}

fn idiv<T: Int>(core: &mut Core, op: &Op) -> R {
    let divisor = i128::from(T::sext(operand::<T>(core, op)?) as i64);
    let unsigned = pair::<T>(core);
    let unused = 128 - 2 * T::BITS;
    let dividend = (unsigned << unused) as i128 >> unused;
    let (Some(quotient), Some(remainder)) = (dividend.checked_div(divisor), dividend.checked_rem(divisor)) else {
        return Err(core.fault(DE));
    };
    if i128::from(T::sext(quotient as u64) as i64) != quotient {
        return Err(core.fault(DE));
    }
    set_pair::<T>(core, quotient as u64, remainder as u64);
    Ok(())
}

fn select_imul(op: &Op) -> Selected {
    by_size!(op.size, T => match (op.form, op.has(IMM3)) {
        (Form::R | Form::M, _) => seq!(imul_wide::<T>),
        (Form::RR, false) => seq!(imul_rr::<T>),
        (Form::RM, false) => seq!(imul_rm::<T>),
        (Form::RR, true) => seq!(imul_rri::<T>),
        (Form::RM, true) => seq!(imul_rmi::<T>),
        _ => None,
    })
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Mul => by_size!(op.size, T => seq!(mul::<T>)),
        Mnemonic::Imul => select_imul(op),
        Mnemonic::Div => by_size!(op.size, T => seq!(div::<T>)),
        Mnemonic::Idiv => by_size!(op.size, T => seq!(idiv::<T>)),
        _ => None,
    }
}
