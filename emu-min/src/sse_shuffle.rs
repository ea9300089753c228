//! Shuffles, byte shifts and word inserts, whose immediate is data here.

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Op, R, Selected, seq};
use crate::sse::join;
use crate::sse_ops::uses_mmx;

/// The four elements of a value.
#[inline(always)]
fn dwords(value: u128) -> [u64; 4] {
    let (low, high) = (value as u64, (value >> 64) as u64);
    [low & 0xffff_ffff, low >> 32, high & 0xffff_ffff, high >> 32]
}

/// The element that two bits of an immediate choose.
#[inline(always)]
fn pick(elements: &[u64; 4], immediate: u64, shift: u32) -> u64 {
    elements[(immediate >> shift & 3) as usize]
}

/// The second operand: a register, or aligned memory if `MEMORY`.
#[inline(always)]
fn source<const MEMORY: bool>(core: &mut Core, op: &Op) -> R<u128> {
    if MEMORY { core.xmm_memory(op) } else { Ok(core.xmm(op.src)) }
}

#[inline(always)]
fn pshufd<const MEMORY: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = dwords(source::<MEMORY>(core, op)?);
    let low = pick(&s, op.imm, 0) | pick(&s, op.imm, 2) << 32;
    let high = pick(&s, op.imm, 4) | pick(&s, op.imm, 6) << 32;
    core.set_xmm(op.dst, join(low, high));
    Ok(())
}

/// The four words of a quadword, shuffled.
#[inline(always)]
fn shuffle_words(quad: u64, immediate: u64) -> u64 {
    let word = |shift: u32| quad >> ((immediate >> shift & 3) * 16) & 0xffff;
    word(0) | word(2) << 16 | word(4) << 32 | word(6) << 48
}

#[inline(always)]
fn pshuflw<const MEMORY: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = source::<MEMORY>(core, op)?;
    core.set_xmm(op.dst, join(shuffle_words(s as u64, op.imm), (s >> 64) as u64));
    Ok(())
}

#[inline(always)]
fn pshufhw<const MEMORY: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = source::<MEMORY>(core, op)?;
    core.set_xmm(op.dst, join(s as u64, shuffle_words((s >> 64) as u64, op.imm)));
    Ok(())
}

#[inline(always)]
fn shufps<const MEMORY: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = dwords(source::<MEMORY>(core, op)?);
    let d = dwords(core.xmm(op.dst));
    let low = pick(&d, op.imm, 0) | pick(&d, op.imm, 2) << 32;
    let high = pick(&s, op.imm, 4) | pick(&s, op.imm, 6) << 32;
    core.set_xmm(op.dst, join(low, high));
    Ok(())
}

#[inline(always)]
fn shufpd<const MEMORY: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = source::<MEMORY>(core, op)?;
    let d = core.xmm(op.dst);
    let half = |value: u128, high: bool| if high { (value >> 64) as u64 } else { value as u64 };
    core.set_xmm(op.dst, join(half(d, op.imm & 1 != 0), half(s, op.imm & 2 != 0)));
    Ok(())
}

/// PSLLDQ (`LEFT`) and PSRLDQ.
fn byte_shift<const LEFT: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.dst);
    let bits = (op.imm & 0xff) as u32 * 8;
    let shifted = if LEFT { value.checked_shl(bits) } else { value.checked_shr(bits) };
    core.set_xmm(op.dst, shifted.unwrap_or(0));
    Ok(())
}

fn pinsrw(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = if op.form == Form::RR {
        u16::get(core, op.src)
    } else {
        let address = core.linear(op, 2, false)?;
        core.load::<u16>(address)?
    };
    let shift = (op.imm & 7) * 16;
    let rest = core.xmm(op.dst) & !(0xffff << shift);
    core.set_xmm(op.dst, rest | u128::from(value) << shift);
    Ok(())
}

fn pextrw(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = (core.xmm(op.src) >> ((op.imm & 7) * 16)) as u64 & 0xffff;
    u32::set(core, op.dst, value);
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    if uses_mmx(ins) {
        return None;
    }
    macro_rules! two {
        ($handler:ident) => {
            if op.form == Form::RR { seq!($handler::<false>) } else { seq!($handler::<true>) }
        };
    }
    match op.mnemonic {
        M::Pshufd => two!(pshufd),
        M::Pshuflw => two!(pshuflw),
        M::Pshufhw => two!(pshufhw),
        M::Shufps => two!(shufps),
        M::Shufpd => two!(shufpd),
        M::Pslldq => seq!(byte_shift::<true>),
        M::Psrldq => seq!(byte_shift::<false>),
        M::Pinsrw => seq!(pinsrw),
        // With a memory destination it is SSE4.1.
        M::Pextrw if op.form == Form::RR => seq!(pextrw),
        _ => None,
    }
}
