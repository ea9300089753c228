//! Steps that go over the kernel: from one instruction of ring 3 to the next, whatever lies between.

use vmm_min::{DebugStop, Registers, RunError, Stop, Trigger, Watchpoint};

use super::target::Guest;

/// SYSCALL.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// How often an instruction may come back undone, for a page that is missing, before the step ends where it is.
const RETRIES: usize = 16;

/// A step that has begun. It outlasts a call of the debugger that comes to nothing.
#[derive(Debug)]
pub(super) struct StepOver {
    begun: Registers,
    /// The instruction is SYSCALL.
    is_call: bool,
    /// The kernel was entered, and has not returned yet.
    inside: bool,
    tries: usize,
}

impl StepOver {
    /// Where the kernel returns to.
    const fn back(&self) -> u64 {
        if self.is_call { self.begun.rip.wrapping_add(SYSCALL.len() as u64) } else { self.begun.rip }
    }
}

impl Guest<'_, '_, '_> {
    /// Executes an instruction of ring 3; where that enters the kernel, the kernel runs until it has returned to the same
    /// address space: behind a system call, or to the instruction, which is then executed again. After [`Stop::Asked`] the next
    /// call goes on with that step.
    pub(super) fn step_over(&mut self) -> Result<Stop, RunError> {
        let mut step = match self.under_way.take() {
            Some(step) => step,
            None => {
                let begun = self.debuggee.registers()?;
                let mut code = [0; SYSCALL.len()];
                let is_call = self.debuggee.read(begun.rip, &mut code)? == SYSCALL.len() && code == SYSCALL;
                StepOver { begun, is_call, inside: false, tries: 0 }
            }
        };
        let stop = self.advance(&mut step)?;
        if stop == Stop::Asked {
            self.under_way = Some(step);
        }
        Ok(stop)
    }

    fn advance(&mut self, step: &mut StepOver) -> Result<Stop, RunError> {
        while step.inside || step.tries < RETRIES {
            if !step.inside {
                let stop = self.debuggee.resume(true)?;
                step.inside = step.begun.cpl == 3 && self.debuggee.registers()?.cpl != 3;
                if stop != Stop::Debug(DebugStop::Step) || !step.inside {
                    return Ok(stop);
                }
                step.tries += 1;
            }
            if let Some(other) = self.run_to(step.back(), &step.begun)? {
                return Ok(other);
            }
            if step.is_call {
                break;
            }
            step.inside = false;
        }
        Ok(Stop::Debug(DebugStop::Step))
    }

    /// Runs to an address of the same address space in ring 3; what else happened first, if something did.
    fn run_to(&mut self, address: u64, begun: &Registers) -> Result<Option<Stop>, RunError> {
        let point = Watchpoint { trigger: Trigger::Execute, address, size: 1 };
        loop {
            if self.debuggee.insert(point).is_err() {
                return Ok(Some(Stop::Debug(DebugStop::Step))); // in the kernel, then
            }
            let stop = self.debuggee.resume(false);
            self.debuggee.remove(point)?;
            match stop? {
                Stop::Debug(DebugStop::Met(met)) if met == point => {}
                other => return Ok(Some(other)),
            }
            if self.debuggee.registers()?.cr3 == begun.cr3 {
                return Ok(None);
            }
            // Another process has the same code there.
            match self.debuggee.resume(true)? {
                Stop::Debug(DebugStop::Step) => {}
                other => return Ok(Some(other)),
            }
        }
    }
}
