//! Conditions, near branches and loops.

use iced_x86::{Code, ConditionCode, Instruction, Mnemonic};

use crate::core::{Core, Mode, RCX, RSP};
use crate::flags::Flags;
use crate::int::{Int, by_size};
use crate::op::{ADDR16, ADDR32, Form, Op, OpRef, R, Selected, end};
use crate::paging::canonical;

/// A condition on the flags.
pub(crate) trait Condition: 'static {
    fn holds(flags: &Flags) -> bool;
}

macro_rules! conditions {
    ($($name:ident: $flags:ident => $holds:expr;)*) => {
        $(
            pub(crate) struct $name;
            impl Condition for $name {
                #[inline(always)]
                fn holds($flags: &Flags) -> bool {
                    $holds
                }
            }
        )*
    };
}

conditions! {
    Overflow: f => f.of();
    NoOverflow: f => !f.of();
    Below: f => f.cf();
    AboveEqual: f => !f.cf();
    Equal: f => f.zf();
    NotEqual: f => !f.zf();
    BelowEqual: f => f.cf() | f.zf();
    Above: f => !(f.cf() | f.zf());
    Sign: f => f.sf();
    NoSign: f => !f.sf();
    Parity: f => f.pf();
    NoParity: f => !f.pf();
    Less: f => f.less();
    GreaterEqual: f => !f.less();
    LessEqual: f => f.less() | f.zf();
    Greater: f => !(f.less() | f.zf());
}

/// Calls a function generic over [`Condition`] with the type that stands for `$code`.
macro_rules! by_condition {
    ($code:expr, $c:ident => $body:expr) => {{
        use iced_x86::ConditionCode as Code;
        use $crate::control as conditions;
        macro_rules! arm {
            ($name:ident) => {{
                type $c = conditions::$name;
                $body
            }};
        }
        match $code {
            Code::o => arm!(Overflow),
            Code::no => arm!(NoOverflow),
            Code::b => arm!(Below),
            Code::ae => arm!(AboveEqual),
            Code::e => arm!(Equal),
            Code::ne => arm!(NotEqual),
            Code::be => arm!(BelowEqual),
            Code::a => arm!(Above),
            Code::s => arm!(Sign),
            Code::ns => arm!(NoSign),
            Code::p => arm!(Parity),
            Code::np => arm!(NoParity),
            Code::l => arm!(Less),
            Code::ge => arm!(GreaterEqual),
            Code::le => arm!(LessEqual),
            Code::g => arm!(Greater),
            Code::None => None,
        }
    }};
}
pub(crate) use by_condition;

/// The condition of a conditional branch.
pub(crate) fn condition_of(mnemonic: Mnemonic) -> Option<ConditionCode> {
    use ConditionCode as C;
    use Mnemonic as M;
    Some(match mnemonic {
        M::Jo => C::o,
        M::Jno => C::no,
        M::Jb => C::b,
        M::Jae => C::ae,
        M::Je => C::e,
        M::Jne => C::ne,
        M::Jbe => C::be,
        M::Ja => C::a,
        M::Js => C::s,
        M::Jns => C::ns,
        M::Jp => C::p,
        M::Jnp => C::np,
        M::Jl => C::l,
        M::Jge => C::ge,
        M::Jle => C::le,
        M::Jg => C::g,
        _ => return None,
    })
}

#[inline(always)]
fn jcc<C: Condition>(core: &mut Core, op: OpRef<'_>) -> crate::op::Flow {
    let data = op.get();
    core.rip = if C::holds(&core.flags) { data.imm } else { data.next_rip() };
    op.retire(core, 1)
}

fn jump(core: &mut Core, op: &Op) -> R {
    core.rip = op.imm;
    Ok(())
}

/// Checks the target of an indirect branch and goes there.
#[inline(always)]
fn go(core: &mut Core, target: u64) -> R {
    if core.mode == Mode::Bits64 && !canonical(target) {
        return Err(core.gp());
    }
    core.rip = target;
    Ok(())
}

#[inline(always)]
fn target<T: Int>(core: &mut Core, op: &Op) -> R<u64> {
    match op.form {
        Form::R => Ok(T::get(core, op.dst)),
        _ => {
            let address = core.linear(op, T::SIZE, false)?;
            core.load::<T>(address)
        }
    }
}

fn jump_indirect<T: Int>(core: &mut Core, op: &Op) -> R {
    let target = target::<T>(core, op)?;
    go(core, target)
}

fn call<T: Int>(core: &mut Core, op: &Op) -> R {
    core.push::<T>(op.next_rip())?;
    core.rip = op.imm;
    Ok(())
}

fn call_indirect<T: Int>(core: &mut Core, op: &Op) -> R {
    let target = target::<T>(core, op)?;
    if core.mode == Mode::Bits64 && !canonical(target) {
        // The stack's fault comes first.
        if core.check_write(core.r[RSP].wrapping_sub(T::SIZE), T::SIZE).is_err() {
            return Err(core.in_stack_segment());
        }
        return Err(core.gp());
    }
    core.push::<T>(op.next_rip())?;
    core.rip = target;
    Ok(())
}

/// RET, with the bytes to release in the immediate.
fn ret<T: Int>(core: &mut Core, op: &Op) -> R {
    let target = core.peek_stack::<T>(0)?;
    go(core, target)?;
    let release = if op.form == Form::I { op.imm } else { 0 };
    core.add_sp(T::SIZE.wrapping_add(release));
    Ok(())
}

/// The counter of LOOP and JrCXZ, in the instruction's address size.
fn counter_mask(core: &Core, op: &Op) -> u64 {
    match op.flags & (ADDR32 | ADDR16) {
        ADDR32 => 0xffff_ffff,
        ADDR16 => 0xffff,
        _ if core.mode == Mode::Bits64 => u64::MAX,
        _ => 0xffff_ffff,
    }
}

fn loop_while(core: &mut Core, op: &Op, condition: bool) -> R {
    let mask = counter_mask(core, op);
    let count = core.r[RCX].wrapping_sub(1) & mask;
    core.r[RCX] = if mask == 0xffff { core.r[RCX] & !mask | count } else { count };
    if count != 0 && condition {
        core.rip = op.imm;
    }
    Ok(())
}

fn loop_(core: &mut Core, op: &Op) -> R {
    loop_while(core, op, true)
}

fn loope(core: &mut Core, op: &Op) -> R {
    let zf = core.flags.zf();
    loop_while(core, op, zf)
}

fn loopne(core: &mut Core, op: &Op) -> R {
    let zf = core.flags.zf();
    loop_while(core, op, !zf)
}

fn jrcxz(core: &mut Core, op: &Op) -> R {
    if core.r[RCX] & counter_mask(core, op) == 0 {
        core.rip = op.imm;
    }
    Ok(())
}

fn select_jcc(code: ConditionCode) -> Selected {
    by_condition!(code, C => {
        let handler: crate::op::Handler = |core, op| jcc::<C>(core, op);
        Some((handler, true))
    })
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    if ins.is_jcc_short_or_near() {
        return select_jcc(ins.condition_code());
    }
    if matches!(op.mnemonic, M::Loop | M::Loope | M::Loopne | M::Jcxz | M::Jecxz | M::Jrcxz) {
        // The counter's size is in the code, not in an operand.
        let name = format!("{:?}", ins.code());
        let address_size = name.rsplit('_').next().unwrap_or_default().to_owned();
        op.flags |= match (op.mnemonic, address_size.as_str()) {
            (M::Jcxz, _) | (_, "CX") => ADDR16,
            (M::Jecxz, _) | (_, "ECX") => ADDR32,
            _ => 0,
        };
    }
    match op.mnemonic {
        M::Jmp if ins.is_jmp_short_or_near() => end!(jump),
        M::Jmp if ins.is_jmp_near_indirect() => by_size!(op.size, T => end!(jump_indirect::<T>)),
        M::Call if ins.is_call_near() => by_size!(op.size, T => end!(call::<T>)),
        M::Call if ins.is_call_near_indirect() => by_size!(op.size, T => end!(call_indirect::<T>)),
        M::Ret => {
            op.size = match ins.code() {
                Code::Retnw | Code::Retnw_imm16 => 2,
                Code::Retnd | Code::Retnd_imm16 => 4,
                _ => 8,
            };
            by_size!(op.size, T => end!(ret::<T>))
        }
        M::Loop => end!(loop_),
        M::Loope => end!(loope),
        M::Loopne => end!(loopne),
        M::Jcxz | M::Jecxz | M::Jrcxz => end!(jrcxz),
        _ => None,
    }
}
