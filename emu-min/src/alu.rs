//! Two-operand arithmetic and logic, and INC, DEC, NEG, NOT.

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::ea::{self, Address, Full, Simple};
use crate::flags::Flags;
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, seq, store};

/// A binary operation: result and flags.
pub(crate) trait Binary: 'static {
    /// Whether the destination is written (not by CMP and TEST).
    const WRITES: bool = true;
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64;
}

pub(crate) struct Add;
pub(crate) struct Or;
pub(crate) struct Adc;
pub(crate) struct Sbb;
pub(crate) struct And;
pub(crate) struct Sub;
pub(crate) struct Xor;
pub(crate) struct Cmp;
pub(crate) struct Test;

/// Carries out of each bit of an addition.
#[inline(always)]
fn add_carries(a: u64, b: u64, sum: u64) -> u64 {
    (a & b) | ((a | b) & !sum)
}

/// Borrows out of each bit of a subtraction.
#[inline(always)]
fn sub_borrows(a: u64, b: u64, difference: u64) -> u64 {
    (!a & b) | ((!a | b) & difference)
}

impl Binary for Add {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
        let r = a.wrapping_add(b);
        flags.set_arith(T::sext(r), add_carries(a, b, r), T::BITS);
        r
    }
}

impl Binary for Adc {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
        let r = a.wrapping_add(b).wrapping_add(u64::from(flags.cf()));
        flags.set_arith(T::sext(r), add_carries(a, b, r), T::BITS);
        r
    }
}

impl Binary for Sub {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
        let r = a.wrapping_sub(b);
        flags.set_arith(T::sext(r), sub_borrows(a, b, r), T::BITS);
        r
    }
}

impl Binary for Sbb {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
        let r = a.wrapping_sub(b).wrapping_sub(u64::from(flags.cf()));
        flags.set_arith(T::sext(r), sub_borrows(a, b, r), T::BITS);
        r
    }
}

impl Binary for Cmp {
    const WRITES: bool = false;
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
        Sub::apply::<T>(flags, a, b)
    }
}

macro_rules! logic {
    ($name:ident, $writes:literal, $op:tt) => {
        impl Binary for $name {
            const WRITES: bool = $writes;
            #[inline(always)]
            fn apply<T: Int>(flags: &mut Flags, a: u64, b: u64) -> u64 {
                let r = a $op b;
                flags.set_logic(T::sext(r));
                r
            }
        }
    };
}
logic!(And, true, &);
logic!(Or, true, |);
logic!(Xor, true, ^);
logic!(Test, false, &);

#[inline(always)]
fn finish_reg<O: Binary, T: Int>(core: &mut Core, op: &Op, a: u64, b: u64) -> R {
    let r = O::apply::<T>(&mut core.flags, a, b);
    if O::WRITES {
        T::set(core, op.dst, r);
    }
    Ok(())
}

#[inline(always)]
fn rr<O: Binary, T: Int>(core: &mut Core, op: &Op) -> R {
    let (a, b) = (T::get(core, op.dst), T::get(core, op.src));
    finish_reg::<O, T>(core, op, a, b)
}

#[inline(always)]
fn ri<O: Binary, T: Int>(core: &mut Core, op: &Op) -> R {
    let a = T::get(core, op.dst);
    finish_reg::<O, T>(core, op, a, T::trunc(op.imm))
}

#[inline(always)]
fn rm<O: Binary, T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let address = A::linear(core, op, T::SIZE, false)?;
    let b = core.load::<T>(address)?;
    let a = T::get(core, op.dst);
    finish_reg::<O, T>(core, op, a, b)
}

#[inline(always)]
fn memory<O: Binary, T: Int, A: Address>(core: &mut Core, op: &Op, b: u64) -> R {
    let address = A::linear(core, op, T::SIZE, O::WRITES)?;
    if O::WRITES {
        core.rmw::<T>(address, |core, a| O::apply::<T>(&mut core.flags, a, b))
    } else {
        let a = core.load::<T>(address)?;
        O::apply::<T>(&mut core.flags, a, b);
        Ok(())
    }
}

#[inline(always)]
fn mr<O: Binary, T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let b = T::get(core, op.src);
    memory::<O, T, A>(core, op, b)
}

#[inline(always)]
fn mi<O: Binary, T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    memory::<O, T, A>(core, op, T::trunc(op.imm))
}

fn binary<O: Binary>(op: &Op) -> Selected {
    let simple = ea::is_simple(op);
    by_size!(op.size, T => match op.form {
        Form::RR => seq!(rr::<O, T>),
        Form::RI => seq!(ri::<O, T>),
        Form::RM if simple => seq!(rm::<O, T, Simple>),
        Form::RM => seq!(rm::<O, T, Full>),
        Form::MR if simple => store!(mr::<O, T, Simple>),
        Form::MR => store!(mr::<O, T, Full>),
        Form::MI if simple => store!(mi::<O, T, Simple>),
        Form::MI => store!(mi::<O, T, Full>),
        _ => None,
    })
}

/// A unary operation: result and flags.
pub(crate) trait Unary: 'static {
    fn apply<T: Int>(flags: &mut Flags, a: u64) -> u64;
}

pub(crate) struct Inc;
pub(crate) struct Dec;
pub(crate) struct Neg;
struct Not;

impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64) -> u64 {
        let cf = flags.cf();
        let r = Add::apply::<T>(flags, a, 1);
        flags.set_cf(cf);
        r
    }
}

impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64) -> u64 {
        let cf = flags.cf();
        let r = Sub::apply::<T>(flags, a, 1);
        flags.set_cf(cf);
        r
    }
}

impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Int>(flags: &mut Flags, a: u64) -> u64 {
        Sub::apply::<T>(flags, 0, a)
    }
}

impl Unary for Not {
    #[inline(always)]
    fn apply<T: Int>(_: &mut Flags, a: u64) -> u64 {
        !a
    }
}

#[inline(always)]
fn unary_r<O: Unary, T: Int>(core: &mut Core, op: &Op) -> R {
    let a = T::get(core, op.dst);
    let r = O::apply::<T>(&mut core.flags, a);
    T::set(core, op.dst, r);
    Ok(())
}

#[inline(always)]
fn unary_m<O: Unary, T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, true)?;
    core.rmw::<T>(address, |core, a| O::apply::<T>(&mut core.flags, a))
}

fn unary<O: Unary>(op: &Op) -> Selected {
    by_size!(op.size, T => match op.form {
        Form::R => seq!(unary_r::<O, T>),
        _ => store!(unary_m::<O, T>),
    })
}

pub(crate) fn select(_: &Instruction, op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Add => binary::<Add>(op),
        Mnemonic::Or => binary::<Or>(op),
        Mnemonic::Adc => binary::<Adc>(op),
        Mnemonic::Sbb => binary::<Sbb>(op),
        Mnemonic::And => binary::<And>(op),
        Mnemonic::Sub => binary::<Sub>(op),
        Mnemonic::Xor => binary::<Xor>(op),
        Mnemonic::Cmp => binary::<Cmp>(op),
        Mnemonic::Test => binary::<Test>(op),
        Mnemonic::Inc => unary::<Inc>(op),
        Mnemonic::Dec => unary::<Dec>(op),
        Mnemonic::Neg => unary::<Neg>(op),
        Mnemonic::Not => unary::<Not>(op),
        _ => None,
    }
}
