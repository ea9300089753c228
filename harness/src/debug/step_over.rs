//! Steps that go over the kernel: from one instruction of ring 3 to the next, whatever lies between.

use vmm_min::{DebugStop, Registers, RunError, Stop, Trigger, Watchpoint};

use super::target::Guest;

/// SYSCALL.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// How often an instruction may come back undone, for a page that is missing, before the step ends where it is.
const RETRIES: usize = 16;

impl Guest<'_, '_, '_> {
    /// Executes an instruction of ring 3; where that enters the kernel, the kernel runs until it has returned to the same
    /// address space: behind a system call, or to the instruction, which is then executed again.
    pub(super) fn step_over(&mut self) -> Result<Stop, RunError> {
        let begun = self.debuggee.registers()?;
        let mut code = [0; SYSCALL.len()];
        let is_call = self.debuggee.read(begun.rip, &mut code)? == SYSCALL.len() && code == SYSCALL;
        for _ in 0..RETRIES {
            let stop = self.debuggee.resume(true)?;
            let entered = begun.cpl == 3 && self.debuggee.registers()?.cpl != 3;
            if stop != Stop::Debug(DebugStop::Step) || !entered {
                return Ok(stop);
            }
            let back = if is_call { begun.rip.wrapping_add(SYSCALL.len() as u64) } else { begun.rip };
            match self.run_to(back, &begun)? {
                None if is_call => return Ok(Stop::Debug(DebugStop::Step)),
                None => {}
                Some(other) => return Ok(other),
            }
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
