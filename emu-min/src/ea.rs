//! Effective addresses of memory operands.

use crate::core::{CS, Core, SS};
use crate::op::{ADDR16, ADDR32, LEGACY, Op, R, SEG_BASES, ZERO};
use crate::state::Segment;

/// A way to compute the linear address of a memory operand; handlers are compiled for each.
pub(crate) trait Address: 'static {
    /// The linear address of `size` bytes to be read, or written if `write`.
    fn linear(core: &mut Core, op: &Op, size: u64, write: bool) -> R<u64>;
}

/// Base and displacement, 64 bits, no segment base: the common case.
pub(crate) struct Simple;

/// Any operand.
pub(crate) struct Full;

impl Address for Simple {
    #[inline(always)]
    fn linear(core: &mut Core, op: &Op, _size: u64, _write: bool) -> R<u64> {
        Ok(core.r[op.base as usize].wrapping_add(op.disp))
    }
}

impl Address for Full {
    #[inline(always)]
    fn linear(core: &mut Core, op: &Op, size: u64, write: bool) -> R<u64> {
        let offset = offset(core, op);
        if op.has(LEGACY) {
            return core.legacy_linear(op.seg, offset, size, write);
        }
        Ok(offset.wrapping_add(core.r[op.seg as usize]))
    }
}

/// The effective address: what LEA computes.
#[inline(always)]
pub(crate) fn offset(core: &Core, op: &Op) -> u64 {
    let offset =
        core.r[op.base as usize].wrapping_add(core.r[op.index as usize] << (op.scale & 3)).wrapping_add(op.disp);
    match op.flags & (ADDR32 | ADDR16) {
        0 => offset,
        ADDR32 => offset & 0xffff_ffff,
        _ => offset & 0xffff,
    }
}

/// Whether [`Simple`] computes this operand's address.
pub(crate) fn is_simple(op: &Op) -> bool {
    op.index == ZERO && op.flags & (ADDR32 | ADDR16 | LEGACY) == 0 && op.seg < SEG_BASES + crate::core::FS as u8
}

/// Whether `size` bytes at an offset lie within a segment's limit.
pub(crate) fn within_limit(seg: &Segment, offset: u64, size: u64) -> bool {
    let last = offset.wrapping_add(size - 1);
    let limit = u64::from(seg.limit);
    let expand_down = seg.kind() & 12 == 4;
    if expand_down { offset > limit && last <= if seg.big() { 0xffff_ffff } else { 0xffff } } else { last <= limit }
}

impl Core {
    /// The linear address outside 64-bit mode, where segments have limits and types.
    #[cold]
    pub(crate) fn legacy_linear(&mut self, slot: u8, offset: u64, size: u64, write: bool) -> R<u64> {
        let index = usize::from(slot - SEG_BASES) % 6;
        let seg = self.seg[index];
        let code = seg.kind() & 8 != 0;
        let accessible = seg.present()
            && seg.is_code_or_data()
            && if write { !code && seg.kind() & 2 != 0 } else { !code || seg.kind() & 2 != 0 || index == CS };
        if !accessible || !within_limit(&seg, offset, size) {
            let vector = if index == SS { crate::exception::SS } else { crate::exception::GP };
            return Err(self.fault_code(vector, 0));
        }
        Ok(offset.wrapping_add(seg.base) & 0xffff_ffff)
    }

    /// The linear address of any memory operand, whatever the limit and type of its segment.
    pub(crate) fn linear_unchecked(&self, op: &Op) -> u64 {
        offset(self, op).wrapping_add(self.r[op.seg as usize])
    }

    /// The linear address of any memory operand of `size` bytes.
    pub(crate) fn linear(&mut self, op: &Op, size: u64, write: bool) -> R<u64> {
        Full::linear(self, op, size, write)
    }
}
