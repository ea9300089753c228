//! Bit tests and scans, population count, and the instructions on single flags.

use iced_x86::Mnemonic;

use crate::core::{Core, RAX};
use crate::ea;
use crate::flags::{self, DF, Flags};
use crate::int::{Int, by_size};
use crate::op::{Form, LEGACY, Op, R, Selected, seq, store};

/// What a bit test does to the bit.
trait Change: 'static {
    const WRITES: bool = true;
    fn apply(value: u64, bit: u64) -> u64;
}

struct Keep;
struct Set;
struct Reset;
struct Complement;

impl Change for Keep {
    const WRITES: bool = false;
    fn apply(value: u64, _: u64) -> u64 {
        value
    }
}

impl Change for Set {
    fn apply(value: u64, bit: u64) -> u64 {
        value | bit
    }
}

impl Change for Reset {
    fn apply(value: u64, bit: u64) -> u64 {
        value & !bit
    }
}

impl Change for Complement {
    fn apply(value: u64, bit: u64) -> u64 {
        value ^ bit
    }
}

#[inline(always)]
fn test<C: Change>(core: &mut Core, value: u64, number: u64) -> u64 {
    let bit = 1 << number;
    core.flags.set_cf(value & bit != 0);
    C::apply(value, bit)
}

#[inline(always)]
fn bt_r<C: Change, T: Int>(core: &mut Core, op: &Op) -> R {
    let number = if op.form == Form::RI { op.imm } else { T::get(core, op.src) };
    let value = T::get(core, op.dst);
    let r = test::<C>(core, value, number & (u64::from(T::BITS) - 1));
    if C::WRITES {
        T::set(core, op.dst, r);
    }
    Ok(())
}

/// With a register as bit number, memory is a bit string that extends in both directions.
fn bt_m<C: Change, T: Int>(core: &mut Core, op: &Op) -> R {
    let mut op = *op;
    let number = if op.form == Form::MI {
        op.imm
    } else {
        let number = T::sext(T::get(core, op.src)) as i64;
        let element = number >> T::BITS.trailing_zeros();
        op.disp = op.disp.wrapping_add((element * T::SIZE as i64) as u64);
        number as u64
    };
    let address = if op.has(LEGACY) {
        core.linear(&op, T::SIZE, C::WRITES)?
    } else {
        ea::offset(core, &op).wrapping_add(core.r[(op.seg & 31) as usize])
    };
    let number = number & (u64::from(T::BITS) - 1);
    if C::WRITES {
        core.rmw::<T>(address, |core, value| test::<C>(core, value, number))
    } else {
        let value = core.load::<T>(address)?;
        test::<C>(core, value, number);
        Ok(())
    }
}

fn bt<C: Change>(op: &Op) -> Selected {
    by_size!(op.size, T => match op.form {
        Form::RR | Form::RI => seq!(bt_r::<C, T>),
        _ => store!(bt_m::<C, T>),
    })
}

/// The second operand: a register or memory.
pub(crate) fn source<T: Int>(core: &mut Core, op: &Op) -> R<u64> {
    if op.form == Form::RR {
        return Ok(T::get(core, op.src));
    }
    let address = core.linear(op, T::SIZE, false)?;
    core.load::<T>(address)
}

/// BSF and BSR: a zero source sets ZF and leaves the destination, as processors do.
fn scan<const FORWARD: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    // The other flags are undefined; processors derive them from the source or clear them, and nothing relies on it.
    core.flags.set_zf(value == 0);
    if value != 0 {
        let index = if FORWARD { value.trailing_zeros() } else { 63 - value.leading_zeros() };
        T::set(core, op.dst, u64::from(index));
    }
    Ok(())
}

fn popcnt<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = source::<T>(core, op)?;
    T::set(core, op.dst, u64::from(value.count_ones()));
    core.flags = Flags { zero: value, sign: 1, carries: 0 }; // PF and SF are cleared
    Ok(())
}

fn change_flags(core: &mut Core, change: impl Fn(u64) -> u64) {
    core.flags = Flags::from_rflags(change(core.flags.to_rflags()));
}

fn stc(core: &mut Core, _: &Op) -> R {
    core.flags.set_cf(true);
    Ok(())
}

fn clc(core: &mut Core, _: &Op) -> R {
    core.flags.set_cf(false);
    Ok(())
}

fn cmc(core: &mut Core, _: &Op) -> R {
    let cf = core.flags.cf();
    core.flags.set_cf(!cf);
    Ok(())
}

fn std(core: &mut Core, _: &Op) -> R {
    core.system_flags |= DF;
    Ok(())
}

fn cld(core: &mut Core, _: &Op) -> R {
    core.system_flags &= !DF;
    Ok(())
}

fn lahf(core: &mut Core, _: &Op) -> R {
    let value = core.flags.to_rflags() & 0xd5 | 2;
    u8::set(core, RAX as u8 | 32, value);
    Ok(())
}

fn sahf(core: &mut Core, _: &Op) -> R {
    let value = u8::get(core, RAX as u8 | 32);
    change_flags(core, |old| (old & flags::OF) | (value & 0xd5));
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Bt => bt::<Keep>(op),
        Mnemonic::Bts => bt::<Set>(op),
        Mnemonic::Btr => bt::<Reset>(op),
        Mnemonic::Btc => bt::<Complement>(op),
        Mnemonic::Bsf => by_size!(op.size, T => seq!(scan::<true, T>)),
        Mnemonic::Bsr => by_size!(op.size, T => seq!(scan::<false, T>)),
        Mnemonic::Popcnt => by_size!(op.size, T => seq!(popcnt::<T>)),
        Mnemonic::Stc => seq!(stc),
        Mnemonic::Clc => seq!(clc),
        Mnemonic::Cmc => seq!(cmc),
        Mnemonic::Std => seq!(std),
        Mnemonic::Cld => seq!(cld),
        Mnemonic::Lahf => seq!(lahf),
        Mnemonic::Sahf => seq!(sahf),
        _ => None,
    }
}
