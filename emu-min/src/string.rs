//! MOVS, STOS, LODS, SCAS, CMPS with and without REP.
//!
//! After every element the registers are as the architecture says, so a fault or a stop in the middle leaves an
//! instruction that restarts where it was. A run of elements within one page of RAM is done in bulk
//! ([`crate::string_bulk`]).

use std::sync::atomic::Ordering;

use iced_x86::{Instruction, Mnemonic};

use crate::alu::{Binary, Cmp};
use crate::core::{Core, ES, RAX, RCX, RDI, RSI};
use crate::exit::Exit;
use crate::flags::{DF, TF};
use crate::int::{Int, by_size};
use crate::op::{ADDR16, ADDR32, LEGACY, Op, R, REP, REPNE, SEG_BASES, Selected, end, seq, store};
use crate::string_bulk::Run;

/// Elements between two looks at the stop flag.
const STOP_INTERVAL: u64 = 4096;

/// One element of a string instruction; its result says whether a conditional repetition goes on.
trait Element: 'static {
    const USES_SI: bool;
    const USES_DI: bool;
    /// Whether REPE and REPNE look at ZF.
    const CONDITIONAL: bool = false;
    fn step<T: Int>(core: &mut Core, si: u64, di: u64) -> R;
    /// Does elements of a run at once, as far as it can and, of a conditional repetition, as far as it goes on; how many
    /// it did.
    fn bulk<T: Int>(_core: &mut Core, _run: Run) -> u64 {
        0
    }
}

struct Movs;
struct Stos;
struct Lods;
struct Scas;
struct Cmps;

impl Element for Movs {
    const USES_SI: bool = true;
    const USES_DI: bool = true;

    #[inline(always)]
    fn step<T: Int>(core: &mut Core, si: u64, di: u64) -> R {
        let value = core.load::<T>(si)?;
        core.store::<T>(di, value)
    }

    fn bulk<T: Int>(core: &mut Core, run: Run) -> u64 {
        core.bulk_copy::<T>(run)
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

    fn bulk<T: Int>(core: &mut Core, run: Run) -> u64 {
        core.bulk_fill::<T>(run)
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

    fn bulk<T: Int>(core: &mut Core, run: Run) -> u64 {
        core.bulk_scan::<T>(run)
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

    fn bulk<T: Int>(core: &mut Core, run: Run) -> u64 {
        core.bulk_compare::<T>(run)
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
    Ok(offset.wrapping_add(core.r[slot as usize]))
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
    let mut until_look = core.until_look.take().unwrap_or(STOP_INTERVAL);
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
        if core.bulk && core.system_flags & TF == 0 && !op.has(LEGACY) && mask == u64::MAX {
            let run = Run {
                si: core.r[RSI].wrapping_add(core.r[op.seg as usize]),
                di: core.r[RDI],
                count: count.min(until_look),
                down: core.system_flags & DF != 0,
                while_different: op.has(REPNE),
            };
            let done = E::bulk::<T>(core, run);
            if done > 0 {
                core.accesses += done * (u64::from(E::USES_SI) + u64::from(E::USES_DI));
                core.bulk_elements += done;
                let delta = if run.down { (done * T::SIZE).wrapping_neg() } else { done * T::SIZE };
                let (si, di) = (core.r[RSI], core.r[RDI]);
                advance::<E>(core, si, di, delta, mask);
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
            // It wrote decoded code, perhaps its own, or a debug trap or a debugger's step follows: start again from memory.
            core.interrupt_repetition();
            core.rip = op.rip;
            if core.leave_block {
                // It is not done, so it does not count; but it may start again for ever, so the interval goes on.
                core.icount = core.icount.wrapping_sub(1);
                core.until_look = Some(until_look);
            }
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
