//! Shuffles, byte shifts and word inserts, whose immediate is data here.

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::int::Int;
use crate::op::{Form, Op, R, Selected, seq};
use crate::sse_ops::uses_mmx;

#[inline(always)]
fn dword(value: u128, index: u64) -> u128 {
    value >> ((index & 3) * 32) & 0xffff_ffff
}

#[inline(always)]
fn word(value: u128, index: u64) -> u128 {
    value >> ((index & 7) * 16) & 0xffff
}

fn pshufd(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = core.xmm_source(op)?;
    let i = op.imm;
    core.set_xmm(op.dst, dword(s, i) | dword(s, i >> 2) << 32 | dword(s, i >> 4) << 64 | dword(s, i >> 6) << 96);
    Ok(())
}

/// The four words from `base` on, shuffled.
#[inline(always)]
fn shuffle_words(s: u128, base: u64, i: u64) -> u128 {
    let pick = |shift: u64| word(s, base + (i >> shift & 3));
    pick(0) | pick(2) << 16 | pick(4) << 32 | pick(6) << 48
}

fn pshuflw(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = core.xmm_source(op)?;
    core.set_xmm(op.dst, s >> 64 << 64 | shuffle_words(s, 0, op.imm));
    Ok(())
}

fn pshufhw(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = core.xmm_source(op)?;
    core.set_xmm(op.dst, u128::from(s as u64) | shuffle_words(s, 4, op.imm) << 64);
    Ok(())
}

fn shufps(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = core.xmm_source(op)?;
    let (d, i) = (core.xmm(op.dst), op.imm);
    core.set_xmm(op.dst, dword(d, i) | dword(d, i >> 2) << 32 | dword(s, i >> 4) << 64 | dword(s, i >> 6) << 96);
    Ok(())
}

fn shufpd(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let s = core.xmm_source(op)?;
    let d = core.xmm(op.dst);
    let low = u128::from((d >> ((op.imm & 1) * 64)) as u64);
    let high = u128::from((s >> ((op.imm >> 1 & 1) * 64)) as u64);
    core.set_xmm(op.dst, low | high << 64);
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
    let value = word(core.xmm(op.src), op.imm) as u64;
    u32::set(core, op.dst, value);
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    if uses_mmx(ins) {
        return None;
    }
    match op.mnemonic {
        M::Pshufd => seq!(pshufd),
        M::Pshuflw => seq!(pshuflw),
        M::Pshufhw => seq!(pshufhw),
        M::Shufps => seq!(shufps),
        M::Shufpd => seq!(shufpd),
        M::Pslldq => seq!(byte_shift::<true>),
        M::Psrldq => seq!(byte_shift::<false>),
        M::Pinsrw => seq!(pinsrw),
        // With a memory destination it is SSE4.1.
        M::Pextrw if op.form == Form::RR => seq!(pextrw),
        _ => None,
    }
}
