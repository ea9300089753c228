//! Pairs of operations that one handler executes.
//!
//! Both operations stay in the block. If either cannot take its fast way, the pair falls back to the plain handler of
//! that one, so faults and counts are those of single operations.

use iced_x86::Mnemonic as M;

use super::Body;
use super::address::{Based, Indexed, Kind, kind};
use super::alu::{Mi, Mr, One, Ri, Rm, Rr};
use super::branch::jcc;
use super::mov::{Load, Move, Store};
use super::sse::LoadScalar;
use super::stack::{Pop, Push};
use crate::alu::{Add, And, Binary, Cmp, Dec, Inc, Or, Sub, Test, Xor};
use crate::control::{Condition, by_condition, condition_of};
use crate::core::{Core, Mode};
use crate::int::Int;
use crate::op::{Flow, Form, Handler, OTHER, Op, OpRef};

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

/// Two operations of which neither ends the block.
fn two<A: Body, B: Body>(core: &mut Core, op: OpRef<'_>) -> Flow {
    if !A::run(core, op.get()) {
        return (op.get().plain)(core, op);
    }
    let second = op.successor();
    if B::run(core, second.get()) { second.next(core) } else { (second.get().plain)(core, second) }
}

/// The bodies of operations that are often neighbours. None of them touches the flags.
macro_rules! neighbours {
    ($($name:ident = $body:ty;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Neighbour {
            $($name),*
        }

        fn after<A: Body>(second: Neighbour) -> Handler {
            match second {
                $(Neighbour::$name => two::<A, $body>,)*
            }
        }

        fn neighbours(first: Neighbour, second: Neighbour) -> Handler {
            match first {
                $(Neighbour::$name => after::<$body>(second),)*
            }
        }
    };
}

neighbours! {
    Move32 = Move<u32>;
    Move64 = Move<u64>;
    Load32 = Load<u32, Based>;
    Load64 = Load<u64, Based>;
    Load64Indexed = Load<u64, Indexed>;
    Store64 = Store<u64, Based>;
    LoadDouble = LoadScalar<u64, Based>;
    Push64 = Push;
    Pop64 = Pop;
}

fn neighbour(op: &Op, mode: Mode) -> Option<Neighbour> {
    use Neighbour as N;
    if op.flags & OTHER != 0 {
        return None;
    }
    let place = kind(op);
    Some(match (op.mnemonic, op.form, op.size) {
        (M::Mov, Form::RR, 4) => N::Move32,
        (M::Mov, Form::RR, 8) => N::Move64,
        (M::Mov, Form::RM, 4) if place == Some(Kind::Based) => N::Load32,
        (M::Mov, Form::RM, 8) if place == Some(Kind::Based) => N::Load64,
        (M::Mov, Form::RM, 8) if place == Some(Kind::Indexed) => N::Load64Indexed,
        (M::Mov, Form::MR, 8) if place == Some(Kind::Based) => N::Store64,
        (M::Movsd, Form::RM, 8) if place == Some(Kind::Based) => N::LoadDouble,
        (M::Push, Form::R, 8) if mode == Mode::Bits64 => N::Push64,
        (M::Pop, Form::R, 8) if mode == Mode::Bits64 => N::Pop64,
        _ => return None,
    })
}

/// The handler of two operations, if there is one.
pub(super) fn select(op: &Op, next: &Op, mode: Mode) -> Option<Handler> {
    if let Some(condition) = condition_of(next.mnemonic) {
        if matches!(op.mnemonic, M::Inc | M::Dec) && op.form != Form::R {
            return None;
        }
        return with_branch(op, condition);
    }
    Some(neighbours(neighbour(op, mode)?, neighbour(next, mode)?))
}
