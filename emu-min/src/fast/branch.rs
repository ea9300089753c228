//! Near jumps along links, and indirect ones and calls through the table of targets.

use iced_x86::Mnemonic as M;

use super::address::{Based, Indexed, Kind, Place, kind};
use crate::control::{Condition, condition_of};
use crate::core::{Core, Mode, RSP};
use crate::int::Int;
use crate::op::{Flow, Form, Handler, OTHER, Op, OpRef};

#[inline(always)]
pub(super) fn jcc<C: Condition>(core: &mut Core, op: OpRef<'_>) -> Flow {
    if C::holds(&core.flags) {
        op.follow(core, 1, |op| op.imm, |links| &links.taken)
    } else {
        op.follow(core, 1, Op::next_rip, |links| &links.through)
    }
}

fn jump(core: &mut Core, op: OpRef<'_>) -> Flow {
    op.follow(core, 1, |op| op.imm, |links| &links.taken)
}

/// Where an indirect branch finds its target.
trait Source: 'static {
    fn target(core: &Core, op: &Op) -> Option<u64>;
}

struct Register;
struct Memory<P>(std::marker::PhantomData<P>);

impl Source for Register {
    #[inline(always)]
    fn target(core: &Core, op: &Op) -> Option<u64> {
        Some(u64::get(core, op.dst))
    }
}

impl<P: Place> Source for Memory<P> {
    #[inline(always)]
    fn target(core: &Core, op: &Op) -> Option<u64> {
        core.quick_load::<u64>(P::at(core, op))
    }
}

/// An indirect JMP, or CALL, to a block that is known.
fn indirect<const CALL: bool, S: Source>(core: &mut Core, op: OpRef<'_>) -> Flow {
    let data = op.get();
    if let Some(target) = S::target(core, data)
        && let Some(first) = core.targets.find(target, core.context)
    {
        if !CALL {
            return op.follow_indirect(core, target, first);
        }
        let sp = core.r[RSP].wrapping_sub(8);
        if core.quick_store::<u64>(sp, data.next_rip()) {
            core.r[RSP] = sp;
            return op.follow_indirect(core, target, first);
        }
    }
    (data.plain)(core, op)
}

fn select_indirect<const CALL: bool>(op: &Op) -> Option<Handler> {
    if op.form == Form::R {
        return Some(indirect::<CALL, Register>);
    }
    Some(match kind(op)? {
        Kind::Based => indirect::<CALL, Memory<Based>>,
        Kind::Indexed => indirect::<CALL, Memory<Indexed>>,
    })
}

pub(super) fn select(op: &Op, mode: Mode) -> Option<Handler> {
    if let Some(condition) = condition_of(op.mnemonic) {
        return crate::control::by_condition!(condition, C => {
            let handler: Handler = jcc::<C>;
            Some(handler)
        });
    }
    let wide = mode == Mode::Bits64 && op.size == 8;
    match (op.mnemonic, op.form) {
        (M::Jmp, Form::I) if op.flags & OTHER == 0 => Some(jump),
        (M::Jmp, Form::R | Form::M) if wide => select_indirect::<false>(op),
        (M::Call, Form::R | Form::M) if wide => select_indirect::<true>(op),
        _ => None,
    }
}
