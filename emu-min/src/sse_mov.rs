//! SSE moves, including those to and from general registers, and MXCSR itself.

use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, RDI};
use crate::ea::{self, Address, Full, Simple};
use crate::fpu::MXCSR_MASK;
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, seq, store};
use crate::sse_ops::uses_mmx;

const LOW: u128 = u64::MAX as u128;

fn move_rr(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.src);
    core.set_xmm(op.dst, value);
    Ok(())
}

#[inline(always)]
fn check_aligned<const ALIGNED: bool>(core: &mut Core, op: &Op) -> R {
    if ALIGNED && core.linear_unchecked(op) & 15 != 0 { Err(core.gp()) } else { Ok(()) }
}

#[inline(always)]
fn load16<const ALIGNED: bool, A: Address>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    check_aligned::<ALIGNED>(core, op)?;
    let address = A::linear(core, op, 16, false)?;
    let value = core.load128(address)?;
    core.set_xmm(op.dst, value);
    Ok(())
}

#[inline(always)]
fn store16<const ALIGNED: bool, A: Address>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    check_aligned::<ALIGNED>(core, op)?;
    let address = A::linear(core, op, 16, true)?;
    let value = core.xmm(op.src);
    core.store128(address, value)
}

fn full<const ALIGNED: bool>(op: &Op) -> Selected {
    match (op.form, ea::is_simple(op)) {
        (Form::RR, _) => seq!(move_rr),
        (Form::RM, true) => seq!(load16::<ALIGNED, Simple>),
        (Form::RM, false) => seq!(load16::<ALIGNED, Full>),
        (_, true) => store!(store16::<ALIGNED, Simple>),
        _ => store!(store16::<ALIGNED, Full>),
    }
}

/// MOVSS, MOVSD between registers: the low element only.
#[inline(always)]
fn scalar_rr<T: Int>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let mask = u128::from(T::MASK);
    let value = core.xmm(op.dst) & !mask | core.xmm(op.src) & mask;
    core.set_xmm(op.dst, value);
    Ok(())
}

/// MOVSS, MOVSD, MOVD, MOVQ from memory: the rest becomes zero.
#[inline(always)]
fn scalar_load<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let address = A::linear(core, op, T::SIZE, false)?;
    let value = core.load::<T>(address)?;
    core.set_xmm(op.dst, u128::from(value));
    Ok(())
}

#[inline(always)]
fn scalar_store<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let address = A::linear(core, op, T::SIZE, true)?;
    let value = core.xmm(op.src) as u64;
    core.store::<T>(address, value)
}

fn scalar_memory<T: Int>(op: &Op) -> Selected {
    match (op.form, ea::is_simple(op)) {
        (Form::RM, true) => seq!(scalar_load::<T, Simple>),
        (Form::RM, false) => seq!(scalar_load::<T, Full>),
        (_, true) => store!(scalar_store::<T, Simple>),
        _ => store!(scalar_store::<T, Full>),
    }
}

fn scalar<T: Int>(op: &Op) -> Selected {
    if op.form == Form::RR { seq!(scalar_rr::<T>) } else { scalar_memory::<T>(op) }
}

/// MOVQ between XMM registers.
fn low_quad(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.src) & LOW;
    core.set_xmm(op.dst, value);
    Ok(())
}

fn from_gpr<T: Int>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = T::get(core, op.src);
    core.set_xmm(op.dst, u128::from(value));
    Ok(())
}

fn to_gpr<T: Int>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.src) as u64;
    T::set(core, op.dst, value);
    Ok(())
}

/// MOVD, MOVQ: `to` or from a general register or memory of size `T`.
fn general<T: Int>(ins: &Instruction, op: &Op) -> Selected {
    match op.form {
        Form::RR if ins.op1_register().is_gpr() => seq!(from_gpr::<T>),
        Form::RR if ins.op0_register().is_gpr() => seq!(to_gpr::<T>),
        Form::RR => seq!(low_quad),
        _ => scalar_memory::<T>(op),
    }
}

/// MOVLPS, MOVLPD (`HIGH` false), MOVHPS, MOVHPD from memory.
fn half_load<const HIGH: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let address = core.linear(op, 8, false)?;
    let value = u128::from(core.load::<u64>(address)?);
    let old = core.xmm(op.dst);
    core.set_xmm(op.dst, if HIGH { old & LOW | value << 64 } else { old & !LOW | value });
    Ok(())
}

fn half_store<const HIGH: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let address = core.linear(op, 8, true)?;
    let value = core.xmm(op.src);
    core.store::<u64>(address, if HIGH { (value >> 64) as u64 } else { value as u64 })
}

fn half<const HIGH: bool>(op: &Op) -> Selected {
    match op.form {
        Form::RM => seq!(half_load::<HIGH>),
        Form::MR => store!(half_store::<HIGH>),
        _ => None,
    }
}

fn movhlps(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.dst) & !LOW | core.xmm(op.src) >> 64;
    core.set_xmm(op.dst, value);
    Ok(())
}

fn movlhps(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.dst) & LOW | core.xmm(op.src) << 64;
    core.set_xmm(op.dst, value);
    Ok(())
}

/// PMOVMSKB, MOVMSKPS, MOVMSKPD: the top bit of each element of `BITS`.
fn sign_mask<const BITS: u32>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    let value = core.xmm(op.src);
    let mask = (0..128 / BITS).fold(0, |mask, i| mask | ((value >> (i * BITS + BITS - 1)) as u64 & 1) << i);
    u32::set(core, op.dst, mask);
    Ok(())
}

fn movnti<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, true)?;
    let value = T::get(core, op.src);
    core.store::<T>(address, value)
}

/// MASKMOVDQU: the bytes whose mask is negative, to DS:(E/R)DI.
fn maskmovdqu(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    store_bytes(core, op)
}

/// MASKMOVDQU once SSE, or AVX, is known to be on.
pub(crate) fn store_bytes(core: &mut Core, op: &Op) -> R {
    let mut at = *op;
    at.base = RDI as u8;
    at.index = crate::op::ZERO;
    at.disp = 0;
    let address = core.linear(&at, 16, true)?;
    let (value, mask) = (core.xmm(op.src).to_le_bytes(), core.xmm(op.aux).to_le_bytes());
    let chosen = || (0_u64..).zip(value.into_iter().zip(mask)).filter(|(_, (_, mask))| mask & 0x80 != 0);
    for (i, _) in chosen() {
        core.check_write(address.wrapping_add(i), 1)?;
    }
    for (i, (byte, _)) in chosen() {
        core.store::<u8>(address.wrapping_add(i), u64::from(byte))?;
    }
    Ok(())
}

fn ldmxcsr(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    load_mxcsr(core, op)
}

/// LDMXCSR once SSE, or AVX, is known to be on.
pub(crate) fn load_mxcsr(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 4, false)?;
    let value = core.load::<u32>(address)? as u32;
    if value & !MXCSR_MASK != 0 {
        return Err(core.gp());
    }
    core.sse.set_mxcsr(value);
    Ok(())
}

fn stmxcsr(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    store_mxcsr(core, op)
}

/// STMXCSR once SSE, or AVX, is known to be on.
pub(crate) fn store_mxcsr(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 4, true)?;
    let value = core.sse.mxcsr();
    core.store::<u32>(address, u64::from(value))
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    if uses_mmx(ins) || ins.is_string_instruction() {
        return None;
    }
    match op.mnemonic {
        M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq | M::Movntdqa => full::<true>(op),
        M::Movups | M::Movupd | M::Movdqu | M::Lddqu => full::<false>(op),
        M::Movss => scalar::<u32>(op),
        M::Movsd => scalar::<u64>(op),
        M::Movd => general::<u32>(ins, op),
        M::Movq => general::<u64>(ins, op),
        M::Movlps | M::Movlpd => half::<false>(op),
        M::Movhps | M::Movhpd => half::<true>(op),
        M::Movhlps => seq!(movhlps),
        M::Movlhps => seq!(movlhps),
        M::Pmovmskb => seq!(sign_mask::<8>),
        M::Movmskps => seq!(sign_mask::<32>),
        M::Movmskpd => seq!(sign_mask::<64>),
        M::Movnti => by_size!(op.size, T => store!(movnti::<T>)),
        M::Maskmovdqu => store!(maskmovdqu),
        M::Ldmxcsr => seq!(ldmxcsr),
        M::Stmxcsr => store!(stmxcsr),
        _ => None,
    }
}
