//! SSE moves and arithmetic while SSE is on and the MXCSR's controls are the host's.
//!
//! A register is always written in one piece of 16 bytes: what reads it next, whole or in part, then gets it from the
//! host's store buffer, where two halves would have to reach the cache first.

use core::arch::asm;
use core::arch::x86_64::__m128i;
use std::marker::PhantomData;

use iced_x86::Mnemonic as M;

use super::address::{Place, by_place};
use super::{Body, shuffle};
use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Handler, OTHER, Op};
use crate::sse::{bits, join, vector};

pub(super) struct LoadScalar<T, P>(PhantomData<(T, P)>);
struct StoreScalar<T, P>(PhantomData<(T, P)>);
struct LoadAll<const ALIGNED: bool, P>(PhantomData<P>);
struct StoreAll<const ALIGNED: bool, P>(PhantomData<P>);
struct MoveLowQuad;
struct MoveAll;

impl<T: Int, P: Place> Body for LoadScalar<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let Some(value) = core.quick_load::<T>(P::at(core, op)).filter(|_| core.sse.quick) else { return false };
        core.set_xmm(op.dst, join(value, 0));
        true
    }
}

impl<T: Int, P: Place> Body for StoreScalar<T, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let value = core.xmm(op.src) as u64;
        core.sse.quick && core.quick_store::<T>(P::at(core, op), value)
    }
}

impl<const ALIGNED: bool, P: Place> Body for LoadAll<ALIGNED, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let Some(ptr) = Memory::<P, ALIGNED>::at::<16>(core, op) else { return false };
        // SAFETY: `at` leads to 16 readable bytes.
        let value = unsafe { ptr.cast::<__m128i>().read_unaligned() };
        core.set_xmm(op.dst, bits(value));
        true
    }
}

impl<const ALIGNED: bool, P: Place> Body for StoreAll<ALIGNED, P> {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        let linear = P::at(core, op);
        if !core.sse.quick || ALIGNED && linear & 15 != 0 {
            return false;
        }
        let Some(ptr) = core.tlb.write(linear, 16, core.user) else { return false };
        let value = core.xmm(op.src);
        // SAFETY: a write entry maps its whole page to RAM and the lookup covers all 16 bytes.
        unsafe { ptr.cast::<u128>().write_unaligned(value) };
        true
    }
}

/// MOVSD between registers.
impl Body for MoveLowQuad {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        if !core.sse.quick {
            return false;
        }
        let value = join(core.xmm(op.src) as u64, (core.xmm(op.dst) >> 64) as u64);
        core.set_xmm(op.dst, value);
        true
    }
}

/// Between registers, all of them.
impl Body for MoveAll {
    #[inline(always)]
    fn run(core: &mut Core, op: &Op) -> bool {
        if !core.sse.quick {
            return false;
        }
        let from = &raw const core.sse.xmm[(op.src & 15) as usize];
        // SAFETY: the register is 16 bytes, aligned. A copy of a `u128` would go through two general registers.
        let value = unsafe { core::arch::x86_64::_mm_load_si128(from.cast()) };
        core.set_xmm(op.dst, bits(value));
        true
    }
}

/// Where an instruction finds its second operand.
trait Source: 'static {
    /// Host address of `SIZE` readable bytes.
    fn at<const SIZE: u64>(core: &Core, op: &Op) -> Option<*const u8>;
}

/// An XMM register.
struct Register;

/// Memory; sixteen bytes must be aligned if `ALIGNED`.
struct Memory<P, const ALIGNED: bool>(PhantomData<P>);

impl Source for Register {
    #[inline(always)]
    fn at<const SIZE: u64>(core: &Core, op: &Op) -> Option<*const u8> {
        core.sse.quick.then(|| (&raw const core.sse.xmm[(op.src & 15) as usize]).cast())
    }
}

impl<P: Place, const ALIGNED: bool> Source for Memory<P, ALIGNED> {
    #[inline(always)]
    fn at<const SIZE: u64>(core: &Core, op: &Op) -> Option<*const u8> {
        let linear = P::at(core, op);
        if !core.sse.quick || SIZE == 16 && ALIGNED && linear & 15 != 0 {
            return None;
        }
        core.tlb.read(linear, SIZE, core.user).map(<*mut u8>::cast_const)
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
        Form::RR => super::body!(MoveAll),
        Form::RM => by_place!(op, P => LoadAll<ALIGNED, P>),
        Form::MR => by_place!(op, P => StoreAll<ALIGNED, P>),
        _ => None,
    }
}

/// Instructions `xmm op= operand`: name on the host and size of an operand in memory.
macro_rules! operations {
    ($op:expr, $($mnemonic:ident $size:literal $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => {
                struct Operation<S>(PhantomData<S>);
                impl<S: Source> Body for Operation<S> {
                    #[inline(always)]
                    fn run(core: &mut Core, op: &Op) -> bool {
                        let Some(source) = S::at::<$size>(core, op) else { return false };
                        let mut value: __m128i = vector(core.xmm(op.dst));
                        if $size == 16 {
                            // SAFETY: `at` leads to 16 readable bytes, which need not be aligned on the host.
                            let source = unsafe { source.cast::<__m128i>().read_unaligned() };
                            // SAFETY: an SSE2 instruction on registers. It may set MXCSR's flags, which `preserves_flags`
                            // would deny.
                            unsafe {
                                asm!(concat!($name, " {a}, {b}"), a = inout(xmm_reg) value, b = in(xmm_reg) source,
                                    options(nomem, nostack));
                            }
                        } else {
                            // SAFETY: an SSE2 instruction that reads `$size` bytes, to which `at` leads, whatever their
                            // alignment; flags as above.
                            unsafe {
                                asm!(concat!($name, " {a}, [{b}]"), a = inout(xmm_reg) value, b = in(reg) source,
                                    options(readonly, nostack));
                            }
                        }
                        core.set_xmm(op.dst, bits(value));
                        true
                    }
                }
                if $op.form == Form::RR {
                    super::body!(Operation<Register>)
                } else {
                    by_place!($op, P => Operation<Memory<P, true>>)
                }
            })*
            _ => None,
        }
    };
}

/// Those that round: their plain handlers are slow even between registers, as they cover all of MXCSR.
fn rounding(op: &Op) -> Option<Handler> {
    operations!(op,
        Addsd 8 "addsd", Subsd 8 "subsd", Mulsd 8 "mulsd", Divsd 8 "divsd", Sqrtsd 8 "sqrtsd",
        Minsd 8 "minsd", Maxsd 8 "maxsd", Cvtsd2ss 8 "cvtsd2ss", Cvtss2sd 4 "cvtss2sd",
        Addss 4 "addss", Subss 4 "subss", Mulss 4 "mulss", Divss 4 "divss", Sqrtss 4 "sqrtss",
        Addpd 16 "addpd", Subpd 16 "subpd", Mulpd 16 "mulpd", Divpd 16 "divpd",
        Addps 16 "addps", Subps 16 "subps", Mulps 16 "mulps", Divps 16 "divps",
    )
}

/// Those that do not.
fn exact(op: &Op) -> Option<Handler> {
    operations!(op,
        Paddb 16 "paddb", Paddw 16 "paddw", Paddd 16 "paddd", Paddq 16 "paddq",
        Psubb 16 "psubb", Psubd 16 "psubd", Psubq 16 "psubq", Pmuludq 16 "pmuludq",
        Pand 16 "pand", Pandn 16 "pandn", Por 16 "por", Pxor 16 "pxor", Xorps 16 "xorps", Andps 16 "andps",
        Pcmpeqb 16 "pcmpeqb", Pcmpeqd 16 "pcmpeqd",
    )
}

pub(super) fn select(op: &Op) -> Option<Handler> {
    if op.flags & OTHER != 0 {
        return None;
    }
    match (op.mnemonic, op.form) {
        (M::Movss, _) => scalar::<u32>(op),
        (M::Movsd, Form::RR) => super::body!(MoveLowQuad),
        (M::Movsd, _) => scalar::<u64>(op),
        (M::Movd, _) => scalar::<u32>(op),
        (M::Movq, _) => scalar::<u64>(op),
        (M::Movaps | M::Movapd | M::Movdqa, _) => all::<true>(op),
        (M::Movups | M::Movupd | M::Movdqu, _) => all::<false>(op),
        (_, Form::RR) => rounding(op).or_else(|| shuffle::select(op)),
        (_, Form::RM) => rounding(op).or_else(|| exact(op)),
        _ => None,
    }
}
