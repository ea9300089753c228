//! MOVS, STOS, LODS, SCAS, CMPS with and without REP.
//!
//! After every element the registers are as the architecture says, so a fault or a stop in the middle leaves an
//! instruction that restarts where it was. A run of elements that ascends within one page of RAM is moved in bulk.

use std::sync::atomic::Ordering;

use iced_x86::{Instruction, Mnemonic};

use crate::alu::{Binary, Cmp};
use crate::core::{Core, ES, RAX, RCX, RDI, RSI};
use crate::exit::Exit;
use crate::flags::{DF, TF};
use crate::int::{Int, by_size};
use crate::op::{ADDR16, ADDR32, LEGACY, Op, R, REP, REPNE, SEG_BASES, Selected, end, seq, store};

/// Elements between two looks at the stop flag.
const STOP_INTERVAL: u64 = 4096;

/// One element of a string instruction; its result says whether a conditional repetition goes on.
trait Element: 'static {
    const USES_SI: bool;
    const USES_DI: bool;
    /// Whether REPE and REPNE look at ZF.
    const CONDITIONAL: bool = false;
    fn step<T: Int>(core: &mut Core, si: u64, di: u64) -> R;
    /// Does up to `count` elements at once, ascending, if it can; how many it did.
    fn bulk<T: Int>(_core: &mut Core, _si: u64, _di: u64, _count: u64) -> u64 {
        0
    }
}

struct Movs;
struct Stos;
struct Lods;
struct Scas;
struct Cmps;

/// Elements that fit before the end of the page of `linear`.
fn in_page<T: Int>(linear: u64) -> u64 {
    (0x1000 - (linear & 0xfff)) / T::SIZE
}

impl Element for Movs {
    const USES_SI: bool = true;
    const USES_DI: bool = true;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, si: u64, di: u64) -> R {
        let value = core.load::<T>(si)?;
        core.store::<T>(di, value)
    }

    fn bulk<T: Int>(core: &mut Core, si: u64, di: u64, count: u64) -> u64 {
        let count = count.min(in_page::<T>(si)).min(in_page::<T>(di));
        let bytes = count * T::SIZE;
        // A destination that starts inside the source repeats a pattern; that is left to the element loop.
        if count < 2 || di.wrapping_sub(si) < bytes {
            return 0;
        }
        let (Some(from), Some(to)) = (core.tlb.read(si, bytes, core.user), core.tlb.write(di, bytes, core.user)) else {
            return 0;
        };
        let overlaps = (to as usize).wrapping_sub(from as usize) < bytes as usize;
        if overlaps {
            return 0; // two linear pages on one frame
        }
        // SAFETY: both lookups cover `bytes` bytes of RAM; `copy` allows the ranges to overlap.
        unsafe { std::ptr::copy(from, to, bytes as usize) };
        count
    }
}

impl Element for Stos {
    const USES_SI: bool = false;
    const USES_DI: bool = true;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, _: u64, di: u64) -> R {
        let value = T::get(core, RAX as u8);
        core.store::<T>(di, value)
    }

    fn bulk<T: Int>(core: &mut Core, _: u64, di: u64, count: u64) -> u64 {
        let count = count.min(in_page::<T>(di));
        if count < 2 {
            return 0;
        }
        let Some(to) = core.tlb.write(di, count * T::SIZE, core.user) else { return 0 };
        let value = T::get(core, RAX as u8);
        for i in 0..count {
            // SAFETY: the lookup covers `count * SIZE` bytes of RAM from `to`.
            unsafe { T::write(to.wrapping_add((i * T::SIZE) as usize), value) };
        }
        count
    }
}

impl Element for Lods {
    const USES_SI: bool = true;
    const USES_DI: bool = false;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, si: u64, _: u64) -> R {
        let value = core.load::<T>(si)?;
        T::set(core, RAX as u8, value);
        Ok(())
    }
}

impl Element for Scas {
    const USES_SI: bool = false;
    const USES_DI: bool = true;
    const CONDITIONAL: bool = true;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, _: u64, di: u64) -> R {
        let b = core.load::<T>(di)?;
        let a = T::get(core, RAX as u8);
        Cmp::apply::<T>(&mut core.flags, a, b);
        Ok(())
    }
}

impl Element for Cmps {
    const USES_SI: bool = true;
    const USES_DI: bool = true;
    const CONDITIONAL: bool = true;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, si: u64, di: u64) -> R {
        let a = core.load::<T>(si)?;
        let b = core.load::<T>(di)?;
        Cmp::apply::<T>(&mut core.flags, a, b);
        Ok(())
    }
}

/// The bits of SI, DI and CX that the address size uses.
pub(crate) fn address_mask(op: &Op) -> u64 {
    match op.flags & (ADDR32 | ADDR16) {
        0 => u64::MAX,
        ADDR32 => 0xffff_ffff,
        _ => 0xffff,
    }
}

/// Writes the used part of an address register; a 32-bit write clears the upper half.
pub(crate) fn set_masked(core: &mut Core, register: usize, value: u64, mask: u64) {
    let Some(slot) = core.r.get_mut(register) else { return };
    *slot = if mask == 0xffff { *slot & !mask | value & mask } else { value & mask };
}

/// The linear address of a string operand.
#[inline(always)]
pub(crate) fn string_linear<T: Int>(core: &mut Core, op: &Op, slot: u8, offset: u64, write: bool) -> R<u64> {
    if op.has(LEGACY) {
        return core.legacy_linear(slot, offset, T::SIZE, write);
    }
    Ok(offset.wrapping_add(core.r[(slot & 31) as usize]))
}

const ES_SLOT: u8 = SEG_BASES + ES as u8;

/// One element, then the index registers.
#[inline(always)]
fn element<E: Element, T: Int>(core: &mut Core, op: &Op, mask: u64) -> R {
    let (si, di) = (core.r[RSI] & mask, core.r[RDI] & mask);
    let from = if E::USES_SI { string_linear::<T>(core, op, op.seg, si, false)? } else { 0 };
    let write = !E::CONDITIONAL;
    let to = if E::USES_DI { string_linear::<T>(core, op, ES_SLOT, di, write)? } else { 0 };
    E::step::<T>(core, from, to)?;
    core.accesses += u64::from(E::USES_SI) + u64::from(E::USES_DI);
    let delta = if core.system_flags & DF != 0 { T::SIZE.wrapping_neg() } else { T::SIZE };
    advance::<E>(core, si, di, delta, mask);
    Ok(())
}

#[inline(always)]
fn advance<E: Element>(core: &mut Core, si: u64, di: u64, delta: u64, mask: u64) {
    if E::USES_SI {
        set_masked(core, RSI, si.wrapping_add(delta), mask);
    }
    if E::USES_DI {
        set_masked(core, RDI, di.wrapping_add(delta), mask);
    }
}

fn single<E: Element, T: Int>(core: &mut Core, op: &Op) -> R {
    element::<E, T>(core, op, address_mask(op))
}

fn repeated<E: Element, T: Int>(core: &mut Core, op: &Op) -> R {
    let mask = address_mask(op);
    let mut until_look = STOP_INTERVAL;
    loop {
        let count = core.r[RCX] & mask;
        if count == 0 {
            return Ok(());
        }
        if until_look == 0 {
            until_look = STOP_INTERVAL;
            if core.stop.swap(false, Ordering::Relaxed) {
                core.interrupt_repetition();
                return Err(core.exit_again(Exit::Stopped));
            }
            core.charge();
            if core.icount + u64::from(op.n) >= core.budget_end {
                core.interrupt_repetition();
                return Err(core.exit_again(Exit::BudgetExhausted));
            }
        }
        if core.system_flags & (DF | TF) == 0 && !op.has(LEGACY) && mask == u64::MAX {
            let (si, di) = (core.r[RSI], core.r[RDI]);
            let si_linear = si.wrapping_add(core.r[(op.seg & 31) as usize]);
            let done = E::bulk::<T>(core, si_linear, di, count.min(until_look));
            if done > 0 {
                core.accesses += done * (u64::from(E::USES_SI) + u64::from(E::USES_DI));
                advance::<E>(core, si, di, done * T::SIZE, mask);
                set_masked(core, RCX, count - done, mask);
                until_look -= done;
                continue;
            }
        }
        element::<E, T>(core, op, mask)?;
        core.mmio.clear();
        set_masked(core, RCX, count - 1, mask);
        until_look -= 1;
        if E::CONDITIONAL && core.flags.zf() == op.has(REPNE) {
            return Ok(());
        }
        if (core.leave_block || core.system_flags & TF != 0) && count > 1 {
            // It wrote decoded code, perhaps its own, or a debug trap follows: start again from memory.
            core.interrupt_repetition();
            core.rip = op.rip;
            return Ok(());
        }
    }
}

fn select_element<E: Element>(op: &Op) -> Selected {
    by_size!(op.size, T => if op.flags & (REP | REPNE) != 0 {
        // It ends its block because it may have to be executed again.
        end!(repeated::<E, T>)
    } else if E::USES_DI && !E::CONDITIONAL {
        store!(single::<E, T>)
    } else {
        seq!(single::<E, T>)
    })
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    if !ins.is_string_instruction() {
        return None;
    }
    match op.mnemonic {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => select_element::<Movs>(op),
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => select_element::<Stos>(op),
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => select_element::<Lods>(op),
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => select_element::<Scas>(op),
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => select_element::<Cmps>(op),
        _ => None,
    }
}
