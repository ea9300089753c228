//! SSE moves to and from memory, and arithmetic with an operand in memory, while SSE is on and the MXCSR's controls are
//! the host's.

use core::arch::asm;
use core::arch::x86_64::__m128i;
use std::marker::PhantomData;

use iced_x86::Mnemonic as M;

use super::Body;
use super::address::{Place, by_place};
use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Handler, OTHER, Op};
use crate::sse::{bits, vector};

struct LoadScalar<T, P>(PhantomData<(T, P)>);
struct StoreScalar<T, P>(PhantomData<(T, P)>);
struct LoadAll<const ALIGNED: bool, P>(PhantomData<P>);
struct StoreAll<const ALIGNED: bool, P>(PhantomData<P>);

impl<T: Int, P: Place> Body for LoadScalar<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        if !core.sse.enabled {
            return false;
        }
        let Some(value) = core.quick_load::<T>(P::at(core, op)) else { return false };
        core.set_xmm(op.dst, u128::from(value));
        true
    }
}

impl<T: Int, P: Place> Body for StoreScalar<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = core.xmm(op.src) as u64;
        core.sse.enabled && core.quick_store::<T>(P::at(core, op), value)
    }
}

impl<const ALIGNED: bool, P: Place> Body for LoadAll<ALIGNED, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let linear = P::at(core, op);
        if !core.sse.enabled || ALIGNED && linear & 15 != 0 {
            return false;
        }
        let Some(ptr) = core.tlb.read(linear, 16, core.user) else { return false };
        // SAFETY: a read entry maps its whole page to RAM and the lookup covers all 16 bytes.
        let value = unsafe { ptr.cast::<u128>().read_unaligned() };
        core.set_xmm(op.dst, value);
        true
    }
}

impl<const ALIGNED: bool, P: Place> Body for StoreAll<ALIGNED, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let linear = P::at(core, op);
        if !core.sse.enabled || ALIGNED && linear & 15 != 0 {
            return false;
        }
        let Some(ptr) = core.tlb.write(linear, 16, core.user) else { return false };
        let value = core.xmm(op.src);
        // SAFETY: a write entry maps its whole page to RAM and the lookup covers all 16 bytes.
        unsafe { ptr.cast::<u128>().write_unaligned(value) };
        true
    }
}

fn scalar<T: Int>(op: &Op) -> Option<Handler> {
    match op.form {
        Form::RM => by_place!(op, P => LoadScalar<T, P>),
        Form::MR => by_place!(op, P => StoreScalar<T, P>),
        _ => None,
    }
}

fn all<const ALIGNED: bool>(op: &Op) -> Option<Handler> {
    match op.form {
        Form::RM => by_place!(op, P => LoadAll<ALIGNED, P>),
        Form::MR => by_place!(op, P => StoreAll<ALIGNED, P>),
        _ => None,
    }
}

/// An instruction `xmm op= memory` of `SIZE` bytes, which are aligned if they are 16.
macro_rules! with_memory {
    ($op:expr, $($mnemonic:ident $size:literal $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => {
                struct Operation<P>(PhantomData<P>);
                impl<P: Place> Body for Operation<P> {
                    #[inline(always)]
                    fn run(core: &mut Core, op: &Op) -> bool {
                        let linear = P::at(core, op);
                        if !core.sse.enabled || !core.sse.plain || ($size == 16 && linear & 15 != 0) {
                            return false;
                        }
                        let Some(ptr) = core.tlb.read(linear, $size, core.user) else { return false };
                        let mut value: __m128i = vector(core.xmm(op.dst));
                        // SAFETY: an SSE2 instruction that reads `$size` bytes, which a read entry maps to RAM and, if they
                        // are 16, aligned: pages are. It may set MXCSR's flags, which `preserves_flags` would deny.
                        unsafe {
                            asm!(concat!($name, " {a}, [{b}]"), a = inout(xmm_reg) value, b = in(reg) ptr,
                                options(readonly, nostack));
                        }
                        core.set_xmm(op.dst, bits(value));
                        true
                    }
                }
                by_place!($op, P => Operation<P>)
            })*
            _ => None,
        }
    };
}

fn arithmetic(op: &Op) -> Option<Handler> {
    with_memory!(op,
        Addsd 8 "addsd", Subsd 8 "subsd", Mulsd 8 "mulsd", Divsd 8 "divsd",
        Addss 4 "addss", Subss 4 "subss", Mulss 4 "mulss", Divss 4 "divss",
        Addpd 16 "addpd", Subpd 16 "subpd", Mulpd 16 "mulpd",
        Addps 16 "addps", Subps 16 "subps", Mulps 16 "mulps",
        Paddb 16 "paddb", Paddd 16 "paddd", Paddq 16 "paddq", Psubd 16 "psubd", Pmuludq 16 "pmuludq",
        Pand 16 "pand", Por 16 "por", Pxor 16 "pxor", Pcmpeqb 16 "pcmpeqb", Pcmpeqd 16 "pcmpeqd",
    )
}

pub(super) fn select(op: &Op) -> Option<Handler> {
    if op.flags & OTHER != 0 {
        return None;
    }
    match op.mnemonic {
        M::Movss => scalar::<u32>(op),
        M::Movsd if op.size == 8 => scalar::<u64>(op),
        M::Movd => scalar::<u32>(op),
        M::Movq => scalar::<u64>(op),
        M::Movaps | M::Movapd | M::Movdqa => all::<true>(op),
        M::Movups | M::Movupd | M::Movdqu => all::<false>(op),
        _ if op.form == Form::RM => arithmetic(op),
        _ => None,
    }
}
