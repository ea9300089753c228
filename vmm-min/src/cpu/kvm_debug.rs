//! What a debugger does to KVM's vCPU, and how it makes do where the backend does less than KVM_SET_GUEST_DEBUG promises.
//!
//! A breakpoint is an INT3 in guest RAM; where there is no memory yet, and for data, it is one of the processor's four.
//!
//! The PVM backend lets debug exceptions of ring 3, which runs natively, go to the guest, and emulates ring 0, where it refuses
//! INT3 but honours breakpoints on instructions. So on PVM the handlers of #BP and #DB get breakpoints of their own; where a
//! guest arrives there for the debugger's sake, the interrupt frame says where it was, and it is put back. An INT3 in ring 0 is
//! known by the internal error that it makes.
//!
//! Nor does PVM end a step at a return to ring 3; such an instruction is executed here instead.
//!
//! A single step sets the trap flag, which a guest saves when it enters its kernel; it is taken out there again. Since SYSCALL
//! may clear the flag, the way into the kernel gets breakpoints where the processor has some left.
//! Source: Linux `Documentation/virt/kvm/api.rst`, 4.87, KVM_SET_GUEST_DEBUG.

use std::path::Path;

use emu_min::{DebugStop, Trigger, Watchpoint};
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, Msrs,
    kvm_guest_debug, kvm_msr_entry, kvm_segment,
};

use super::kvm::{KvmCpu, refused};
use super::{CpuError, Registers, VirtualCpu};
use crate::debug::{DebugCpu, Patch};
use crate::walk::translate;

/// Hardware breakpoints of the processor.
pub(super) const SLOTS: usize = 4;
const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;
const DB: u64 = 1;
const BP: u64 = 3;
const PF: u64 = 14;
const IA32_STAR: u32 = 0xc000_0081;
const IA32_LSTAR: u32 = 0xc000_0082;

/// What a hardware breakpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The debugger's own.
    Point(Watchpoint),
    /// The guest's handler of #BP: its frame tells which INT3 it was.
    Breakpoint,
    /// The guest's handler of #DB: a step is done.
    Trap,
    /// Another way into the kernel: a step is done.
    Entry,
}

/// What a debugger has set.
#[derive(Debug)]
pub(super) struct KvmDebug {
    pub(super) pvm: bool,
    pub(super) patches: Vec<Patch>,
    pub(super) hardware: Vec<Watchpoint>,
    /// One instruction is to be executed, from this privilege level.
    pub(super) step: Option<u8>,
    /// The hardware breakpoints in force.
    slots: Vec<(u64, Purpose)>,
    /// One instruction is executed without them, since the guest came to one for its own sake.
    pub(super) passing: bool,
}

impl KvmDebug {
    pub(super) fn new() -> Self {
        Self {
            pvm: Path::new("/sys/module/kvm_pvm").exists(),
            patches: Vec::new(),
            hardware: Vec::new(),
            step: None,
            slots: Vec::new(),
            passing: false,
        }
    }

    fn patch_at(&self, linear: u64) -> Option<DebugStop> {
        self.patches.iter().any(|patch| patch.linear == linear).then(|| DebugStop::Met(breakpoint(linear)))
    }
}

pub(super) fn breakpoint(address: u64) -> Watchpoint {
    Watchpoint { trigger: Trigger::Execute, address, size: 1 }
}

/// An interrupt frame of 64-bit mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Frame {
    const fn is_of_ring3(&self) -> bool {
        self.cs & 3 == 3
    }
}

impl KvmCpu {
    /// What a KVM_EXIT_DEBUG means to the debugger; `None` if nothing.
    pub(super) fn debug_exit(&mut self, pc: u64, dr6: u64) -> Result<Option<DebugStop>, CpuError> {
        let registers = self.registers()?;
        let Some(debug) = self.debug.as_deref_mut() else { return Ok(None) };
        let step = debug.step;
        if std::mem::take(&mut debug.passing) {
            self.program(&registers)?;
            return Ok(step.map(|_| DebugStop::Step));
        }
        let here = debug.slots.iter().find(|(address, purpose)| *address == pc && !watches_data(purpose)).copied();
        let patch = debug.patch_at(pc);
        let met = (0..).zip(&debug.slots).find_map(|(slot, (_, purpose))| match purpose {
            Purpose::Point(point) if dr6 >> slot & 1 != 0 => Some(DebugStop::Met(*point)),
            _ => None,
        });
        match here {
            Some((_, Purpose::Breakpoint)) => {
                let frame = self.frame(&registers, registers.gpr[4]).filter(Frame::is_of_ring3);
                let at = frame.map(|frame| frame.rip.wrapping_sub(1));
                let stop = at.and_then(|at| self.debug.as_deref().and_then(|debug| debug.patch_at(at)));
                if let (Some(frame), Some(at), Some(stop)) = (frame, at, stop) {
                    self.put_back(&frame, at)?;
                    return Ok(Some(stop));
                }
                return self.pass(&registers);
            }
            Some((_, Purpose::Trap)) => {
                if let Some(frame) = self.frame(&registers, registers.gpr[4]).filter(Frame::is_of_ring3) {
                    self.put_back(&frame, frame.rip)?;
                    return Ok(Some(DebugStop::Step));
                }
                return self.pass(&registers);
            }
            _ => {}
        }
        if step == Some(3) && registers.cpl < 3 {
            self.hide_trap_flag(&registers)?;
        }
        Ok(match here {
            Some((_, Purpose::Point(point))) => Some(DebugStop::Met(point)),
            _ => met.or(patch).or(step.map(|_| DebugStop::Step)),
        })
    }

    /// The breakpoint that made KVM give up, if one did: some backends cannot execute INT3 in ring 0.
    pub(super) fn refused_breakpoint(&mut self) -> Result<Option<DebugStop>, CpuError> {
        if self.debug.as_deref().is_none_or(|debug| debug.patches.is_empty()) {
            return Ok(None);
        }
        let rip = self.registers()?.linear_rip();
        Ok(self.debug.as_deref().and_then(|debug| debug.patch_at(rip)))
    }

    /// Lets the guest execute the instruction at a breakpoint that is none of the debugger's.
    fn pass(&mut self, registers: &Registers) -> Result<Option<DebugStop>, CpuError> {
        if let Some(debug) = self.debug.as_deref_mut() {
            debug.passing = true;
        }
        self.program(registers)?;
        Ok(None)
    }

    /// Tells KVM what to stop for.
    pub(super) fn program(&mut self, registers: &Registers) -> Result<(), CpuError> {
        let Some(debug) = self.debug.as_deref() else { return Ok(()) };
        let (pvm, step, passing) = (debug.pvm, debug.step, debug.passing);
        let mut slots: Vec<(u64, Purpose)> =
            debug.hardware.iter().map(|point| (point.address, Purpose::Point(*point))).collect();
        let software = !debug.patches.is_empty();
        let mut add = |address: Option<u64>, purpose| slots.extend(address.map(|address| (address, purpose)));
        if pvm && software {
            add(self.handler(registers, BP)?, Purpose::Breakpoint);
        }
        if step == Some(3) {
            if pvm {
                add(self.handler(registers, DB)?, Purpose::Trap);
            } else {
                add(Some(self.lstar()?), Purpose::Entry);
            }
            add(self.handler(registers, PF)?, Purpose::Entry);
        }
        slots.truncate(SLOTS);
        let mut order = kvm_guest_debug::default();
        if passing {
            order.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        } else if software || step.is_some() || !slots.is_empty() {
            order.control = KVM_GUESTDBG_ENABLE;
            order.control |= if software { KVM_GUESTDBG_USE_SW_BP } else { 0 };
            order.control |= if step.is_some() { KVM_GUESTDBG_SINGLESTEP } else { 0 };
            order.control |= if slots.is_empty() { 0 } else { KVM_GUESTDBG_USE_HW_BP };
            for (index, (address, purpose)) in slots.iter().enumerate() {
                order.arch.debugreg[index] = *address;
                order.arch.debugreg[7] |= control(index, purpose);
            }
        }
        self.vcpu().set_guest_debug(&order).map_err(refused("KVM_SET_GUEST_DEBUG"))?;
        if let Some(debug) = self.debug.as_deref_mut() {
            debug.slots = slots;
        }
        Ok(())
    }

    /// Where the handler of a vector begins, if the guest has one.
    fn handler(&mut self, registers: &Registers, vector: u64) -> Result<Option<u64>, CpuError> {
        let idt = self.vcpu().get_sregs().map_err(refused("KVM_GET_SREGS"))?.idt;
        let Some([low, high]) = self.words(registers, idt.base.wrapping_add(vector * 16)) else { return Ok(None) };
        let is_there = registers.long_mode() && vector * 16 + 15 <= u64::from(idt.limit) && low >> 47 & 1 != 0;
        Ok(is_there.then_some(low & 0xffff | low >> 48 << 16 | high << 32))
    }

    /// Where SYSCALL leads.
    fn lstar(&mut self) -> Result<u64, CpuError> {
        self.msr(IA32_LSTAR)
    }

    fn msr(&mut self, index: u32) -> Result<u64, CpuError> {
        let entry = kvm_msr_entry { index, ..Default::default() };
        let mut list = Msrs::from_entries(&[entry]).map_err(|e| CpuError::Unexpected(e.to_string()))?;
        self.vcpu().get_msrs(&mut list).map_err(refused("KVM_GET_MSRS"))?;
        Ok(list.as_slice().first().map_or(0, |entry| entry.data))
    }

    /// Takes the trap flag of a step out of what the guest saved as it entered its kernel.
    fn hide_trap_flag(&mut self, registers: &Registers) -> Result<(), CpuError> {
        let lstar = self.lstar()?;
        let task = self.vcpu().get_sregs().map_err(refused("KVM_GET_SREGS"))?.tr;
        // RSP0 of the 64-bit TSS (Intel SDM volume 3, 9.7).
        let frame = self.words(registers, task.base.wrapping_add(4)).and_then(|[rsp0]| {
            let place = (rsp0 & !15).wrapping_sub(40);
            self.frame(registers, place).filter(Frame::is_of_ring3).map(|frame| (place, frame))
        });
        if let Some((place, frame)) = frame
            && frame.rflags & TF != 0
            && let Ok(gpa) = translate(self.ram(), registers, place.wrapping_add(16))
        {
            self.ram().write(gpa, &(frame.rflags & !TF).to_le_bytes());
        }
        // SYSCALL saves the flags in R11; where it ends in a page fault, that is still so.
        let by_syscall = registers.rip == lstar || frame.is_some_and(|(_, frame)| frame.rip == lstar);
        if by_syscall && registers.gpr[11] & TF != 0 {
            let mut changed = *registers;
            changed.gpr[11] &= !TF;
            self.set_registers(&changed)?;
        }
        Ok(())
    }

    /// Where the next instruction returns to, if it is IRETQ or SYSRETQ in ring 0 that returns to ring 3.
    pub(super) fn return_to_ring3(&mut self, registers: &Registers) -> Result<Option<Frame>, CpuError> {
        let mut code = [0; 3];
        let place = translate(self.ram(), registers, registers.rip);
        let read = place.map_or(0, |gpa| self.ram().read(gpa, &mut code));
        if registers.cpl != 0 || !registers.long_mode() || read < code.len() {
            return Ok(None);
        }
        Ok(match code {
            [0x48, 0xcf, _] => self.frame(registers, registers.gpr[4]).filter(Frame::is_of_ring3),
            [0x48, 0x0f, 0x07] => {
                // Intel SDM volume 2, SYSRET.
                let base = self.msr(IA32_STAR)? >> 48;
                let (rip, rflags, rsp) = (registers.gpr[1], registers.gpr[11], registers.gpr[4]);
                Some(Frame { rip, cs: base.wrapping_add(16) | 3, rflags, rsp, ss: base.wrapping_add(8) | 3 })
            }
            _ => None,
        })
    }

    /// Puts the guest into ring 3 at `rip`: back to before an exception, or on to where it returns.
    pub(super) fn put_back(&mut self, frame: &Frame, rip: u64) -> Result<(), CpuError> {
        let mut sregs = self.vcpu().get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        let flat = |selector: u64, type_| kvm_segment {
            limit: u32::MAX,
            selector: selector as u16,
            type_,
            present: 1,
            dpl: 3,
            s: 1,
            g: 1,
            ..Default::default()
        };
        // As SYSRET sets them (Intel SDM volume 2, SYSRET).
        sregs.cs = kvm_segment { l: 1, ..flat(frame.cs, 0xb) };
        sregs.ss = kvm_segment { db: 1, ..flat(frame.ss, 3) };
        self.vcpu().set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        let mut regs = self.vcpu().get_regs().map_err(refused("KVM_GET_REGS"))?;
        (regs.rip, regs.rsp, regs.rflags) = (rip, frame.rsp, frame.rflags & !(TF | RF));
        self.vcpu().set_regs(&regs).map_err(refused("KVM_SET_REGS"))
    }

    fn frame(&self, registers: &Registers, linear: u64) -> Option<Frame> {
        self.words(registers, linear).map(|[rip, cs, rflags, rsp, ss]| Frame { rip, cs, rflags, rsp, ss })
    }

    /// Words at a linear address, if all are there.
    fn words<const N: usize>(&self, registers: &Registers, linear: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, i) in words.iter_mut().zip(0..) {
            *word = self.ram().read_u64(translate(self.ram(), registers, linear.wrapping_add(i * 8)).ok()?)?;
        }
        Some(words)
    }
}

/// Whether it is an access that is waited for, not an instruction.
fn watches_data(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Point(point) if point.trigger != Trigger::Execute)
}

/// The bits of DR7 for a breakpoint in this slot, globally enabled (Intel SDM volume 3, 18.2.4).
fn control(slot: usize, purpose: &Purpose) -> u64 {
    let (kind, size) = match purpose {
        Purpose::Point(Watchpoint { trigger: Trigger::Write, size, .. }) => (1, *size),
        Purpose::Point(Watchpoint { trigger: Trigger::Read | Trigger::Access, size, .. }) => (3, *size),
        _ => (0, 1),
    };
    let length = match size {
        2 => 1,
        4 => 3,
        8 => 2,
        _ => 0,
    };
    0x600 | 2 << (slot * 2) | kind << (16 + slot * 4) | length << (18 + slot * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bits_are_those_of_the_manual() {
        let data = |trigger, size| Purpose::Point(Watchpoint { trigger, address: 0x1000, size });
        assert_eq!(control(0, &Purpose::Trap), 0x602);
        assert_eq!(control(3, &Purpose::Point(breakpoint(1))), 0x680);
        assert_eq!(control(1, &data(Trigger::Write, 4)), 0x600 | 8 | 0xd << 20);
        assert_eq!(control(0, &data(Trigger::Access, 8)), 0x600 | 2 | 0xb << 16);
    }
}
