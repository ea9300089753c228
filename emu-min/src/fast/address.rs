//! The addresses that fast handlers compute.

use crate::core::{Core, FS};
use crate::ea;
use crate::op::{ADDR16, ADDR32, LEGACY, Op, SEG_BASES};

/// A way to compute the linear address of a memory operand.
pub(super) trait Place: 'static {
    fn at(core: &Core, op: &Op) -> u64;
}

/// Base and displacement.
pub(super) struct Based;

/// Base, scaled index and displacement.
pub(super) struct Indexed;

impl Place for Based {
    #[inline(always)]
    fn at(core: &Core, op: &Op) -> u64 {
        core.r[op.base as usize].wrapping_add(op.disp)
    }
}

impl Place for Indexed {
    #[inline(always)]
    fn at(core: &Core, op: &Op) -> u64 {
        core.r[op.base as usize].wrapping_add(core.r[op.index as usize] << (op.scale & 3)).wrapping_add(op.disp)
    }
}

/// How a fast handler computes the address of an operation's memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Based,
    Indexed,
}

/// The kind of an operand, if a fast handler knows it.
pub(super) fn kind(op: &Op) -> Option<Kind> {
    if ea::is_simple(op) {
        return Some(Kind::Based);
    }
    let flat = op.flags & (ADDR32 | ADDR16 | LEGACY) == 0 && op.seg < SEG_BASES + FS as u8;
    flat.then_some(Kind::Indexed)
}

/// A handler for each kind of address: `$p` stands for the type in the body.
macro_rules! by_place {
    ($op:expr, $p:ident => $body:ty) => {
        match $crate::fast::address::kind($op)? {
            $crate::fast::address::Kind::Based => {
                type $p = $crate::fast::address::Based;
                $crate::fast::body!($body)
            }
            $crate::fast::address::Kind::Indexed => {
                type $p = $crate::fast::address::Indexed;
                $crate::fast::body!($body)
            }
        }
    };
}
pub(super) use by_place;

impl Core {
    /// Loads, if the TLB has the page.
    #[inline(always)]
    pub(super) fn quick_load<T: crate::int::Int>(&self, linear: u64) -> Option<u64> {
        // SAFETY: a read entry maps its whole page to RAM and the lookup covers all `SIZE` bytes of the access.
        self.tlb.read(linear, T::SIZE, self.user).map(|ptr| unsafe { T::read(ptr) })
    }

    /// Stores, if the TLB has the page.
    #[inline(always)]
    pub(super) fn quick_store<T: crate::int::Int>(&mut self, linear: u64, value: u64) -> bool {
        let Some(ptr) = self.tlb.write(linear, T::SIZE, self.user) else { return false };
        // SAFETY: a write entry maps its whole page to RAM and the lookup covers all `SIZE` bytes.
        unsafe { T::write(ptr, value) };
        true
    }
}
