//! Two-operand arithmetic and logic, INC, DEC, NEG and IMUL.

use std::marker::PhantomData;

use iced_x86::Mnemonic as M;

use super::address::{Place, by_place};
use super::{Body, body};
use crate::alu::{Add, And, Binary, Cmp, Dec, Inc, Neg, Or, Sub, Test, Unary, Xor};
use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Handler, IMM3, Op};

pub(super) struct Rr<O, T, const FLAGS: bool>(PhantomData<(O, T)>);
pub(super) struct Ri<O, T, const FLAGS: bool>(PhantomData<(O, T)>);
pub(super) struct Rm<O, T, P, const FLAGS: bool>(PhantomData<(O, T, P)>);
pub(super) struct Mr<O, T, P>(PhantomData<(O, T, P)>);
pub(super) struct Mi<O, T, P>(PhantomData<(O, T, P)>);
pub(super) struct One<O, T, const FLAGS: bool>(PhantomData<(O, T)>);
struct Imul<T, const FLAGS: bool>(PhantomData<T>);

/// The result of an operation into the destination register; the flags only if `FLAGS`.
#[inline(always)]
fn to_register<O: Binary, T: Int, const FLAGS: bool>(core: &mut Core, op: &Op, a: u64, b: u64) -> bool {
    let mut flags = core.flags;
    let r = O::apply::<T>(&mut flags, a, b);
    if O::WRITES {
        T::set(core, op.dst, r);
    }
    if FLAGS {
        core.flags = flags;
    }
    true
}

impl<O: Binary, T: Int, const FLAGS: bool> Body for Rr<O, T, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let (a, b) = (T::get(core, op.dst), T::get(core, op.src));
        to_register::<O, T, FLAGS>(core, op, a, b)
    }
}

impl<O: Binary, T: Int, const FLAGS: bool> Body for Ri<O, T, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let a = T::get(core, op.dst);
        to_register::<O, T, FLAGS>(core, op, a, T::trunc(op.imm))
    }
}

impl<O: Binary, T: Int, P: Place, const FLAGS: bool> Body for Rm<O, T, P, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let Some(b) = core.quick_load::<T>(P::at(core, op)) else { return false };
        let a = T::get(core, op.dst);
        to_register::<O, T, FLAGS>(core, op, a, b)
    }
}

/// The operation on memory and `b`.
#[inline(always)]
fn memory<O: Binary, T: Int, P: Place>(core: &mut Core, op: &Op, b: u64) -> bool {
    let linear = P::at(core, op);
    if !O::WRITES {
        let Some(a) = core.quick_load::<T>(linear) else { return false };
        O::apply::<T>(&mut core.flags, a, b);
        return true;
    }
    let Some(ptr) = core.tlb.write(linear, T::SIZE, core.user) else { return false };
    // SAFETY: a write entry maps its whole page to RAM and the lookup covers all `SIZE` bytes.
    let a = unsafe { T::read(ptr) };
    let r = O::apply::<T>(&mut core.flags, a, b);
    // SAFETY: as above.
    unsafe { T::write(ptr, r) };
    true
}

impl<O: Binary, T: Int, P: Place> Body for Mr<O, T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let b = T::get(core, op.src);
        memory::<O, T, P>(core, op, b)
    }
}

impl<O: Binary, T: Int, P: Place> Body for Mi<O, T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        memory::<O, T, P>(core, op, T::trunc(op.imm))
    }
}

impl<O: Unary, T: Int, const FLAGS: bool> Body for One<O, T, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let mut flags = core.flags;
        let r = O::apply::<T>(&mut flags, T::get(core, op.dst));
        T::set(core, op.dst, r);
        if FLAGS {
            core.flags = flags;
        }
        true
    }
}

/// IMUL of two registers, or of a register and an immediate.
impl<T: Int, const FLAGS: bool> Body for Imul<T, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let (a, b) =
            if op.has(IMM3) { (T::get(core, op.src), op.imm) } else { (T::get(core, op.dst), T::get(core, op.src)) };
        let (low, overflows) = (T::sext(a) as i64).overflowing_mul(T::sext(b) as i64);
        let low = low as u64;
        T::set(core, op.dst, low);
        if FLAGS {
            let wide = overflows || T::sext(low) != low;
            core.flags.set_result_cf_of(T::sext(low), wide, wide);
        }
        true
    }
}

/// Operand sizes that fast handlers are made for; 16 bits are rare.
macro_rules! by_common_size {
    ($size:expr, $t:ident => $body:expr) => {
        match $size {
            1 => {
                type $t = u8;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            8 => {
                type $t = u64;
                $body
            }
            _ => None,
        }
    };
}
pub(super) use by_common_size;

fn binary<O: Binary>(op: &Op, live: bool) -> Option<Handler> {
    by_common_size!(op.size, T => match (op.form, live) {
        // With flags, the plain handlers are as fast.
        (Form::RR, false) => body!(Rr<O, T, false>),
        (Form::RI, false) => body!(Ri<O, T, false>),
        (Form::RM, true) => by_place!(op, P => Rm<O, T, P, true>),
        (Form::RM, false) => by_place!(op, P => Rm<O, T, P, false>),
        (Form::MR, _) => by_place!(op, P => Mr<O, T, P>),
        (Form::MI, _) => by_place!(op, P => Mi<O, T, P>),
        _ => None,
    })
}

fn unary<O: Unary>(op: &Op, live: bool) -> Option<Handler> {
    by_common_size!(op.size, T => match (op.form, live) {
        (Form::R, false) => body!(One<O, T, false>),
        _ => None,
    })
}

fn imul(op: &Op, live: bool) -> Option<Handler> {
    if op.form != Form::RR {
        return None;
    }
    match (op.size, live) {
        (4, true) => body!(Imul<u32, true>),
        (4, false) => body!(Imul<u32, false>),
        (8, true) => body!(Imul<u64, true>),
        (8, false) => body!(Imul<u64, false>),
        _ => None,
    }
}

pub(super) fn select(op: &Op, live: bool) -> Option<Handler> {
    match op.mnemonic {
        M::Add => binary::<Add>(op, live),
        M::Or => binary::<Or>(op, live),
        M::And => binary::<And>(op, live),
        M::Sub => binary::<Sub>(op, live),
        M::Xor => binary::<Xor>(op, live),
        M::Cmp => binary::<Cmp>(op, live),
        M::Test => binary::<Test>(op, live),
        M::Inc => unary::<Inc>(op, live),
        M::Dec => unary::<Dec>(op, live),
        M::Neg => unary::<Neg>(op, live),
        M::Imul => imul(op, live),
        _ => None,
    }
}
