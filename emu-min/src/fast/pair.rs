//! Pairs of operations that one handler executes.
//!
//! Both operations stay in the block. If either cannot take its fast way, the pair falls back to the plain handler of
//! that one, so faults and counts are those of single operations.

use iced_x86::Mnemonic as M;

use super::Body;
use super::address::{Based, Indexed, Kind, kind};
use super::alu::{Mi, Mr, One, Ri, Rm, Rr};
use super::branch::jcc;
use crate::alu::{Add, And, Binary, Cmp, Dec, Inc, Or, Sub, Test, Xor};
use crate::control::{Condition, by_condition, condition_of};
use crate::core::{Core, Mode};
use crate::int::Int;
use crate::op::{Flow, Form, Handler, Op, OpRef};

/// An operation, and a conditional branch on its flags.
fn and_branch<B: Body, C: Condition>(core: &mut Core, op: OpRef<'_>) -> Flow {
    if B::run(core, op.get()) { jcc::<C>(core, op.successor()) } else { (op.get().plain)(core, op) }
}

fn branch<B: Body>(condition: iced_x86::ConditionCode) -> Option<Handler> {
    by_condition!(condition, C => {
        let handler: Handler = and_branch::<B, C>;
        Some(handler)
    })
}

fn binary<O: Binary, T: Int>(op: &Op, condition: iced_x86::ConditionCode) -> Option<Handler> {
    match op.form {
        Form::RR => branch::<Rr<O, T, true>>(condition),
        Form::RI => branch::<Ri<O, T, true>>(condition),
        _ => None,
    }
}

fn comparison<O: Binary, T: Int>(op: &Op, condition: iced_x86::ConditionCode) -> Option<Handler> {
    match (op.form, kind(op)) {
        (Form::RM, Some(Kind::Based)) => branch::<Rm<O, T, Based, true>>(condition),
        (Form::RM, Some(Kind::Indexed)) => branch::<Rm<O, T, Indexed, true>>(condition),
        (Form::MR, Some(Kind::Based)) => branch::<Mr<O, T, Based>>(condition),
        (Form::MR, Some(Kind::Indexed)) => branch::<Mr<O, T, Indexed>>(condition),
        (Form::MI, Some(Kind::Based)) => branch::<Mi<O, T, Based>>(condition),
        (Form::MI, Some(Kind::Indexed)) => branch::<Mi<O, T, Indexed>>(condition),
        _ => binary::<O, T>(op, condition),
    }
}

fn with_branch(op: &Op, condition: iced_x86::ConditionCode) -> Option<Handler> {
    match (op.mnemonic, op.size) {
        (M::Cmp, 1) => comparison::<Cmp, u8>(op, condition),
        (M::Cmp, 4) => comparison::<Cmp, u32>(op, condition),
        (M::Cmp, 8) => comparison::<Cmp, u64>(op, condition),
        (M::Test, 1) => comparison::<Test, u8>(op, condition),
        (M::Test, 4) => comparison::<Test, u32>(op, condition),
        (M::Test, 8) => comparison::<Test, u64>(op, condition),
        (M::Add, 4) => binary::<Add, u32>(op, condition),
        (M::Add, 8) => binary::<Add, u64>(op, condition),
        (M::Sub, 4) => binary::<Sub, u32>(op, condition),
        (M::Sub, 8) => binary::<Sub, u64>(op, condition),
        (M::And, 4) => binary::<And, u32>(op, condition),
        (M::And, 8) => binary::<And, u64>(op, condition),
        (M::Or, 4) => binary::<Or, u32>(op, condition),
        (M::Or, 8) => binary::<Or, u64>(op, condition),
        (M::Xor, 4) => binary::<Xor, u32>(op, condition),
        (M::Inc, 4) => branch::<One<Inc, u32, true>>(condition),
        (M::Inc, 8) => branch::<One<Inc, u64, true>>(condition),
        (M::Dec, 4) => branch::<One<Dec, u32, true>>(condition),
        (M::Dec, 8) => branch::<One<Dec, u64, true>>(condition),
        _ => None,
    }
}

/// The handler of two operations, if there is one.
pub(super) fn select(op: &Op, next: &Op, _mode: Mode) -> Option<Handler> {
    if let Some(condition) = condition_of(next.mnemonic) {
        if matches!(op.mnemonic, M::Inc | M::Dec) && op.form != Form::R {
            return None;
        }
        return with_branch(op, condition);
    }
    None
}
