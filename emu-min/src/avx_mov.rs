//! Plain moves of AVX, broadcasts from memory, and MXCSR in its VEX forms.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::Core;
use crate::ea::{self, Address, Full, Simple};
use crate::int::Int;
use crate::op::{Form, Op, R, Selected, seq, store};
use crate::sse_mov;

const LOW: u128 = u64::MAX as u128;

fn move_rr<const WIDE: bool>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let [low, high] = core.ymm(op.src);
    core.set_ymm(op.dst, [low, if WIDE { high } else { 0 }]);
    Ok(())
}

#[inline(always)]
fn check_aligned<const ALIGNED: bool>(core: &mut Core, op: &Op, size: u64) -> R {
    if ALIGNED && core.linear_unchecked(op) & (size - 1) != 0 { Err(core.gp()) } else { Ok(()) }
}

#[inline(always)]
fn load<const WIDE: bool, const ALIGNED: bool, A: Address>(core: &mut Core, op: &Op) -> R {
    let size = if WIDE { 32 } else { 16 };
    core.avx_ready()?;
    check_aligned::<ALIGNED>(core, op, size)?;
    let address = A::linear(core, op, size, false)?;
    let value = if WIDE { core.load256(address)? } else { [core.load128(address)?, 0] };
    core.set_ymm(op.dst, value);
    Ok(())
}

#[inline(always)]
fn save<const WIDE: bool, const ALIGNED: bool, A: Address>(core: &mut Core, op: &Op) -> R {
    let size = if WIDE { 32 } else { 16 };
    core.avx_ready()?;
    check_aligned::<ALIGNED>(core, op, size)?;
    let address = A::linear(core, op, size, true)?;
    let value = core.ymm(op.src);
    if WIDE { core.store256(address, value) } else { core.store128(address, value[0]) }
}

fn sized<const WIDE: bool, const ALIGNED: bool>(op: &Op) -> Selected {
    match (op.form, ea::is_simple(op)) {
        (Form::RR, _) => seq!(move_rr::<WIDE>),
        (Form::RM, true) => seq!(load::<WIDE, ALIGNED, Simple>),
        (Form::RM, false) => seq!(load::<WIDE, ALIGNED, Full>),
        (_, true) => store!(save::<WIDE, ALIGNED, Simple>),
        _ => store!(save::<WIDE, ALIGNED, Full>),
    }
}

fn full<const ALIGNED: bool>(ins: &Instruction, op: &Op) -> Selected {
    if (0..2).any(|i| ins.op_register(i).is_ymm()) { sized::<true, ALIGNED>(op) } else { sized::<false, ALIGNED>(op) }
}

/// VMOVSS, VMOVSD, VMOVD, VMOVQ from memory: the rest becomes zero.
#[inline(always)]
fn scalar_load<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = A::linear(core, op, T::SIZE, false)?;
    let value = core.load::<T>(address)?;
    core.set_ymm(op.dst, [u128::from(value), 0]);
    Ok(())
}

#[inline(always)]
fn scalar_store<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = A::linear(core, op, T::SIZE, true)?;
    let value = core.xmm(op.src) as u64;
    core.store::<T>(address, value)
}

/// The forms with a memory operand; the others are left to the host's own instruction.
fn scalar<T: Int>(op: &Op) -> Selected {
    match (op.form, ea::is_simple(op)) {
        (Form::RM, true) => seq!(scalar_load::<T, Simple>),
        (Form::RM, false) => seq!(scalar_load::<T, Full>),
        (Form::MR, true) => store!(scalar_store::<T, Simple>),
        (Form::MR, false) => store!(scalar_store::<T, Full>),
        _ => None,
    }
}

/// VMOVLPS, VMOVLPD (`HIGH` false), VMOVHPS, VMOVHPD from memory; the other half is the second operand's.
fn half_load<const HIGH: bool>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = core.linear(op, 8, false)?;
    let value = u128::from(core.load::<u64>(address)?);
    let other = core.xmm(op.src);
    core.set_ymm(op.dst, [if HIGH { other & LOW | value << 64 } else { other & !LOW | value }, 0]);
    Ok(())
}

fn half_store<const HIGH: bool>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = core.linear(op, 8, true)?;
    let value = core.xmm(op.src);
    core.store::<u64>(address, if HIGH { (value >> 64) as u64 } else { value as u64 })
}

fn half<const HIGH: bool>(op: &Op) -> Selected {
    if op.form == Form::MR { store!(half_store::<HIGH>) } else { seq!(half_load::<HIGH>) }
}

/// VBROADCASTSS, VBROADCASTSD from memory.
fn broadcast<const WIDE: bool, T: Int>(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = core.linear(op, T::SIZE, false)?;
    let element = u128::from(core.load::<T>(address)?);
    let value = (0..128 / T::BITS).fold(0, |value, i| value | element << (i * T::BITS));
    core.set_ymm(op.dst, [value, if WIDE { value } else { 0 }]);
    Ok(())
}

/// VBROADCASTF128, VBROADCASTI128.
fn broadcast128(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    let address = core.linear(op, 16, false)?;
    let value = core.load128(address)?;
    core.set_ymm(op.dst, [value; 2]);
    Ok(())
}

fn vldmxcsr(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    sse_mov::load_mxcsr(core, op)
}

fn vstmxcsr(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    sse_mov::store_mxcsr(core, op)
}

fn vmaskmovdqu(core: &mut Core, op: &Op) -> R {
    core.avx_ready()?;
    sse_mov::store_bytes(core, op)
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    let from_memory = ins.op1_kind() == OpKind::Memory;
    match op.mnemonic {
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa => {
            full::<true>(ins, op)
        }
        M::Vmovups | M::Vmovupd | M::Vmovdqu | M::Vlddqu => full::<false>(ins, op),
        M::Vmovss | M::Vmovd => scalar::<u32>(op),
        M::Vmovsd | M::Vmovq => scalar::<u64>(op),
        M::Vmovlps | M::Vmovlpd => half::<false>(op),
        M::Vmovhps | M::Vmovhpd => half::<true>(op),
        M::Vbroadcastss if from_memory && ins.op0_register().is_ymm() => seq!(broadcast::<true, u32>),
        M::Vbroadcastss if from_memory => seq!(broadcast::<false, u32>),
        M::Vbroadcastsd if from_memory => seq!(broadcast::<true, u64>),
        M::Vbroadcastf128 | M::Vbroadcasti128 => seq!(broadcast128),
        M::Vldmxcsr => seq!(vldmxcsr),
        M::Vstmxcsr => store!(vstmxcsr),
        M::Vmaskmovdqu => store!(vmaskmovdqu),
        _ => None,
    }
}
