//! Control and debug registers, descriptor tables, segment moves, interrupt flag, halting, time-stamp counter.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{
    CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_FSGSBASE, CR4_OSFXSR,
    CR4_OSXMMEXCPT, CR4_OSXSAVE, CR4_PAE, CR4_PCE, CR4_SMEP, CR4_TSD, CS, Core, EFER_LMA, EFER_LME, ES, FS, GS, Mode,
    RAX, RCX, RDX, SS,
};
use crate::exception::{GP, NP, UD};
use crate::exit::Exit;
use crate::flags::{IF, IOPL};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, end, seq, store};
use crate::paging::{PHYS_BITS, canonical};
use crate::state::Table;

/// Bits of CR0 that exist. AM (bit 18) and NE (bit 5) are kept though alignment checks are not modelled.
const CR0_BITS: u64 = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | 1 << 18 | CR0_NW | CR0_CD | CR0_PG;
/// Bits of CR4 that may be set: TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, FSGSBASE, SMEP; and OSXSAVE if
/// there is XSAVE.
const CR4_BITS: u64 = CR4_TSD
    | 1 << 3
    | 1 << 4
    | CR4_PAE
    | 1 << 6
    | 1 << 7
    | CR4_PCE
    | CR4_OSFXSR
    | CR4_OSXMMEXCPT
    | CR4_FSGSBASE
    | CR4_SMEP;

impl Core {
    /// #GP unless at privilege level 0.
    pub(crate) fn require_ring0(&mut self) -> R {
        if self.cpl() == 0 { Ok(()) } else { Err(self.gp()) }
    }

    fn write_cr0(&mut self, value: u64) -> R {
        let value = value | CR0_ET;
        let paging = value & CR0_PG != 0;
        // Without PE the processor would be in real mode, which is not modelled (and PG without PE is invalid anyway).
        let invalid = value >> 32 != 0 || value & CR0_PE == 0 || (value & CR0_NW != 0 && value & CR0_CD == 0);
        if invalid {
            return Err(self.gp());
        }
        let was_paging = self.cr0 & CR0_PG != 0;
        if paging && !was_paging {
            // Only 4-level paging is modelled, so paging means long mode.
            if self.efer & EFER_LME == 0 || self.cr4 & CR4_PAE == 0 || self.seg[CS].long() {
                return Err(self.gp());
            }
            self.efer |= EFER_LMA;
        } else if was_paging && !paging {
            if self.mode == Mode::Bits64 {
                return Err(self.gp());
            }
            self.efer &= !EFER_LMA;
        }
        self.cr0 = value & CR0_BITS;
        self.update_mode();
        self.flush_tlb();
        Ok(())
    }

    fn write_cr3(&mut self, value: u64) -> R {
        if value >> PHYS_BITS != 0 {
            return Err(self.gp());
        }
        self.cr3 = value;
        self.flush_tlb();
        Ok(())
    }

    fn write_cr4(&mut self, value: u64) -> R {
        let leaves_pae = self.long_mode() && value & CR4_PAE == 0;
        let os_xsave = if self.xcr0_supported() != 0 { CR4_OSXSAVE } else { 0 };
        if value & !(CR4_BITS | os_xsave) != 0 || leaves_pae {
            return Err(self.gp());
        }
        self.cr4 = value;
        self.update_sse();
        self.flush_tlb();
        Ok(())
    }

    fn rdtsc(&mut self) -> R<u64> {
        if self.cr4 & CR4_TSD != 0 && self.cpl() != 0 {
            return Err(self.gp());
        }
        Ok(self.tsc())
    }

    /// The guest's time-stamp counter.
    pub(crate) fn tsc(&self) -> u64 {
        // SAFETY: RDTSC exists on every x86-64 processor and has no other effect.
        let host = unsafe { core::arch::x86_64::_rdtsc() };
        host.wrapping_add(self.tsc_offset)
    }
}

/// Reads or writes the register-size operand of a move to or from a control register.
fn get_register(core: &Core, number: u8) -> u64 {
    let value = core.r[(number & 31) as usize];
    if core.mode == Mode::Bits64 { value } else { value & 0xffff_ffff }
}

fn mov_from_cr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = match op.src {
        0 => core.cr0,
        2 => core.cr2,
        3 => core.cr3,
        4 => core.cr4,
        8 => core.cr8,
        _ => return Err(core.fault(UD)),
    };
    u64::set(core, op.dst, value);
    Ok(())
}

fn mov_to_cr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = get_register(core, op.src);
    match op.dst {
        0 => core.write_cr0(value),
        2 => {
            core.cr2 = value;
            Ok(())
        }
        3 => core.write_cr3(value),
        4 => core.write_cr4(value),
        8 if value <= 15 => {
            core.cr8 = value;
            Ok(())
        }
        8 => Err(core.gp()),
        _ => Err(core.fault(UD)),
    }
}

/// Slot of a debug register in [`Core::dr`]; DR4 and DR5 are aliases of DR6 and DR7.
fn debug_slot(number: u8) -> usize {
    match number & 7 {
        n @ 0..=3 => usize::from(n),
        4 | 6 => 4,
        _ => 5,
    }
}

fn mov_from_dr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = core.dr[debug_slot(op.src)];
    u64::set(core, op.dst, value);
    Ok(())
}

fn mov_to_dr(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = get_register(core, op.src);
    let slot = debug_slot(op.dst);
    if slot >= 4 && value >> 32 != 0 {
        return Err(core.gp());
    }
    core.dr[slot] = match slot {
        4 => value & 0xe00f | 0xffff_0ff0,
        5 => value & 0xffff_2fff | 0x400,
        _ => value,
    };
    Ok(())
}

fn mov_from_segment(core: &mut Core, op: &Op) -> R {
    let selector = u64::from(core.seg[usize::from(op.src) % 6].selector);
    if op.form == Form::RR {
        by_size!(op.size, T => T::set(core, op.dst, selector));
        return Ok(());
    }
    let address = core.linear(op, 2, true)?;
    core.store::<u16>(address, selector)
}

fn mov_to_segment(core: &mut Core, op: &Op) -> R {
    let selector = if op.form == Form::RR {
        u16::get(core, op.src)
    } else {
        let address = core.linear(op, 2, false)?;
        core.load::<u16>(address)?
    };
    let index = usize::from(op.dst) % 6;
    core.load_segment(index, selector as u16)?;
    if index == SS {
        core.begin_shadow(op.n);
    }
    Ok(())
}

/// LSS, LFS, LGS, LES, LDS: a far pointer into a segment register and a general register.
fn load_far<const INDEX: usize>(core: &mut Core, op: &Op) -> R {
    let size = u64::from(op.size);
    let address = core.linear(op, size + 2, false)?;
    core.check_alignment(address, size)?;
    let offset = core.load_as(address, size, core.user != 0)?;
    let selector = core.load::<u16>(address.wrapping_add(size))? as u16;
    core.load_segment(INDEX, selector)?;
    by_size!(op.size, T => T::set(core, op.dst, offset));
    Ok(())
}

fn load_table(core: &mut Core, op: &Op) -> R<Table> {
    core.require_ring0()?;
    let size = if core.mode == Mode::Bits64 { 8 } else { 4 };
    let address = core.linear(op, size + 2, false)?;
    let limit = core.load::<u16>(address)? as u16;
    let base = core.load_as(address.wrapping_add(2), size, core.user != 0)?;
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
    core.store_as(address.wrapping_add(2), size, table.base, core.user != 0)
}

fn sgdt(core: &mut Core, op: &Op) -> R {
    let table = core.gdtr;
    store_table(core, op, table)
}

fn sidt(core: &mut Core, op: &Op) -> R {
    let table = core.idtr;
    store_table(core, op, table)
}

/// The 16-bit operand of LLDT, LTR, LMSW.
fn selector_operand(core: &mut Core, op: &Op) -> R<u16> {
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
fn store_word(core: &mut Core, op: &Op, value: u64) -> R {
    if op.form == Form::R {
        by_size!(op.size, T => T::set(core, op.dst, value));
        return Ok(());
    }
    let address = core.linear(op, 2, true)?;
    core.store::<u16>(address, value)
}

fn sldt(core: &mut Core, op: &Op) -> R {
    let value = u64::from(core.ldtr.selector);
    store_word(core, op, value)
}

fn str_(core: &mut Core, op: &Op) -> R {
    let value = u64::from(core.tr.selector);
    store_word(core, op, value)
}

fn smsw(core: &mut Core, op: &Op) -> R {
    let value = core.cr0;
    store_word(core, op, value)
}

fn lmsw(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let value = u64::from(selector_operand(core, op)?);
    let pe = core.cr0 & CR0_PE; // LMSW cannot clear PE
    core.write_cr0(core.cr0 & !15 | value & 15 | pe)
}

fn clts(core: &mut Core, _: &Op) -> R {
    core.require_ring0()?;
    core.cr0 &= !CR0_TS;
    core.update_sse();
    Ok(())
}

fn invlpg(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let address = crate::ea::offset(core, op).wrapping_add(core.r[(op.seg & 31) as usize]);
    core.tlb.flush_page(address);
    core.code_generation = core.code_generation.wrapping_add(1);
    Ok(())
}

/// WBINVD, INVD: caches are not modelled.
fn privileged_nop(core: &mut Core, _: &Op) -> R {
    core.require_ring0()
}

fn hlt(core: &mut Core, _: &Op) -> R {
    core.require_ring0()?;
    Err(core.exit_after(Exit::Halt))
}

/// #GP unless the privilege level is within IOPL.
fn require_iopl(core: &mut Core) -> R {
    if u64::from(core.cpl()) > (core.system_flags & IOPL) >> 12 {
        return Err(core.gp());
    }
    Ok(())
}

fn cli(core: &mut Core, _: &Op) -> R {
    require_iopl(core)?;
    core.system_flags &= !IF;
    Ok(())
}

fn sti(core: &mut Core, op: &Op) -> R {
    require_iopl(core)?;
    if core.system_flags & IF == 0 {
        core.system_flags |= IF;
        core.begin_shadow(op.n);
    }
    Ok(())
}

fn rdtsc(core: &mut Core, _: &Op) -> R {
    let tsc = core.rdtsc()?;
    u32::set(core, RAX as u8, tsc);
    u32::set(core, RDX as u8, tsc >> 32);
    Ok(())
}

fn rdtscp(core: &mut Core, op: &Op) -> R {
    rdtsc(core, op)?;
    u32::set(core, RCX as u8, core.msrs.tsc_aux);
    Ok(())
}

/// RDFSBASE and RDGSBASE.
fn read_base<const INDEX: usize, T: Int>(core: &mut Core, op: &Op) -> R {
    if core.cr4 & CR4_FSGSBASE == 0 || core.mode != Mode::Bits64 {
        return Err(core.fault(UD));
    }
    let base = core.seg[INDEX].base;
    T::set(core, op.dst, base);
    Ok(())
}

fn write_base<const INDEX: usize, T: Int>(core: &mut Core, op: &Op) -> R {
    if core.cr4 & CR4_FSGSBASE == 0 || core.mode != Mode::Bits64 {
        return Err(core.fault(UD));
    }
    let base = T::get(core, op.dst);
    if !canonical(base) {
        return Err(core.gp());
    }
    core.seg[INDEX].base = base;
    core.update_mode();
    Ok(())
}

fn select_mov(ins: &Instruction) -> Selected {
    let class = |i: u32| {
        let register = ins.op_register(i);
        (ins.op_kind(i) == OpKind::Register && register != Register::None).then_some(register)
    };
    let is = |i: u32, test: fn(Register) -> bool| class(i).is_some_and(test);
    if is(0, Register::is_cr) {
        return end!(mov_to_cr);
    }
    if is(1, Register::is_cr) {
        return end!(mov_from_cr);
    }
    if is(0, Register::is_dr) {
        return end!(mov_to_dr);
    }
    if is(1, Register::is_dr) {
        return end!(mov_from_dr);
    }
    if is(0, |register| register == Register::CS) {
        return None;
    }
    if is(0, Register::is_segment_register) {
        return end!(mov_to_segment);
    }
    if is(1, Register::is_segment_register) {
        return store!(mov_from_segment);
    }
    None
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::Mov => select_mov(ins),
        M::Lgdt => end!(lgdt),
        M::Lidt => end!(lidt),
        M::Sgdt => store!(sgdt),
        M::Sidt => store!(sidt),
        M::Lldt => end!(lldt),
        M::Ltr => end!(ltr),
        M::Sldt => store!(sldt),
        M::Str => store!(str_),
        M::Smsw => store!(smsw),
        M::Lmsw => end!(lmsw),
        M::Lss => end!(load_far::<SS>),
        M::Lfs => end!(load_far::<FS>),
        M::Lgs => end!(load_far::<GS>),
        M::Les => end!(load_far::<ES>),
        M::Lds => end!(load_far::<{ crate::core::DS }>),
        M::Clts => end!(clts),
        M::Invlpg => end!(invlpg),
        M::Wbinvd | M::Invd => seq!(privileged_nop),
        M::Hlt => end!(hlt),
        M::Cli => seq!(cli),
        M::Sti => end!(sti),
        M::Rdtsc => seq!(rdtsc),
        M::Rdtscp => seq!(rdtscp),
        M::Cpuid => end!(crate::cpuid::cpuid),
        M::Rdmsr => end!(crate::msr::rdmsr),
        M::Wrmsr => end!(crate::msr::wrmsr),
        M::Rdfsbase if op.size == 4 => seq!(read_base::<FS, u32>),
        M::Rdfsbase => seq!(read_base::<FS, u64>),
        M::Rdgsbase if op.size == 4 => seq!(read_base::<GS, u32>),
        M::Rdgsbase => seq!(read_base::<GS, u64>),
        M::Wrfsbase if op.size == 4 => seq!(write_base::<FS, u32>),
        M::Wrfsbase => seq!(write_base::<FS, u64>),
        M::Wrgsbase if op.size == 4 => seq!(write_base::<GS, u32>),
        M::Wrgsbase => seq!(write_base::<GS, u64>),
        _ => None,
    }
}
