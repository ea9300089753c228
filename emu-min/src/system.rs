//! Segment moves, FS and GS bases, interrupt flag, halting, time-stamp counter.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{CR4_FSGSBASE, CR4_TSD, Core, DS, ES, FS, GS, Mode, RAX, RCX, RDX, SS};
use crate::exception::UD;
use crate::exit::Exit;
use crate::flags::{AC, IF, IOPL};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, Selected, end, seq, store};
use crate::paging::canonical;

impl Core {
    /// #GP unless at privilege level 0.
    pub(crate) fn require_ring0(&mut self) -> R {
        if self.cpl() == 0 { Ok(()) } else { Err(self.gp()) }
    }

    fn rdtsc(&mut self, done: u8) -> R<u64> {
        if self.cr4 & CR4_TSD != 0 && self.cpl() != 0 {
            return Err(self.gp());
        }
        Ok(self.tsc(done))
    }
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
        core.begin_shadow(op.n, true);
    }
    Ok(())
}

/// LSS, LFS, LGS, LES, LDS: a far pointer into a segment register and a general register.
fn load_far<const INDEX: usize>(core: &mut Core, op: &Op) -> R {
    let size = u64::from(op.size);
    let address = core.linear(op, size + 2, false)?;
    core.check_alignment(address, size)?;
    let offset = core.load_as(address, size, core.user)?;
    let selector = core.load::<u16>(address.wrapping_add(size))? as u16;
    core.load_segment(INDEX, selector)?;
    by_size!(op.size, T => T::set(core, op.dst, offset));
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

/// STAC and CLAC: lets the supervisor at user pages, or keeps it from them, while CR4.SMAP is set.
fn set_ac<const ON: bool>(core: &mut Core, _: &Op) -> R {
    if core.cpl() != 0 {
        return Err(core.fault(UD));
    }
    core.system_flags = core.system_flags & !AC | if ON { AC } else { 0 };
    core.update_user();
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
        core.begin_shadow(op.n, false);
    }
    Ok(())
}

fn rdtsc(core: &mut Core, op: &Op) -> R {
    let tsc = core.rdtsc(op.n)?;
    u32::set(core, RAX as u8, tsc);
    u32::set(core, RDX as u8, tsc >> 32);
    Ok(())
}

fn rdtscp(core: &mut Core, op: &Op) -> R {
    rdtsc(core, op)?;
    u32::set(core, RCX as u8, core.msrs.tsc_aux);
    Ok(())
}

/// RDPMC: there are no performance counters, so no index is valid (CPUID leaf 0AH).
fn rdpmc(core: &mut Core, _: &Op) -> R {
    Err(core.gp())
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
        M::Lss => end!(load_far::<SS>),
        M::Lfs => end!(load_far::<FS>),
        M::Lgs => end!(load_far::<GS>),
        M::Les => end!(load_far::<ES>),
        M::Lds => end!(load_far::<DS>),
        M::Wbinvd | M::Invd => seq!(privileged_nop),
        M::Hlt => end!(hlt),
        M::Cli => seq!(cli),
        M::Sti => end!(sti),
        M::Rdtsc => seq!(rdtsc),
        M::Rdtscp => seq!(rdtscp),
        M::Rdpmc => end!(rdpmc),
        M::Stac => seq!(set_ac::<true>),
        M::Clac => seq!(set_ac::<false>),
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
