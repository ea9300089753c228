//! Shifts and rotates of registers by a constant.

use std::marker::PhantomData;

use iced_x86::Mnemonic as M;

use super::alu::by_common_size;
use super::{Body, body};
use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Handler, Op};
use crate::shift::{Rol, Ror, Sar, Shift, Shl, Shr, count_mask};

/// By a count that is not zero and less than the operand's bits.
struct ByConstant<O, T, const FLAGS: bool>(PhantomData<(O, T)>);

impl<O: Shift, T: Int, const FLAGS: bool> Body for ByConstant<O, T, FLAGS> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let count = (op.imm & (u64::from(T::BITS) - 1)) as u32;
        if count == 0 {
            return false;
        }
        let mut flags = core.flags;
        let r = O::apply::<T>(&mut flags, T::get(core, op.dst), count);
        T::set(core, op.dst, r);
        if FLAGS {
            core.flags = flags;
        }
        true
    }
}

fn shift<O: Shift>(op: &Op, live: bool) -> Option<Handler> {
    by_common_size!(op.size, T => {
        let count = op.imm & count_mask::<T>();
        if op.form != Form::RI || count == 0 || count >= u64::from(T::BITS) {
            return None;
        }
        if live { body!(ByConstant<O, T, true>) } else { body!(ByConstant<O, T, false>) }
    })
}

pub(super) fn select(op: &Op, live: bool) -> Option<Handler> {
    match op.mnemonic {
        M::Shl | M::Sal => shift::<Shl>(op, live),
        M::Shr => shift::<Shr>(op, live),
        M::Sar => shift::<Sar>(op, live),
        M::Rol => shift::<Rol>(op, live),
        M::Ror => shift::<Ror>(op, live),
        _ => None,
    }
}
