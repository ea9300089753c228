//! Which operations' flags nobody can see: those that another operation overwrites before any that reads them, and before
//! any that may fault or leave the block, since exceptions show all flags.

use iced_x86::Mnemonic as M;

use crate::op::{Form, OTHER, Op};

/// Whether the flags before an operation matter, given whether those after it do.
pub(super) fn before(op: &Op, after: bool) -> bool {
    if matches!(op.form, Form::None | Form::M | Form::RM | Form::MR | Form::MI | Form::I) {
        return true; // memory may fault; the rest is not worth a list
    }
    match op.mnemonic {
        // They write all six.
        M::Add | M::Sub | M::Cmp | M::And | M::Or | M::Xor | M::Test | M::Neg => false,
        // They write some, or none, and neither read nor fault.
        M::Mov if op.flags & OTHER == 0 => after,
        M::Inc | M::Dec | M::Imul | M::Lea | M::Movzx | M::Movsx | M::Movsxd | M::Not | M::Bswap => after,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror => after,
        _ => true,
    }
}
