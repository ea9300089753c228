//! Descriptor-table registers, and instructions that ask about descriptors: LAR, LSL, VERR, VERW.

use iced_x86::Mnemonic;

use crate::core::{CR4_UMIP, Core, Mode};
use crate::exception::{GP, NP};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, end, seq, store};
use crate::paging::canonical;
use crate::state::{Segment, Table};

impl Core {
    /// #GP(0) outside ring 0 if user-mode instruction prevention is on (Intel SDM volume 3, 2.5, CR4.UMIP).
    pub(crate) fn check_umip(&mut self) -> R {
        if self.cr4 & CR4_UMIP != 0 && self.cpl() != 0 { Err(self.gp()) } else { Ok(()) }
    }
}

fn load_table(core: &mut Core, op: &Op) -> R<Table> {
    core.require_ring0()?;
    let size = if core.mode == Mode::Bits64 { 8 } else { 4 };
    let address = core.linear(op, size + 2, false)?;
    let limit = core.load::<u16>(address)? as u16;
    let base = core.load_as(address.wrapping_add(2), size, core.user)?;
    if !canonical(base) {
        return Err(core.gp());
    }
    Ok(Table { base, limit })
}

fn lgdt(core: &mut Core, op: &Op) -> R {
    core.gdtr = load_table(core, op)?;
    Ok(())
}

fn lidt(core: &mut Core, op: &Op) -> R {
    core.idtr = load_table(core, op)?;
    Ok(())
}

fn store_table(core: &mut Core, op: &Op, table: Table) -> R {
    let size = if core.mode == Mode::Bits64 { 8 } else { 4 };
    let address = core.linear(op, size + 2, true)?;
    core.check_write(address, size + 2)?;
    core.store::<u16>(address, u64::from(table.limit))?;
    core.store_as(address.wrapping_add(2), size, table.base, core.user)
}

fn sgdt(core: &mut Core, op: &Op) -> R {
    core.check_umip()?;
    let table = core.gdtr;
    store_table(core, op, table)
}

fn sidt(core: &mut Core, op: &Op) -> R {
    core.check_umip()?;
    let table = core.idtr;
    store_table(core, op, table)
}

/// The 16-bit operand of LLDT, LTR, LMSW, VERR and VERW.
pub(crate) fn selector_operand(core: &mut Core, op: &Op) -> R<u16> {
    if op.form == Form::R {
        return Ok(u16::get(core, op.dst) as u16);
    }
    let address = core.linear(op, 2, false)?;
    Ok(core.load::<u16>(address)? as u16)
}

fn lldt(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let selector = selector_operand(core, op)?;
    if selector & !3 == 0 {
        core.ldtr.selector = selector;
        core.ldtr.attributes = 0;
        return Ok(());
    }
    let segment = core.system_descriptor(selector)?;
    let code = u32::from(selector & !3);
    if segment.is_code_or_data() || segment.kind() != 2 {
        return Err(core.fault_code(GP, code));
    }
    if !segment.present() {
        return Err(core.fault_code(NP, code));
    }
    core.ldtr = segment;
    Ok(())
}

fn ltr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let selector = selector_operand(core, op)?;
    let code = u32::from(selector & !3);
    if selector & !3 == 0 {
        return Err(core.gp());
    }
    let mut segment = core.system_descriptor(selector)?;
    if segment.is_code_or_data() || segment.kind() != 9 {
        return Err(core.fault_code(GP, code));
    }
    if !segment.present() {
        return Err(core.fault_code(NP, code));
    }
    core.set_tss_busy(selector)?;
    segment.attributes |= 2;
    core.tr = segment;
    Ok(())
}

/// SLDT, STR, SMSW: a system value into a register of any size or a word of memory.
pub(crate) fn store_word(core: &mut Core, op: &Op, value: u64) -> R {
    if op.form == Form::R {
        by_size!(op.size, T => T::set(core, op.dst, value));
        return Ok(());
    }
    let address = core.linear(op, 2, true)?;
    core.store::<u16>(address, value)
}

fn sldt(core: &mut Core, op: &Op) -> R {
    core.check_umip()?;
    let value = u64::from(core.ldtr.selector);
    store_word(core, op, value)
}

fn str_(core: &mut Core, op: &Op) -> R {
    core.check_umip()?;
    let value = u64::from(core.tr.selector);
    store_word(core, op, value)
}

/// The descriptor of a selector that LAR, LSL, VERR or VERW asks about, if it may be seen from here: it lies in its
/// table and, unless it is conforming code, is not more privileged than CPL and RPL.
fn visible(core: &mut Core, selector: u16) -> R<Option<(Segment, u64)>> {
    if selector & !3 == 0 {
        return Ok(None);
    }
    let Some(address) = core.descriptor_place(selector) else { return Ok(None) };
    let raw = core.load_as(address, 8, core.system_rights())?;
    let segment = crate::segment::from_descriptor(selector, raw);
    let conforming = segment.is_code_or_data() && segment.kind() & 12 == 12;
    let privileged = segment.dpl() < core.cpl().max((selector & 3) as u8);
    Ok((conforming || !privileged).then_some((segment, raw)))
}

/// Types of system segment, as a mask: LDT, and the TSSs; 16-bit ones exist outside long mode only.
fn tables_and_tasks(core: &Core) -> u16 {
    if core.long_mode() { 1 << 2 | 1 << 9 | 1 << 11 } else { 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11 }
}

/// Types of gate that LAR knows besides: call gates and, outside long mode, the 16-bit call gate and the task gate.
fn gates(core: &Core) -> u16 {
    if core.long_mode() { 1 << 12 } else { 1 << 4 | 1 << 5 | 1 << 12 }
}

/// The selector operand: the second.
fn second_selector(core: &mut Core, op: &Op) -> R<u16> {
    if op.form == Form::RR {
        return Ok(u16::get(core, op.src) as u16);
    }
    let address = core.linear(op, 2, false)?;
    Ok(core.load::<u16>(address)? as u16)
}

/// Loads what `found` makes of the descriptor and sets ZF, or clears ZF.
fn query<T: Int>(core: &mut Core, op: &Op, types: u16, found: fn(&Segment, u64) -> u64) -> R {
    let selector = second_selector(core, op)?;
    let descriptor = visible(core, selector)?
        .filter(|(segment, _)| segment.is_code_or_data() || types >> segment.kind() & 1 != 0)
        .map(|(segment, raw)| found(&segment, raw));
    if let Some(value) = descriptor {
        T::set(core, op.dst, value);
    }
    core.flags.set_zf(descriptor.is_some());
    Ok(())
}

/// LAR: the second half of the descriptor but for the base; the limit's bits 16-19 are undefined and left out.
fn lar<T: Int>(core: &mut Core, op: &Op) -> R {
    let types = tables_and_tasks(core) | gates(core);
    query::<T>(core, op, types, |_, raw| raw >> 32 & 0x00f0_ff00)
}

/// LSL: the limit in bytes.
fn lsl<T: Int>(core: &mut Core, op: &Op) -> R {
    let types = tables_and_tasks(core);
    query::<T>(core, op, types, |segment, _| u64::from(segment.limit))
}

/// VERR and VERW: whether a segment may be read or written.
fn verify<const WRITE: bool>(core: &mut Core, op: &Op) -> R {
    let selector = selector_operand(core, op)?;
    let allowed = visible(core, selector)?.is_some_and(|(segment, _)| {
        let (code, flag) = (segment.kind() & 8 != 0, segment.kind() & 2 != 0);
        segment.is_code_or_data() && if WRITE { !code && flag } else { !code || flag }
    });
    core.flags.set_zf(allowed);
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::Lgdt => end!(lgdt),
        M::Lidt => end!(lidt),
        M::Sgdt => store!(sgdt),
        M::Sidt => store!(sidt),
        M::Lldt => end!(lldt),
        M::Ltr => end!(ltr),
        M::Sldt => store!(sldt),
        M::Str => store!(str_),
        M::Lar => by_size!(op.size, T => seq!(lar::<T>)),
        M::Lsl => by_size!(op.size, T => seq!(lsl::<T>)),
        M::Verr => seq!(verify::<false>),
        M::Verw => seq!(verify::<true>),
        _ => None,
    }
}
