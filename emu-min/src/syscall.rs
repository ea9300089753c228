//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the software interrupts.

use iced_x86::Mnemonic;

use crate::core::{CS, Core, EFER_SCE, GS, Mode, Pending, R11, RCX, RDX, RSP, SS};
use crate::exception::{BP, OF, UD};
use crate::flags::{IF, RF, VM};
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
    core.step_by_new_flags();
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
    core.step_by_new_flags();
    Ok(())
}

/// SYSENTER: to ring 0 as the MSRs say; nothing of the caller is kept.
fn sysenter(core: &mut Core, _: &Op) -> R {
    let [selector, rsp, rip] = core.msrs.sysenter;
    let selector = selector as u16 & !3;
    if selector == 0 {
        return Err(core.gp());
    }
    let long = core.long_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    core.system_flags &= !(IF | VM | RF);
    core.r[RSP] = rsp & mask;
    core.rip = rip & mask;
    core.seg[SS] = flat(selector.wrapping_add(8), false, true, 0);
    core.set_cs(flat(selector, true, long, 0), 0);
    Ok(())
}

/// SYSEXIT to 64-bit (`LONG`) or 32-bit code at RDX with the stack at RCX.
fn sysexit<const LONG: bool>(core: &mut Core, _: &Op) -> R {
    let selector = core.msrs.sysenter[0] as u16 & !3;
    if selector == 0 || core.cpl() != 0 {
        return Err(core.gp());
    }
    let (rsp, rip) = (core.r[RCX], core.r[RDX]);
    if LONG && !(canonical(rsp) && canonical(rip)) {
        return Err(core.gp());
    }
    let mask = if LONG { u64::MAX } else { 0xffff_ffff };
    let selector = selector.wrapping_add(if LONG { 32 } else { 16 }) | 3;
    core.r[RSP] = rsp & mask;
    core.rip = rip & mask;
    core.seg[SS] = flat(selector.wrapping_add(8), false, true, 3);
    core.set_cs(flat(selector, true, LONG, 3), 3);
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
        Mnemonic::Sysenter => end!(sysenter),
        Mnemonic::Sysexitq => end!(sysexit::<true>),
        Mnemonic::Sysexit => end!(sysexit::<false>),
        Mnemonic::Swapgs => end!(swapgs),
        Mnemonic::Int => end!(int),
        Mnemonic::Int3 => end!(int3),
        Mnemonic::Int1 => end!(int1),
        Mnemonic::Into => end!(into),
        _ => None,
    }
}
