//! The means of a debugger on KVM's vCPU: registers, and breakpoints as INT3 in guest RAM or as the processor's own. What stops the
//! guest for them is in [`super::kvm_debug`].

use emu_min::{DebugStop, Trigger, Watchpoint};
use kvm_ioctls::VcpuExit;

use super::kvm::{KvmCpu, refused};
use super::kvm_debug::{KvmDebug, SLOTS, breakpoint};
use super::{CpuError, Registers, VirtualCpu};
use crate::debug::{DebugCpu, FloatRegisters, INT3, InsertError, Patch};
use crate::walk::walk;

/// Hardware breakpoints that PVM leaves, since handlers need the others.
const PVM_SLOTS: usize = 1;

/// Whether an address lies in the upper half, which is a kernel's.
const fn is_of_kernel(address: u64) -> bool {
    address >> 63 != 0
}

impl KvmCpu {
    /// Guest-physical address and value of a byte of code, if an INT3 there would be met: as long as a kernel starts, programs'
    /// addresses lead elsewhere, if anywhere.
    fn code_at(&self, registers: &Registers, linear: u64) -> Option<(u64, u8)> {
        let page = walk(self.ram(), registers, linear).end.ok()?;
        let mut byte = [0];
        let met = registers.paging() && (is_of_kernel(linear) || page.user);
        (met && self.ram().read(page.gpa, &mut byte) == 1).then_some((page.gpa, byte[0]))
    }

    /// What a debugger has set, once there is one.
    fn debugger(&mut self) -> Result<&mut KvmDebug, CpuError> {
        self.debug.as_deref_mut().ok_or(CpuError::Unsupported { cpu: "KVM", ability: "be debugged without a debugger" })
    }

    fn hardware_point(&mut self, point: Watchpoint) -> Result<(), InsertError> {
        let debug = self.debugger()?;
        let slots = if debug.pvm { PVM_SLOTS } else { SLOTS };
        if debug.hardware.len() >= slots {
            return Err(InsertError::NoneLeft { slots });
        }
        debug.hardware.push(point);
        Ok(())
    }
}

impl DebugCpu for KvmCpu {
    fn complete(&mut self) -> Result<Option<DebugStop>, CpuError> {
        // KVM completes an access when the CPU is run again, and then leaves at once (api.rst, 5, immediate_exit).
        for _ in 0..SLOTS {
            self.vcpu().set_kvm_immediate_exit(1);
            let seen = match self.vcpu().run() {
                Ok(VcpuExit::Debug(info)) => Some((info.pc, info.dr6)),
                Ok(_) => None,
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => break,
                Err(e) => return Err(refused("KVM_RUN")(e)),
            };
            if let Some((pc, dr6)) = seen {
                self.vcpu().set_kvm_immediate_exit(0);
                return self.debug_exit(pc, dr6);
            }
        }
        self.vcpu().set_kvm_immediate_exit(0);
        Ok(None)
    }

    fn set_registers(&mut self, registers: &Registers) -> Result<(), CpuError> {
        let mut regs = self.vcpu().get_regs().map_err(refused("KVM_GET_REGS"))?;
        let g = &registers.gpr;
        [regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi] =
            [g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]];
        [regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15] =
            [g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]];
        (regs.rip, regs.rflags) = (registers.rip, registers.rflags);
        let mut sregs = self.vcpu().get_sregs().map_err(refused("KVM_GET_SREGS"))?;
        let before = sregs;
        let [es, _, _, ds, fs, gs] = &registers.segments;
        for (target, source) in
            [&mut sregs.es, &mut sregs.ds, &mut sregs.fs, &mut sregs.gs].into_iter().zip([es, ds, fs, gs])
        {
            (target.selector, target.base) = (source.selector, source.base);
        }
        if sregs != before {
            self.vcpu().set_sregs(&sregs).map_err(refused("KVM_SET_SREGS"))?;
        }
        self.vcpu().set_regs(&regs).map_err(refused("KVM_SET_REGS"))
    }

    fn float_registers(&mut self) -> Result<FloatRegisters, CpuError> {
        self.floats()
    }

    fn set_float_registers(&mut self, registers: &FloatRegisters) -> Result<(), CpuError> {
        self.set_floats(registers)
    }

    fn insert(&mut self, point: Watchpoint) -> Result<(), InsertError> {
        let pvm = self.debug.as_deref().is_some_and(|debug| debug.pvm);
        let (address, size) = (point.address, point.size);
        match point.trigger {
            Trigger::Execute => {
                let registers = self.registers()?;
                match self.code_at(&registers, address) {
                    Some((gpa, byte)) => {
                        let debug = self.debugger()?;
                        let known = debug.patches.iter().find(|patch| patch.gpa == gpa).map(|patch| patch.original);
                        debug.patches.push(Patch { linear: address, gpa, original: known.unwrap_or(byte) });
                        self.ram().write(gpa, &[INT3]);
                        Ok(())
                    }
                    // Of hardware breakpoints in ring 3 PVM hears nothing.
                    None if pvm && !is_of_kernel(address) => Err(InsertError::Unmapped { address }),
                    None => self.hardware_point(breakpoint(address)),
                }
            }
            _ if pvm => Err(InsertError::NoWatchpoints),
            Trigger::Read => Err(InsertError::Shape),
            Trigger::Write | Trigger::Access => {
                if !matches!(size, 1 | 2 | 4 | 8) || !address.is_multiple_of(size) {
                    return Err(InsertError::Shape);
                }
                self.hardware_point(point)
            }
        }
    }

    fn remove(&mut self, point: Watchpoint) -> bool {
        let Some(debug) = self.debug.as_deref_mut() else { return false };
        if point.trigger == Trigger::Execute
            && let Some(index) = debug.patches.iter().position(|patch| patch.linear == point.address)
        {
            let patch = debug.patches.swap_remove(index);
            if debug.patches.iter().all(|other| other.gpa != patch.gpa) {
                let mut byte = [0];
                self.ram().read(patch.gpa, &mut byte);
                // Whatever else is there now, the guest has put there.
                if byte == [INT3] {
                    self.ram().write(patch.gpa, &[patch.original]);
                }
            }
            return true;
        }
        let same = |known: &Watchpoint| {
            let code = point.trigger == Trigger::Execute && known.trigger == Trigger::Execute;
            *known == point || code && known.address == point.address
        };
        let found = debug.hardware.iter().position(same);
        if let Some(index) = found {
            debug.hardware.swap_remove(index);
        }
        found.is_some()
    }

    fn patches(&mut self) -> &mut [Patch] {
        self.debug.as_deref_mut().map_or(&mut [], |debug| &mut debug.patches)
    }

    fn arm(&mut self, step: bool) -> Result<Option<DebugStop>, CpuError> {
        let registers = self.registers()?;
        let Some(debug) = self.debug.as_deref_mut() else { return Ok(None) };
        debug.step = step.then_some(registers.cpl);
        debug.passing = false;
        if step
            && debug.pvm
            && let Some(frame) = self.return_to_ring3(&registers)?
        {
            self.put_back(&frame, frame.rip)?;
            return Ok(Some(DebugStop::Step));
        }
        self.program(&registers)?;
        Ok(None)
    }
}
