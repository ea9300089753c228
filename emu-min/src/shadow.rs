//! Instruction boundaries at which some events are held off: after STI, MOV SS and POP SS, and within a repetition.

use crate::core::Core;
use crate::flags::{RF, TF};

impl Core {
    /// Whether the next instruction must be executed by itself.
    pub(crate) fn must_step(&self) -> bool {
        let resuming = self.system_flags & RF != 0 && self.resume_until == u64::MAX;
        let flagged = self.system_flags & TF != 0 || resuming;
        flagged || self.in_shadow() || self.mmio.in_progress() || self.debug.armed
    }

    pub(crate) fn in_shadow(&self) -> bool {
        self.icount < self.shadow_until
    }

    pub(crate) fn in_stack_shadow(&self) -> bool {
        self.stack_shadow && self.in_shadow()
    }

    /// A repeated string instruction is left with elements to go: RF keeps an instruction breakpoint at it from firing
    /// again when it goes on (Intel SDM volume 3, 18.3.1.1).
    pub(crate) fn interrupt_repetition(&mut self) {
        self.system_flags |= RF;
        self.resume_until = u64::MAX;
        self.look_around();
    }

    /// RF was loaded by an IRET that is operation `op_number` of its block: the next instruction ends it. That one need not
    /// run by itself, unless a breakpoint is enabled: handlers of faults return so all the time.
    pub(crate) fn lapse_resume_flag(&mut self, op_number: u8) {
        self.resume_until = self.icount + u64::from(op_number) + 2;
    }

    /// Clears RF if the instruction that ends it is done.
    pub(crate) fn settle_resume_flag(&mut self) {
        if self.icount >= self.resume_until {
            self.system_flags &= !RF;
        }
    }

    /// Holds interrupts off until the instruction after the current one is done, and NMIs and debug traps too if it
    /// loaded SS. Of several such instructions in a row only the first does so (Intel SDM volume 3, 7.8.3). Only for
    /// operations that end a block.
    pub(crate) fn begin_shadow(&mut self, op_number: u8, stack: bool) {
        let now = self.icount + u64::from(op_number);
        if now >= self.shadow_until {
            self.shadow_until = now + 2;
            self.stack_shadow = stack;
            self.look_around();
        }
    }
}
