//! Instructions that 64-bit mode dropped: decimal adjustment, BOUND, ARPL and SALC.

use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, RAX};
use crate::exception::{BR, DE};
use crate::flags::{AF, CF, Flags, PF, SF, ZF};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, end, seq, store};

const AH: u8 = 32;

fn al(core: &Core) -> u8 {
    u8::get(core, RAX as u8) as u8
}

/// Writes AL with its SF, ZF and PF, and the two carries. OF becomes clear.
fn set_al(core: &mut Core, value: u8, cf: bool, af: bool) {
    u8::set(core, RAX as u8, u64::from(value));
    let bit = |set: bool, flag: u64| if set { flag } else { 0 };
    let flags = bit(cf, CF)
        | bit(af, AF)
        | bit(value == 0, ZF)
        | bit(value & 0x80 != 0, SF)
        | bit(value.count_ones() & 1 == 0, PF);
    core.flags = Flags::from_rflags(flags);
}

/// AAA, and AAS if `SUBTRACT`.
fn ascii_adjust<const SUBTRACT: bool>(core: &mut Core, _: &Op) -> R {
    let adjust = al(core) & 15 > 9 || core.flags.af();
    if adjust {
        let ax = u16::get(core, RAX as u8) as u16;
        let ax = if SUBTRACT { ax.wrapping_sub(0x106) } else { ax.wrapping_add(0x106) };
        u16::set(core, RAX as u8, u64::from(ax));
    }
    let value = al(core) & 15;
    set_al(core, value, adjust, adjust);
    Ok(())
}

/// DAA, and DAS if `SUBTRACT`.
fn decimal_adjust<const SUBTRACT: bool>(core: &mut Core, _: &Op) -> R {
    let old = al(core);
    let low = old & 15 > 9 || core.flags.af();
    let high = old > 0x99 || core.flags.cf();
    let correction = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    let value = if SUBTRACT { old.wrapping_sub(correction) } else { old.wrapping_add(correction) };
    // DAS borrows out of the first correction, too (Intel SDM volume 2, DAS).
    let borrow = SUBTRACT && low && old < 6;
    set_al(core, value, high || borrow, low);
    Ok(())
}

fn aam(core: &mut Core, op: &Op) -> R {
    let base = op.imm as u8;
    if base == 0 {
        return Err(core.fault(DE));
    }
    let value = al(core);
    u8::set(core, AH, u64::from(value / base));
    set_al(core, value % base, false, false);
    Ok(())
}

fn aad(core: &mut Core, op: &Op) -> R {
    let high = u8::get(core, AH) as u8;
    let value = al(core).wrapping_add(high.wrapping_mul(op.imm as u8));
    u8::set(core, AH, 0);
    set_al(core, value, false, false);
    Ok(())
}

fn salc(core: &mut Core, _: &Op) -> R {
    let value = if core.flags.cf() { 0xff } else { 0 };
    u8::set(core, RAX as u8, value);
    Ok(())
}

fn bound<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, 2 * T::SIZE, false)?;
    let lower = T::sext(core.load::<T>(address)?) as i64;
    let upper = T::sext(core.load::<T>(address.wrapping_add(T::SIZE))?) as i64;
    let index = T::sext(T::get(core, op.dst)) as i64;
    if (lower..=upper).contains(&index) { Ok(()) } else { Err(core.fault(BR)) }
}

/// The selector with the privilege number of the source, if its own is lower.
fn adjusted(core: &Core, op: &Op, selector: u64) -> Option<u64> {
    let source = u16::get(core, op.src) & 3;
    (selector & 3 < source).then_some(selector & !3 | source)
}

fn arpl(core: &mut Core, op: &Op) -> R {
    if op.form == Form::RR {
        let adjusted = adjusted(core, op, u16::get(core, op.dst));
        if let Some(selector) = adjusted {
            u16::set(core, op.dst, selector);
        }
        core.flags.set_zf(adjusted.is_some());
        return Ok(());
    }
    let address = core.linear(op, 2, false)?;
    let selector = core.load::<u16>(address)?;
    let adjusted = adjusted(core, op, selector);
    if let Some(selector) = adjusted {
        let address = core.linear(op, 2, true)?;
        core.store::<u16>(address, selector)?;
    }
    core.flags.set_zf(adjusted.is_some());
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Aaa => seq!(ascii_adjust::<false>),
        Mnemonic::Aas => seq!(ascii_adjust::<true>),
        Mnemonic::Daa => seq!(decimal_adjust::<false>),
        Mnemonic::Das => seq!(decimal_adjust::<true>),
        Mnemonic::Aam => seq!(aam),
        Mnemonic::Aad => seq!(aad),
        Mnemonic::Salc => seq!(salc),
        Mnemonic::Bound => by_size!(ins.op0_register().size() as u8, T => end!(bound::<T>)),
        Mnemonic::Arpl => store!(arpl),
        _ => None,
    }
}
