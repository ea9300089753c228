//! PUSH and POP of 64 bits, and near CALL and RET, in 64-bit mode, where the stack segment has no base.

use iced_x86::Mnemonic as M;

use super::{Body, body};
use crate::core::{Core, RBP, RSP};
use crate::int::Int;
use crate::op::{Flow, Form, Handler, OTHER, Op, OpRef};

pub(super) struct Push;
struct PushImmediate;
pub(super) struct Pop;
struct Leave;

#[inline(always)]
fn push(core: &mut Core, value: u64) -> bool {
    let sp = core.r[RSP].wrapping_sub(8);
    if !core.quick_store::<u64>(sp, value) {
        return false;
    }
    core.r[RSP] = sp;
    true
}

impl Body for Push {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = u64::get(core, op.dst);
        push(core, value)
    }
}

impl Body for PushImmediate {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        push(core, op.imm)
    }
}

impl Body for Pop {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let sp = core.r[RSP];
        let Some(value) = core.quick_load::<u64>(sp) else { return false };
        core.r[RSP] = sp.wrapping_add(8);
        u64::set(core, op.dst, value);
        true
    }
}

impl Body for Leave {
    #[inline(always)]
    fn run(core: &mut Core, _: &Op) -> bool {
        let frame = core.r[RBP];
        let Some(value) = core.quick_load::<u64>(frame) else { return false };
        core.r[RSP] = frame.wrapping_add(8);
        core.r[RBP] = value;
        true
    }
}

/// A direct CALL.
fn call(core: &mut Core, op: OpRef<'_>) -> Flow {
    let data = op.get();
    if !push(core, data.next_rip()) {
        return (data.plain)(core, op);
    }
    op.follow(core, 1, |op| op.imm, |links| &links.taken)
}

/// RET to a block that is known.
fn ret(core: &mut Core, op: OpRef<'_>) -> Flow {
    let data = op.get();
    let sp = core.r[RSP];
    if let Some(target) = core.quick_load::<u64>(sp)
        && let Some(first) = core.targets.find(target, core.context)
    {
        let release = if data.form == Form::I { data.imm } else { 0 };
        core.r[RSP] = sp.wrapping_add(8).wrapping_add(release);
        return op.follow_indirect(core, target, first);
    }
    (data.plain)(core, op)
}

pub(super) fn select(op: &Op, link: bool) -> Option<Handler> {
    if op.size != 8 || op.flags & OTHER != 0 {
        return None;
    }
    match (op.mnemonic, op.form) {
        (M::Push, Form::R) => body!(Push),
        (M::Push, Form::I) => body!(PushImmediate),
        (M::Pop, Form::R) => body!(Pop),
        (M::Leave, _) => body!(Leave),
        (M::Call, Form::I) if link => Some(call),
        (M::Ret, _) if link => Some(ret),
        _ => None,
    }
}
