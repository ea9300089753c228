//! SYSCALL, SYSRET, SWAPGS and the software interrupts.

use iced_x86::Mnemonic;

use crate::core::{CS, Core, EFER_SCE, GS, Mode, Pending, R11, RCX, SS};
use crate::exception::{BP, OF, UD};
use crate::flags::{RF, VM};
use crate::op::{Op, R, Selected, Trap, end};
use crate::paging::canonical;
use crate::state::Segment;

/// The flat segments that SYSCALL and SYSRET load without reading descriptors.
fn flat(selector: u16, code: bool, long: bool, cpl: u8) -> Segment {
    let kind = if code { 0x9b } else { 0x93 } | u16::from(cpl) << 5;
    let size = if code && long { 0xa000 } else { 0xc000 };
    Segment { selector, base: 0, limit: u32::MAX, attributes: kind | size }
}

fn syscall(core: &mut Core, op: &Op) -> R {
    if core.efer & EFER_SCE == 0 || !core.long_mode() {
        return Err(core.fault(UD));
    }
    core.r[RCX] = op.next_rip();
    core.r[R11] = core.rflags() & !RF;
    core.rip = if core.mode == Mode::Bits64 { core.msrs.lstar } else { core.msrs.cstar };
    let selector = (core.msrs.star >> 32) as u16;
    let rflags = core.rflags() & !core.msrs.fmask & !RF;
    core.set_rflags(rflags);
    core.seg[SS] = flat((selector & !3).wrapping_add(8), false, true, 0);
    core.set_cs(flat(selector & !3, true, true, 0), 0);
    Ok(())
}

/// SYSRET to 64-bit (`LONG`) or 32-bit code.
fn sysret<const LONG: bool>(core: &mut Core, _: &Op) -> R {
    if core.efer & EFER_SCE == 0 || !core.long_mode() {
        return Err(core.fault(UD));
    }
    if core.cpl() != 0 || (LONG && !canonical(core.r[RCX])) {
        return Err(core.gp());
    }
    let base = (core.msrs.star >> 48) as u16;
    let rflags = (core.r[R11] & 0x003f_7fd7 & !(RF | VM)) | 2;
    core.rip = if LONG { core.r[RCX] } else { core.r[RCX] & 0xffff_ffff };
    core.set_rflags(rflags);
    let selector = if LONG { base.wrapping_add(16) } else { base };
    core.seg[SS] = flat(base.wrapping_add(8) | 3, false, true, 3);
    core.set_cs(flat(selector | 3, true, LONG, 3), 3);
    Ok(())
}

fn swapgs(core: &mut Core, _: &Op) -> R {
    if core.mode != Mode::Bits64 {
        return Err(core.fault(UD));
    }
    if core.seg[CS].selector & 3 != 0 {
        return Err(core.gp());
    }
    std::mem::swap(&mut core.seg[GS].base, &mut core.msrs.kernel_gs_base);
    core.update_mode();
    Ok(())
}

fn soft(core: &mut Core, vector: u8) -> R {
    core.pending = Pending::Soft { vector };
    Err(Trap)
}

fn int(core: &mut Core, op: &Op) -> R {
    soft(core, op.imm as u8)
}

fn int3(core: &mut Core, _: &Op) -> R {
    soft(core, BP)
}

fn int1(core: &mut Core, _: &Op) -> R {
    core.pending = Pending::Int1;
    Err(Trap)
}

fn into(core: &mut Core, _: &Op) -> R {
    if core.flags.of() { soft(core, OF) } else { Ok(()) }
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Syscall => end!(syscall),
        Mnemonic::Sysretq => end!(sysret::<true>),
        Mnemonic::Sysret => end!(sysret::<false>),
        Mnemonic::Swapgs => end!(swapgs),
        Mnemonic::Int => end!(int),
        Mnemonic::Int3 => end!(int3),
        Mnemonic::Int1 => end!(int1),
        Mnemonic::Into => end!(into),
        _ => None,
    }
}
