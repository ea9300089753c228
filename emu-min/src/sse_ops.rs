//! SSE and SSE2 operations of the shape `xmm op= xmm/memory`: arithmetic, logic, comparison, packing.

use iced_x86::{Instruction, Mnemonic};

use crate::core::Core;
use crate::op::{Form, Op, R, Selected, seq};
use crate::sse::{exact, rounded};

/// Handlers for an operation without floating-point exceptions.
macro_rules! exact_op {
    ($op:expr, $name:expr) => {
        match $op.form {
            Form::RR => seq!(|core: &mut Core, op: &Op| -> R {
                core.sse_ready()?;
                let (a, b) = (core.xmm(op.dst), core.xmm(op.src));
                core.set_xmm(op.dst, exact!($name, a, b));
                Ok(())
            }),
            Form::RM => seq!(|core: &mut Core, op: &Op| -> R {
                core.sse_ready()?;
                let b = core.xmm_memory(op)?;
                let a = core.xmm(op.dst);
                core.set_xmm(op.dst, exact!($name, a, b));
                Ok(())
            }),
            // Shifts by an immediate: the count as the register form takes it.
            _ => seq!(|core: &mut Core, op: &Op| -> R {
                core.sse_ready()?;
                let a = core.xmm(op.dst);
                core.set_xmm(op.dst, exact!($name, a, u128::from(op.imm & 0xff)));
                Ok(())
            }),
        }
    };
}

/// Handlers for an operation that rounds and may raise floating-point exceptions.
macro_rules! rounded_op {
    ($op:expr, $name:expr, $tail:expr) => {
        if $op.form == Form::RR {
            seq!(|core: &mut Core, op: &Op| -> R {
                core.sse_ready()?;
                let (a, b) = (core.xmm(op.dst), core.xmm(op.src));
                let r: R<u128> = rounded!(core, $name, $tail, a, b);
                core.set_xmm(op.dst, r?);
                Ok(())
            })
        } else {
            seq!(|core: &mut Core, op: &Op| -> R {
                core.sse_ready()?;
                let b = core.xmm_memory(op)?;
                let a = core.xmm(op.dst);
                let r: R<u128> = rounded!(core, $name, $tail, a, b);
                core.set_xmm(op.dst, r?);
                Ok(())
            })
        }
    };
}

macro_rules! exact_table {
    ($op:expr, $($mnemonic:ident $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(Mnemonic::$mnemonic => exact_op!($op, $name),)*
            _ => None,
        }
    };
}

macro_rules! rounded_table {
    ($op:expr, $($mnemonic:ident $name:literal),* $(,)?) => {
        match $op.mnemonic {
            $(Mnemonic::$mnemonic => rounded_op!($op, $name, ""),)*
            _ => None,
        }
    };
}

fn integer(op: &Op) -> Selected {
    exact_table!(op,
        Paddb "paddb", Paddw "paddw", Paddd "paddd", Paddq "paddq",
        Psubb "psubb", Psubw "psubw", Psubd "psubd", Psubq "psubq",
        Paddsb "paddsb", Paddsw "paddsw", Paddusb "paddusb", Paddusw "paddusw",
        Psubsb "psubsb", Psubsw "psubsw", Psubusb "psubusb", Psubusw "psubusw",
        Pmullw "pmullw", Pmulhw "pmulhw", Pmulhuw "pmulhuw", Pmuludq "pmuludq", Pmaddwd "pmaddwd",
        Pavgb "pavgb", Pavgw "pavgw", Psadbw "psadbw",
        Pminub "pminub", Pminsw "pminsw", Pmaxub "pmaxub", Pmaxsw "pmaxsw",
        Pcmpeqb "pcmpeqb", Pcmpeqw "pcmpeqw", Pcmpeqd "pcmpeqd",
        Pcmpgtb "pcmpgtb", Pcmpgtw "pcmpgtw", Pcmpgtd "pcmpgtd",
        Packsswb "packsswb", Packssdw "packssdw", Packuswb "packuswb",
        Psllw "psllw", Pslld "pslld", Psllq "psllq",
        Psrlw "psrlw", Psrld "psrld", Psrlq "psrlq", Psraw "psraw", Psrad "psrad",
    )
}

fn logic_and_unpack(op: &Op) -> Selected {
    exact_table!(op,
        Pand "pand", Pandn "pandn", Por "por", Pxor "pxor",
        Andps "andps", Andpd "andpd", Andnps "andnps", Andnpd "andnpd",
        Orps "orps", Orpd "orpd", Xorps "xorps", Xorpd "xorpd",
        Punpcklbw "punpcklbw", Punpcklwd "punpcklwd", Punpckldq "punpckldq", Punpcklqdq "punpcklqdq",
        Punpckhbw "punpckhbw", Punpckhwd "punpckhwd", Punpckhdq "punpckhdq", Punpckhqdq "punpckhqdq",
        Unpcklps "unpcklps", Unpcklpd "unpcklpd", Unpckhps "unpckhps", Unpckhpd "unpckhpd",
        // The approximations raise no exceptions and ignore rounding control.
        Rcpps "rcpps", Rcpss "rcpss", Rsqrtps "rsqrtps", Rsqrtss "rsqrtss",
    )
}

fn arithmetic(op: &Op) -> Selected {
    rounded_table!(op,
        Addss "addss", Addsd "addsd", Addps "addps", Addpd "addpd",
        Subss "subss", Subsd "subsd", Subps "subps", Subpd "subpd",
        Mulss "mulss", Mulsd "mulsd", Mulps "mulps", Mulpd "mulpd",
        Divss "divss", Divsd "divsd", Divps "divps", Divpd "divpd",
        Minss "minss", Minsd "minsd", Minps "minps", Minpd "minpd",
        Maxss "maxss", Maxsd "maxsd", Maxps "maxps", Maxpd "maxpd",
        Sqrtss "sqrtss", Sqrtsd "sqrtsd", Sqrtps "sqrtps", Sqrtpd "sqrtpd",
        Cvtss2sd "cvtss2sd", Cvtsd2ss "cvtsd2ss", Cvtps2pd "cvtps2pd", Cvtpd2ps "cvtpd2ps",
        Cvtdq2ps "cvtdq2ps", Cvtdq2pd "cvtdq2pd", Cvtps2dq "cvtps2dq", Cvttps2dq "cvttps2dq",
        Cvtpd2dq "cvtpd2dq", Cvttpd2dq "cvttpd2dq",
    )
}

macro_rules! compare {
    ($op:expr, $name:literal) => {
        match $op.imm & 7 {
            0 => rounded_op!($op, $name, ", 0"),
            1 => rounded_op!($op, $name, ", 1"),
            2 => rounded_op!($op, $name, ", 2"),
            3 => rounded_op!($op, $name, ", 3"),
            4 => rounded_op!($op, $name, ", 4"),
            5 => rounded_op!($op, $name, ", 5"),
            6 => rounded_op!($op, $name, ", 6"),
            _ => rounded_op!($op, $name, ", 7"),
        }
    };
}

fn comparison(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Cmpss => compare!(op, "cmpss"),
        Mnemonic::Cmpsd => compare!(op, "cmpsd"),
        Mnemonic::Cmpps => compare!(op, "cmpps"),
        Mnemonic::Cmppd => compare!(op, "cmppd"),
        _ => None,
    }
}

/// Whether an MMX register is an operand: MMX is not implemented.
pub(crate) fn uses_mmx(ins: &Instruction) -> bool {
    (0..ins.op_count()).any(|i| ins.op_register(i).is_mm())
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    if uses_mmx(ins) || ins.is_string_instruction() {
        return None;
    }
    arithmetic(op).or_else(|| logic_and_unpack(op)).or_else(|| integer(op)).or_else(|| comparison(op))
}
