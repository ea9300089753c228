//! MMX, with the forms that SSE and SSE2 added to it. The registers are the significands of the x87 registers.
//!
//! An operation is that of SSE2 on the low half of XMM values; where the two halves of a 16-byte operation are
//! independent lanes of the operands one after the other (packing), it gets both operands in one value.

use iced_x86::{Instruction, Mnemonic as M};

use crate::core::{Core, RDI};
use crate::int::Int;
use crate::mmx_ssse3;
use crate::op::{Form, Op, R, Selected, ZERO, seq, store};
use crate::sse::{exact, rounded};

/// The second operand: a register, an immediate, or `op.size` bytes of memory.
#[inline(always)]
pub(crate) fn source(core: &mut Core, op: &Op) -> R<u64> {
    match op.form {
        Form::RM => {
            let address = core.linear(op, u64::from(op.size), false)?;
            if op.size == 4 { core.load::<u32>(address) } else { core.load::<u64>(address) }
        }
        Form::RI => Ok(op.imm & 0xff),
        _ => Ok(core.fpu.mm(op.src)),
    }
}

/// `mm = f(mm, mm/memory/immediate)`.
#[inline(always)]
pub(crate) fn binary(core: &mut Core, op: &Op, f: impl Fn(u64, u64) -> u64) -> R {
    core.mmx_waiting()?;
    let b = source(core, op)?;
    let value = f(core.fpu.mm(op.dst), b);
    write(core, op.dst, value);
    Ok(())
}

#[inline(always)]
pub(crate) fn write(core: &mut Core, register: u8, value: u64) {
    core.fpu.enter_mmx();
    core.fpu.set_mm(register, value);
}

/// Two operands in one XMM value, `a` in the low half.
#[inline(always)]
fn join(a: u64, b: u64) -> u128 {
    u128::from(b) << 64 | u128::from(a)
}

/// Operations whose low half depends on the low halves of the operands alone.
macro_rules! low {
    ($op:expr, $($mnemonic:ident $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => seq!(|core: &mut Core, op: &Op| -> R {
                binary(core, op, |a, b| exact!($name, u128::from(a), u128::from(b)) as u64)
            }),)*
            _ => None,
        }
    };
}

/// Packing: the low half of the result comes from the first operand of the XMM form alone.
macro_rules! packed {
    ($op:expr, $($mnemonic:ident $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => seq!(|core: &mut Core, op: &Op| -> R {
                binary(core, op, |a, b| exact!($name, join(a, b), 0) as u64)
            }),)*
            _ => None,
        }
    };
}

/// Unpacking of high halves: the high half of the XMM form that unpacks low halves.
macro_rules! unpacked {
    ($op:expr, $($mnemonic:ident $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(M::$mnemonic => seq!(|core: &mut Core, op: &Op| -> R {
                binary(core, op, |a, b| (exact!($name, u128::from(a), u128::from(b)) >> 64) as u64)
            }),)*
            _ => None,
        }
    };
}

fn integer(op: &Op) -> Selected {
    low!(op,
        Paddb "paddb", Paddw "paddw", Paddd "paddd", Paddq "paddq",
        Psubb "psubb", Psubw "psubw", Psubd "psubd", Psubq "psubq",
        Paddsb "paddsb", Paddsw "paddsw", Paddusb "paddusb", Paddusw "paddusw",
        Psubsb "psubsb", Psubsw "psubsw", Psubusb "psubusb", Psubusw "psubusw",
        Pmullw "pmullw", Pmulhw "pmulhw", Pmulhuw "pmulhuw", Pmuludq "pmuludq", Pmaddwd "pmaddwd",
        Pavgb "pavgb", Pavgw "pavgw", Psadbw "psadbw",
        Pminub "pminub", Pminsw "pminsw", Pmaxub "pmaxub", Pmaxsw "pmaxsw",
        Pcmpeqb "pcmpeqb", Pcmpeqw "pcmpeqw", Pcmpeqd "pcmpeqd",
        Pcmpgtb "pcmpgtb", Pcmpgtw "pcmpgtw", Pcmpgtd "pcmpgtd",
        Psllw "psllw", Pslld "pslld", Psllq "psllq",
        Psrlw "psrlw", Psrld "psrld", Psrlq "psrlq", Psraw "psraw", Psrad "psrad",
        Pand "pand", Pandn "pandn", Por "por", Pxor "pxor",
        Punpcklbw "punpcklbw", Punpcklwd "punpcklwd", Punpckldq "punpckldq",
    )
}

fn packing(op: &Op) -> Selected {
    packed!(op, Packsswb "packsswb", Packssdw "packssdw", Packuswb "packuswb")
        .or_else(|| unpacked!(op, Punpckhbw "punpcklbw", Punpckhwd "punpcklwd", Punpckhdq "punpckldq"))
}

/// MOVD and MOVQ from a general register or memory of size `T`.
fn from_general<T: Int>(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let value = if op.form == Form::RM {
        let address = core.linear(op, T::SIZE, false)?;
        core.load::<T>(address)?
    } else {
        T::get(core, op.src)
    };
    write(core, op.dst, value);
    Ok(())
}

/// MOVD and MOVQ to a general register or memory of size `T`.
fn to_general<T: Int>(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let value = core.fpu.mm(op.src);
    if op.form == Form::MR {
        let address = core.linear(op, T::SIZE, true)?;
        core.store::<T>(address, value)?;
    } else {
        T::set(core, op.dst, value);
    }
    core.fpu.enter_mmx();
    Ok(())
}

fn move_registers(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let value = core.fpu.mm(op.src);
    write(core, op.dst, value);
    Ok(())
}

fn movq2dq(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    core.mmx_waiting()?;
    let value = core.fpu.mm(op.src);
    core.fpu.enter_mmx();
    core.set_xmm(op.dst, u128::from(value));
    Ok(())
}

fn movdq2q(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    core.mmx_waiting()?;
    let value = core.xmm(op.src) as u64;
    write(core, op.dst, value);
    Ok(())
}

fn pshufw(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let s = source(core, op)?;
    let pick = |i: u32| (s >> ((op.imm >> (i * 2) & 3) * 16) & 0xffff) << (i * 16);
    write(core, op.dst, pick(0) | pick(1) | pick(2) | pick(3));
    Ok(())
}

fn pinsrw(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let value = if op.form == Form::RM {
        let address = core.linear(op, 2, false)?;
        core.load::<u16>(address)?
    } else {
        u16::get(core, op.src)
    };
    let shift = (op.imm & 3) * 16;
    let rest = core.fpu.mm(op.dst) & !(0xffff << shift);
    write(core, op.dst, rest | value << shift);
    Ok(())
}

fn pextrw(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let value = core.fpu.mm(op.src) >> ((op.imm & 3) * 16) & 0xffff;
    core.fpu.enter_mmx();
    u32::set(core, op.dst, value);
    Ok(())
}

fn pmovmskb(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let bytes = core.fpu.mm(op.src).to_le_bytes();
    let value = (0..8).fold(0, |mask, i| mask | u64::from(bytes[i] >> 7) << i);
    core.fpu.enter_mmx();
    u32::set(core, op.dst, value);
    Ok(())
}

/// MASKMOVQ: the bytes whose mask is negative, to DS:(E/R)DI.
fn maskmovq(core: &mut Core, op: &Op) -> R {
    core.mmx_waiting()?;
    let at = Op { base: RDI as u8, index: ZERO, disp: 0, ..*op };
    core.fpu.enter_mmx(); // even if the store faults
    let address = core.linear(&at, 8, true)?;
    let (value, mask) = (core.fpu.mm(op.src).to_le_bytes(), core.fpu.mm(op.aux).to_le_bytes());
    let chosen = || (0_u64..).zip(value.into_iter().zip(mask)).filter(|(_, (_, mask))| mask & 0x80 != 0);
    for (i, _) in chosen() {
        core.check_write(address.wrapping_add(i), 1)?;
    }
    for (i, (byte, _)) in chosen() {
        core.store::<u8>(address.wrapping_add(i), u64::from(byte))?;
    }
    Ok(())
}

fn emms(core: &mut Core, _: &Op) -> R {
    core.mmx_waiting()?;
    core.fpu.empty();
    Ok(())
}

/// CVTPI2PS, CVTPI2PD: two integers to `DOUBLE` or single precision. From memory they leave the x87 stack alone, which
/// Intel says of CVTPI2PD only.
fn from_integers<const DOUBLE: bool>(core: &mut Core, op: &Op) -> R {
    core.sse_ready()?;
    if op.form == Form::RR {
        core.mmx_waiting()?;
        core.fpu.enter_mmx(); // even if the conversion raises an exception
    }
    let b = u128::from(source(core, op)?);
    let a = core.xmm(op.dst);
    if DOUBLE {
        let value: R<u128> = rounded!(core, "cvtdq2pd", "", a, b);
        core.set_xmm(op.dst, value?);
    } else {
        let value: R<u128> = rounded!(core, "cvtdq2ps", "", a, b);
        core.set_xmm(op.dst, a >> 64 << 64 | u128::from(value? as u64));
    }
    Ok(())
}

/// CVT(T)PS2PI, CVT(T)PD2PI by the conversion `$name` to an XMM register. The zeros above a 64-bit source are exact.
macro_rules! to_integers {
    ($name:literal) => {
        seq!(|core: &mut Core, op: &Op| -> R {
            core.sse_ready()?;
            core.mmx_waiting()?;
            let mut b = core.xmm_source(op)?;
            if !$name.ends_with("pd2dq") {
                b = u128::from(b as u64);
            }
            // The transition to MMX comes before the conversion and its exceptions.
            core.fpu.enter_mmx();
            let value: R<u128> = rounded!(core, $name, "", b, b);
            write(core, op.dst, value? as u64);
            Ok(())
        })
    };
}

fn conversions(op: &Op) -> Selected {
    match op.mnemonic {
        M::Cvtpi2ps => seq!(from_integers::<false>),
        M::Cvtpi2pd => seq!(from_integers::<true>),
        M::Cvtps2pi => to_integers!("cvtps2dq"),
        M::Cvttps2pi => to_integers!("cvttps2dq"),
        M::Cvtpd2pi => to_integers!("cvtpd2dq"),
        M::Cvttpd2pi => to_integers!("cvttpd2dq"),
        _ => None,
    }
}

fn moves(ins: &Instruction, op: &Op) -> Selected {
    let first_is_mm = ins.op_register(0).is_mm();
    let general = |form: Form| match (form, first_is_mm, op.size) {
        (Form::RM | Form::RR, true, 4) => seq!(from_general::<u32>),
        (Form::RM | Form::RR, true, _) => seq!(from_general::<u64>),
        (_, _, 4) => store!(to_general::<u32>),
        _ => store!(to_general::<u64>),
    };
    match op.mnemonic {
        M::Movq if first_is_mm && ins.op_register(1).is_mm() => seq!(move_registers),
        M::Movd | M::Movq | M::Movntq => general(op.form),
        M::Movq2dq => seq!(movq2dq),
        M::Movdq2q => seq!(movdq2q),
        M::Pshufw => seq!(pshufw),
        M::Pinsrw => seq!(pinsrw),
        M::Pextrw => seq!(pextrw),
        M::Pmovmskb => seq!(pmovmskb),
        M::Maskmovq => store!(maskmovq),
        _ => None,
    }
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    if op.mnemonic == M::Emms {
        return seq!(emms);
    }
    if !crate::sse_ops::uses_mmx(ins) && !matches!(op.mnemonic, M::Cvtpi2ps | M::Cvtpi2pd) {
        return None;
    }
    integer(op)
        .or_else(|| packing(op))
        .or_else(|| moves(ins, op))
        .or_else(|| conversions(op))
        .or_else(|| mmx_ssse3::select(op))
}
