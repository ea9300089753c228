//! Moves to and from memory, with and without extension, and LEA.

use std::marker::PhantomData;

use iced_x86::Mnemonic as M;

use super::address::{self, Kind, Place, by_place};
use super::alu::by_common_size;
use super::{Body, body};
use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Handler, OTHER, Op};

/// Between registers.
pub(super) struct Move<T>(PhantomData<T>);
pub(super) struct Load<T, P>(PhantomData<(T, P)>);
pub(super) struct Store<T, P>(PhantomData<(T, P)>);
struct StoreImmediate<T, P>(PhantomData<(T, P)>);
/// MOVZX, MOVSX, MOVSXD from memory of size `S`.
struct Extend<const SIGN: bool, S, T, P>(PhantomData<(S, T, P)>);
struct Lea<T>(PhantomData<T>);

impl<T: Int> Body for Move<T> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = T::get(core, op.src);
        T::set(core, op.dst, value);
        true
    }
}

impl<T: Int, P: Place> Body for Load<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let Some(value) = core.quick_load::<T>(P::at(core, op)) else { return false };
        T::set(core, op.dst, value);
        true
    }
}

impl<T: Int, P: Place> Body for Store<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = T::get(core, op.src);
        core.quick_store::<T>(P::at(core, op), value)
    }
}

impl<T: Int, P: Place> Body for StoreImmediate<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        core.quick_store::<T>(P::at(core, op), op.imm)
    }
}

impl<const SIGN: bool, S: Int, T: Int, P: Place> Body for Extend<SIGN, S, T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let Some(value) = core.quick_load::<S>(P::at(core, op)) else { return false };
        T::set(core, op.dst, if SIGN { S::sext(value) } else { value });
        true
    }
}

/// With base, index and displacement.
impl<T: Int> Body for Lea<T> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = address::Indexed::at(core, op);
        T::set(core, op.dst, value);
        true
    }
}

fn mov(op: &Op) -> Option<Handler> {
    by_common_size!(op.size, T => match op.form {
        Form::RM => by_place!(op, P => Load<T, P>),
        Form::MR => by_place!(op, P => Store<T, P>),
        Form::MI => by_place!(op, P => StoreImmediate<T, P>),
        _ => None,
    })
}

/// The size of the source is not in the operation, so the caller knows it.
fn extend<const SIGN: bool, S: Int>(op: &Op) -> Option<Handler> {
    match op.size {
        4 => by_place!(op, P => Extend<SIGN, S, u32, P>),
        8 => by_place!(op, P => Extend<SIGN, S, u64, P>),
        _ => None,
    }
}

fn lea(op: &Op) -> Option<Handler> {
    match (op.size, address::kind(op)?) {
        (4, _) => body!(Lea<u32>),
        (8, Kind::Indexed) => body!(Lea<u64>),
        _ => None, // the plain handler is as fast
    }
}

pub(super) fn select(op: &Op) -> Option<Handler> {
    if op.flags & OTHER != 0 {
        return None;
    }
    match (op.mnemonic, op.form, op.aux) {
        (M::Mov, ..) => mov(op),
        (M::Movzx, Form::RM, 1) => extend::<false, u8>(op),
        (M::Movzx, Form::RM, 2) => extend::<false, u16>(op),
        (M::Movsx, Form::RM, 1) => extend::<true, u8>(op),
        (M::Movsx, Form::RM, 2) => extend::<true, u16>(op),
        (M::Movsxd, Form::RM, 4) => extend::<true, u32>(op),
        (M::Lea, ..) => lea(op),
        _ => None,
    }
}
