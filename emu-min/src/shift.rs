//! Shifts and rotates, single and double.

use iced_x86::Mnemonic;

use crate::core::{Core, RCX};
use crate::flags::Flags;
use crate::int::{Int, by_size};
use crate::op::{Form, IMM3, Op, R, Selected, seq, store};

/// A shift or rotate by a count that is masked already; a count of zero changes nothing.
pub(crate) trait Shift: 'static {
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64;
}

pub(crate) struct Shl;
pub(crate) struct Shr;
pub(crate) struct Sar;
pub(crate) struct Rol;
pub(crate) struct Ror;
struct Rcl;
struct Rcr;

#[inline(always)]
fn sign<T: Int>(value: u64) -> bool {
    value & T::SIGN != 0
}

impl Shift for Shl {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        if count == 0 {
            return a;
        }
        // The bit shifted out last; for counts past an 8- or 16-bit operand it is zero.
        let last = a << (count - 1);
        let r = T::trunc(last << 1);
        let cf = sign::<T>(last);
        flags.set_result_cf_of(T::sext(r), cf, sign::<T>(r) != cf);
        r
    }
}

impl Shift for Shr {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        if count == 0 {
            return a;
        }
        let last = a >> (count - 1);
        let r = last >> 1;
        flags.set_result_cf_of(T::sext(r), last & 1 != 0, sign::<T>(a));
        r
    }
}

impl Shift for Sar {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        if count == 0 {
            return a;
        }
        let last = T::sext(a) as i64 >> (count - 1);
        let r = T::trunc((last >> 1) as u64);
        flags.set_result_cf_of(T::sext(r), last & 1 != 0, false);
        r
    }
}

impl Shift for Rol {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        if count == 0 {
            return a;
        }
        let by = count % T::BITS;
        let r = if by == 0 { a } else { T::trunc((a << by) | (a >> (T::BITS - by))) };
        let cf = r & 1 != 0;
        flags.set_cf_of(cf, sign::<T>(r) != cf);
        r
    }
}

impl Shift for Ror {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        if count == 0 {
            return a;
        }
        let by = count % T::BITS;
        let r = if by == 0 { a } else { T::trunc((a >> by) | (a << (T::BITS - by))) };
        let cf = sign::<T>(r);
        flags.set_cf_of(cf, cf != (r & (T::SIGN >> 1) != 0));
        r
    }
}

impl Shift for Rcl {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        let by = count % (T::BITS + 1);
        if by == 0 {
            return a;
        }
        // The carry sits above the operand: a rotate of BITS + 1 bits.
        let wide = u128::from(a) | u128::from(flags.cf()) << T::BITS;
        let wide = (wide << by) | (wide >> (T::BITS + 1 - by));
        let r = T::trunc(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        flags.set_cf_of(cf, sign::<T>(r) != cf);
        r
    }
}

impl Shift for Rcr {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, count: u32) -> u64 {
        let by = count % (T::BITS + 1);
        if by == 0 {
            return a;
        }
        let wide = u128::from(a) | u128::from(flags.cf()) << T::BITS;
        let wide = (wide >> by) | (wide << (T::BITS + 1 - by));
        let r = T::trunc(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        flags.set_cf_of(cf, sign::<T>(r) != (r & (T::SIGN >> 1) != 0));
        r
    }
}

#[inline(always)]
pub(crate) fn count_mask<T: Int>() -> u64 {
    if T::BITS == 64 { 63 } else { 31 }
}

#[inline(always)]
fn shift_ri<O: Shift, T: Int>(core: &mut Core, op: &Op) -> R {
    let a = T::get(core, op.dst);
    let r = O::apply::<T>(&mut core.flags, a, (op.imm & count_mask::<T>()) as u32);
    T::set(core, op.dst, r);
    Ok(())
}

#[inline(always)]
fn shift_rcl<O: Shift, T: Int>(core: &mut Core, op: &Op) -> R {
    let a = T::get(core, op.dst);
    let count = (core.r[RCX] & count_mask::<T>()) as u32;
    let r = O::apply::<T>(&mut core.flags, a, count);
    T::set(core, op.dst, r);
    Ok(())
}

fn shift_m<O: Shift, T: Int>(core: &mut Core, op: &Op) -> R {
    let count = if op.form == Form::MI { op.imm } else { core.r[RCX] };
    let count = (count & count_mask::<T>()) as u32;
    let address = core.linear(op, T::SIZE, true)?;
    core.rmw::<T>(address, |core, a| O::apply::<T>(&mut core.flags, a, count))
}

fn shift<O: Shift>(op: &Op) -> Selected {
    by_size!(op.size, T => match op.form {
        Form::RI => seq!(shift_ri::<O, T>),
        Form::RR => seq!(shift_rcl::<O, T>),
        _ => store!(shift_m::<O, T>),
    })
}

/// SHLD and SHRD of operands of `T`, 16 to 64 bits. For 16 bits, counts above 16 are undefined; the source is then
/// followed by the destination again, as on processors.
#[inline(always)]
fn double<const LEFT: bool, T: Int>(flags: &mut Flags, a: u64, b: u64, count: u32) -> u64 {
    if count == 0 {
        return a;
    }
    let bits = T::BITS;
    let (a_wide, b_wide) = (u128::from(a), u128::from(b));
    let (r, cf) = match (LEFT, bits) {
        (true, 64) => {
            let wide = a_wide << 64 | b_wide;
            ((wide >> (64 - count)) as u64, wide >> (128 - count) & 1 != 0)
        }
        (true, _) => {
            let wide = a_wide << (bits & 63) << (bits & 63) | b_wide << bits | a_wide;
            ((wide >> (2 * bits - count)) as u64, wide >> (3 * bits - count) & 1 != 0)
        }
        (false, _) => {
            let again = if bits == 64 { 0 } else { a_wide << (bits & 63) << (bits & 63) };
            let wide = a_wide | b_wide << bits | again;
            ((wide >> count) as u64, wide >> (count - 1) & 1 != 0)
        }
    };
    let r = T::trunc(r);
    flags.set_result_cf_of(T::sext(r), cf, sign::<T>(r) != sign::<T>(a));
    r
}

fn double_count<T: Int>(core: &Core, op: &Op) -> u32 {
    let count = if op.has(IMM3) { op.imm } else { core.r[RCX] };
    (count & count_mask::<T>()) as u32
}

fn double_r<const LEFT: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    let (a, b, count) = (T::get(core, op.dst), T::get(core, op.src), double_count::<T>(core, op));
    let r = double::<LEFT, T>(&mut core.flags, a, b, count);
    T::set(core, op.dst, r);
    Ok(())
}

fn double_m<const LEFT: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    let (b, count) = (T::get(core, op.src), double_count::<T>(core, op));
    let address = core.linear(op, T::SIZE, true)?;
    core.rmw::<T>(address, |core, a| double::<LEFT, T>(&mut core.flags, a, b, count))
}

fn select_double<const LEFT: bool>(op: &Op) -> Selected {
    by_size!(op.size, T => match op.form {
        Form::RR => seq!(double_r::<LEFT, T>),
        _ => store!(double_m::<LEFT, T>),
    })
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Shl | Mnemonic::Sal => shift::<Shl>(op),
        Mnemonic::Shr => shift::<Shr>(op),
        Mnemonic::Sar => shift::<Sar>(op),
        Mnemonic::Rol => shift::<Rol>(op),
        Mnemonic::Ror => shift::<Ror>(op),
        Mnemonic::Rcl => shift::<Rcl>(op),
        Mnemonic::Rcr => shift::<Rcr>(op),
        Mnemonic::Shld => select_double::<true>(op),
        Mnemonic::Shrd => select_double::<false>(op),
        _ => None,
    }
}
