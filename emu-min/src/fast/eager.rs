//! Eager flags: after each operation that writes flags, all six are computed.

use iced_x86::Mnemonic as M;

use crate::core::Core;
use crate::op::{Flow, Op, OpRef};

/// Whether an operation writes arithmetic flags and does not end its block.
pub(crate) fn writes_flags(op: &Op) -> bool {
    matches!(
        op.mnemonic,
        M::Add
            | M::Or
            | M::Adc
            | M::Sbb
            | M::And
            | M::Sub
            | M::Xor
            | M::Cmp
            | M::Test
            | M::Inc
            | M::Dec
            | M::Neg
            | M::Shl
            | M::Sal
            | M::Shr
            | M::Sar
            | M::Rol
            | M::Ror
            | M::Rcl
            | M::Rcr
            | M::Shld
            | M::Shrd
            | M::Mul
            | M::Imul
            | M::Bt
            | M::Bts
            | M::Btr
            | M::Btc
            | M::Bsf
            | M::Bsr
            | M::Popcnt
            | M::Lzcnt
            | M::Tzcnt
            | M::Xadd
            | M::Cmpxchg
            | M::Comiss
            | M::Comisd
            | M::Ucomiss
            | M::Ucomisd
            | M::Andn
            | M::Bextr
            | M::Blsi
            | M::Blsmsk
            | M::Blsr
            | M::Bzhi
    )
}

fn materialise(core: &mut Core, op: OpRef<'_>) -> Flow {
    core.eager_flags = core.flags.to_rflags();
    op.next(core)
}

/// The pseudo-operation that computes the flags of `op`, which it follows.
pub(crate) fn materialised(op: &Op) -> Op {
    let mut pseudo = Op::end_of_block(op.next_rip(), op.n + 1, op.accesses);
    (pseudo.handler, pseudo.plain) = (materialise, materialise);
    pseudo
}

/// Puts a pseudo-operation after every operation of a block that writes flags.
pub(super) fn insert(ops: &mut Vec<Op>) {
    let mut i = 0;
    while let Some(op) = ops.get(i).copied() {
        i += 1;
        if writes_flags(&op) && i < ops.len() {
            ops.insert(i, materialised(&op));
            i += 1;
        }
    }
}
