//! Conversions between general and XMM registers, and comparisons into EFLAGS.

use core::arch::asm;
use core::arch::x86_64::__m128i;

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::flags::{CF, Flags, PF, ZF};
use crate::int::Int;
use crate::op::{Form, Op, R, Selected, seq};
use crate::sse::{bits, vector};
use crate::sse_ops::uses_mmx;

/// Runs `$instruction` under the guest's MXCSR; the operands are as for `asm!`.
macro_rules! under_mxcsr {
    ($core:expr, [$($instruction:expr),+], $($operands:tt)*) => {{
        if $core.sse.plain {
            // SAFETY: SSE2 instructions on registers; they may set flags of MXCSR, so flags are not preserved.
            unsafe { asm!($($instruction),+, $($operands)*, options(nomem, nostack)) };
            Ok(())
        } else {
            let mut controls = $core.sse.controls();
            let mut saved = 0_u32;
            // SAFETY: as above; the host's MXCSR is saved and restored within the block.
            unsafe {
                asm!("stmxcsr [{saved}]", "ldmxcsr [{controls}]", $($instruction),+,
                    "stmxcsr [{controls}]", "ldmxcsr [{saved}]", $($operands)*,
                    saved = in(reg) &raw mut saved, controls = in(reg) &raw mut controls, options(nostack));
            }
            $core.sse_flags(controls)
        }
    }};
}

/// CVTSI2SS, CVTSI2SD from a general register or memory of size `T`.
macro_rules! from_integer {
    ($name:literal, $t:ty, $modifier:literal) => {
        seq!(|core: &mut Core, op: &Op| -> R {
            core.sse_ready()?;
            let source = match op.form {
                Form::RR => <$t>::get(core, op.src),
                _ => {
                    let address = core.linear(op, <$t>::SIZE, false)?;
                    core.load::<$t>(address)?
                }
            };
            let mut value: __m128i = vector(core.xmm(op.dst));
            let done: R = under_mxcsr!(core, [concat!($name, " {a}, {b", $modifier, "}")],
                a = inout(xmm_reg) value, b = in(reg) source);
            done?;
            core.set_xmm(op.dst, bits(value));
            Ok(())
        })
    };
}

/// CVT(T)SS2SI, CVT(T)SD2SI to a general register of size `T`, from a register or memory of size `S`.
macro_rules! to_integer {
    ($name:literal, $t:ty, $modifier:literal, $s:ty) => {
        seq!(|core: &mut Core, op: &Op| -> R {
            core.sse_ready()?;
            let source = scalar_source::<$s>(core, op)?;
            let value: u64;
            let done: R = under_mxcsr!(core, [concat!($name, " {a", $modifier, "}, {b}")],
                a = out(reg) value, b = in(xmm_reg) vector(source));
            done?;
            <$t>::set(core, op.dst, value);
            Ok(())
        })
    };
}

/// COMISS, COMISD, UCOMISS, UCOMISD.
macro_rules! compare {
    ($name:literal, $s:ty) => {
        seq!(|core: &mut Core, op: &Op| -> R {
            core.sse_ready()?;
            let b = scalar_source::<$s>(core, op)?;
            let a = core.xmm(op.dst);
            let (zf, pf, cf): (u8, u8, u8);
            let done: R = under_mxcsr!(core,
                [concat!($name, " {a}, {b}"), "setz {z}", "setp {p}", "setc {c}"],
                a = in(xmm_reg) vector(a), b = in(xmm_reg) vector(b),
                z = out(reg_byte) zf, p = out(reg_byte) pf, c = out(reg_byte) cf);
            done?;
            core.flags = Flags::from_rflags(u64::from(zf) * ZF | u64::from(pf) * PF | u64::from(cf) * CF);
            Ok(())
        })
    };
}

#[inline(always)]
fn scalar_source<S: Int>(core: &mut Core, op: &Op) -> R<u128> {
    if op.form == Form::RR {
        return Ok(core.xmm(op.src));
    }
    let address = core.linear(op, S::SIZE, false)?;
    core.load::<S>(address).map(u128::from)
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    use Mnemonic as M;
    if uses_mmx(ins) {
        return None;
    }
    match (op.mnemonic, op.size == 8) {
        (M::Cvtsi2ss, false) => from_integer!("cvtsi2ss", u32, ":e"),
        (M::Cvtsi2ss, true) => from_integer!("cvtsi2ss", u64, ":r"),
        (M::Cvtsi2sd, false) => from_integer!("cvtsi2sd", u32, ":e"),
        (M::Cvtsi2sd, true) => from_integer!("cvtsi2sd", u64, ":r"),
        (M::Cvtss2si, false) => to_integer!("cvtss2si", u32, ":e", u32),
        (M::Cvtss2si, true) => to_integer!("cvtss2si", u64, ":r", u32),
        (M::Cvtsd2si, false) => to_integer!("cvtsd2si", u32, ":e", u64),
        (M::Cvtsd2si, true) => to_integer!("cvtsd2si", u64, ":r", u64),
        (M::Cvttss2si, false) => to_integer!("cvttss2si", u32, ":e", u32),
        (M::Cvttss2si, true) => to_integer!("cvttss2si", u64, ":r", u32),
        (M::Cvttsd2si, false) => to_integer!("cvttsd2si", u32, ":e", u64),
        (M::Cvttsd2si, true) => to_integer!("cvttsd2si", u64, ":r", u64),
        (M::Comiss, _) => compare!("comiss", u32),
        (M::Comisd, _) => compare!("comisd", u64),
        (M::Ucomiss, _) => compare!("ucomiss", u32),
        (M::Ucomisd, _) => compare!("ucomisd", u64),
        _ => None,
    }
}
