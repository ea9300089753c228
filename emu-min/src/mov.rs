//! Moves between general registers, memory and immediates, with and without extension; LEA, CMOV, SETcc, BSWAP, XLAT.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::control::{Condition, by_condition};
use crate::core::{Core, RAX, RBX, RDX};
use crate::ea::{self, Address, Full, Simple};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, seq, store};

#[inline(always)]
fn mov_rr<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = T::get(core, op.src);
    T::set(core, op.dst, value);
    Ok(())
}

#[inline(always)]
fn mov_ri<T: Int>(core: &mut Core, op: &Op) -> R {
    T::set(core, op.dst, op.imm);
    Ok(())
}

#[inline(always)]
fn mov_rm<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let address = A::linear(core, op, T::SIZE, false)?;
    let value = core.load::<T>(address)?;
    T::set(core, op.dst, value);
    Ok(())
}

#[inline(always)]
fn mov_mr<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let address = A::linear(core, op, T::SIZE, true)?;
    let value = T::get(core, op.src);
    core.store::<T>(address, value)
}

#[inline(always)]
fn mov_mi<T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let address = A::linear(core, op, T::SIZE, true)?;
    core.store::<T>(address, op.imm)
}

fn mov(op: &Op) -> Selected {
    let simple = ea::is_simple(op);
    by_size!(op.size, T => match op.form {
        Form::RR => seq!(mov_rr::<T>),
        Form::RI => seq!(mov_ri::<T>),
        Form::RM if simple => seq!(mov_rm::<T, Simple>),
        Form::RM => seq!(mov_rm::<T, Full>),
        Form::MR if simple => store!(mov_mr::<T, Simple>),
        Form::MR => store!(mov_mr::<T, Full>),
        Form::MI if simple => store!(mov_mi::<T, Simple>),
        Form::MI => store!(mov_mi::<T, Full>),
        _ => None,
    })
}

/// MOVZX, MOVSX, MOVSXD: from size `S` to size `T`.
#[inline(always)]
fn extend_r<const SIGN: bool, S: Int, T: Int>(core: &mut Core, op: &Op) -> R {
    let value = S::get(core, op.src);
    T::set(core, op.dst, if SIGN { S::sext(value) } else { value });
    Ok(())
}

#[inline(always)]
fn extend_m<const SIGN: bool, S: Int, T: Int, A: Address>(core: &mut Core, op: &Op) -> R {
    let address = A::linear(core, op, S::SIZE, false)?;
    let value = core.load::<S>(address)?;
    T::set(core, op.dst, if SIGN { S::sext(value) } else { value });
    Ok(())
}

fn extend<const SIGN: bool>(ins: &Instruction, op: &mut Op) -> Selected {
    let from = match ins.op1_kind() {
        OpKind::Register => ins.op1_register().size(),
        _ => ins.memory_size().size(),
    };
    op.aux = from as u8;
    macro_rules! forms {
        ($s:ty, $t:ty) => {
            match (op.form, ea::is_simple(op)) {
                (Form::RR, _) => seq!(extend_r::<SIGN, $s, $t>),
                (_, true) => seq!(extend_m::<SIGN, $s, $t, Simple>),
                _ => seq!(extend_m::<SIGN, $s, $t, Full>),
            }
        };
    }
    match (from, op.size) {
        (1, 2) => forms!(u8, u16),
        (1, 4) => forms!(u8, u32),
        (1, 8) => forms!(u8, u64),
        (2, 2) => forms!(u16, u16),
        (2, 4) => forms!(u16, u32),
        (2, 8) => forms!(u16, u64),
        (4, 4) => forms!(u32, u32),
        (4, 8) => forms!(u32, u64),
        (4, 2) => forms!(u16, u16),
        _ => None,
    }
}

#[inline(always)]
fn lea_simple(core: &mut Core, op: &Op) -> R {
    core.r[op.dst as usize] = core.r[op.base as usize].wrapping_add(op.disp);
    Ok(())
}

#[inline(always)]
fn lea<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = ea::offset(core, op);
    T::set(core, op.dst, value);
    Ok(())
}

#[inline(always)]
fn cmov_r<C: Condition, T: Int>(core: &mut Core, op: &Op) -> R {
    let value = if C::holds(&core.flags) { T::get(core, op.src) } else { T::get(core, op.dst) };
    T::set(core, op.dst, value); // a 32-bit CMOV clears the upper half in either case
    Ok(())
}

#[inline(always)]
fn cmov_m<C: Condition, T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, false)?;
    let source = core.load::<T>(address)?;
    let value = if C::holds(&core.flags) { source } else { T::get(core, op.dst) };
    T::set(core, op.dst, value);
    Ok(())
}

#[inline(always)]
fn set_r<C: Condition>(core: &mut Core, op: &Op) -> R {
    let value = C::holds(&core.flags);
    u8::set(core, op.dst, u64::from(value));
    Ok(())
}

#[inline(always)]
fn set_m<C: Condition>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 1, true)?;
    let value = C::holds(&core.flags);
    core.store::<u8>(address, u64::from(value))
}

fn cmov<C: Condition>(op: &Op) -> Selected {
    by_size!(op.size, T => match op.form {
        Form::RR => seq!(cmov_r::<C, T>),
        _ => seq!(cmov_m::<C, T>),
    })
}

fn set<C: Condition>(op: &Op) -> Selected {
    match op.form {
        Form::R => seq!(set_r::<C>),
        _ => store!(set_m::<C>),
    }
}

fn bswap<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = T::get(core, op.dst);
    // On 16 bits the result is undefined; processors give zero.
    let swapped = if T::BITS == 16 { 0 } else { value.swap_bytes() >> (64 - T::BITS) };
    T::set(core, op.dst, swapped);
    Ok(())
}

fn xlat(core: &mut Core, op: &Op) -> R {
    let mut op = *op;
    op.base = RBX as u8;
    op.index = crate::op::ZERO;
    op.disp = core.r[RAX] & 0xff;
    let address = core.linear(&op, 1, false)?;
    let value = core.load::<u8>(address)?;
    u8::set(core, RAX as u8, value);
    Ok(())
}

/// CBW, CWDE, CDQE: sign-extends the lower half of the accumulator into all of it.
fn widen<S: Int, T: Int>(core: &mut Core, _: &Op) -> R {
    let value = S::sext(S::get(core, RAX as u8));
    T::set(core, RAX as u8, value);
    Ok(())
}

/// CWD, CDQ, CQO: fills DX, EDX, RDX with the accumulator's sign.
fn spread<T: Int>(core: &mut Core, _: &Op) -> R {
    let sign = (T::sext(T::get(core, RAX as u8)) as i64 >> 63) as u64;
    T::set(core, RDX as u8, sign);
    Ok(())
}

fn nop(_: &mut Core, _: &Op) -> R {
    Ok(())
}

/// CLFLUSH: caches are not modelled, but it faults as a load does.
fn clflush(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 1, false)?;
    core.load::<u8>(address)?;
    Ok(())
}

/// Hints in the space of no-operations: where the extension is absent that they belong to, they do nothing.
pub(crate) fn is_reserved_nop(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Endbr32
            | M::Endbr64
            | M::Rdsspd
            | M::Rdsspq
            | M::Cldemote
            | M::Prefetchit0
            | M::Prefetchit1
            | M::Prefetchwt1
    )
}

/// Whether an operand is a segment, control or debug register.
fn is_system_move(ins: &Instruction) -> bool {
    (0..ins.op_count()).any(|i| {
        let register = ins.op_register(i);
        ins.op_kind(i) == OpKind::Register && register != Register::None && !register.is_gpr()
    })
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::Mov if is_system_move(ins) => None,
        M::Mov => mov(op),
        M::Movzx => extend::<false>(ins, op),
        M::Movsx | M::Movsxd => extend::<true>(ins, op),
        M::Lea if op.size == 8 && ea::is_simple(op) => seq!(lea_simple),
        M::Lea => by_size!(op.size, T => seq!(lea::<T>)),
        M::Bswap => by_size!(op.size, T => seq!(bswap::<T>)),
        M::Xlatb => seq!(xlat),
        M::Cbw => seq!(widen::<u8, u16>),
        M::Cwde => seq!(widen::<u16, u32>),
        M::Cdqe => seq!(widen::<u32, u64>),
        M::Cwd => seq!(spread::<u16>),
        M::Cdq => seq!(spread::<u32>),
        M::Cqo => seq!(spread::<u64>),
        M::Clflush => seq!(clflush),
        M::Nop
        | M::Pause
        | M::Lfence
        | M::Sfence
        | M::Mfence
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Prefetchw
        | M::Prefetch
        | M::Reservednop => seq!(nop),
        mnemonic if is_reserved_nop(mnemonic) => seq!(nop),
        _ => {
            let condition = ins.condition_code();
            match op.mnemonic {
                M::Cmovo
                | M::Cmovno
                | M::Cmovb
                | M::Cmovae
                | M::Cmove
                | M::Cmovne
                | M::Cmovbe
                | M::Cmova
                | M::Cmovs
                | M::Cmovns
                | M::Cmovp
                | M::Cmovnp
                | M::Cmovl
                | M::Cmovge
                | M::Cmovle
                | M::Cmovg => {
                    by_condition!(condition, C => cmov::<C>(op))
                }
                M::Seto
                | M::Setno
                | M::Setb
                | M::Setae
                | M::Sete
                | M::Setne
                | M::Setbe
                | M::Seta
                | M::Sets
                | M::Setns
                | M::Setp
                | M::Setnp
                | M::Setl
                | M::Setge
                | M::Setle
                | M::Setg => {
                    by_condition!(condition, C => set::<C>(op))
                }
                _ => None,
            }
        }
    }
}
