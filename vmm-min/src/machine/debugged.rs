//! A run that a debugger stops and lets run on.

use std::fmt;

use emu_min::DebugStop;

use super::{Run, RunError};
use crate::cpu::VirtualCpu;
use crate::memory::GuestRam;
use crate::outcome::End;
use crate::stop::StopHandle;
use crate::witness::Witness;

/// Why a run does not go on by itself.
#[derive(Debug)]
pub(crate) enum Pause {
    /// It is over.
    End(Box<End>),
    /// What a debugger asked of the CPU has happened.
    Debug(DebugStop),
    /// The debugger has something to do.
    Asked,
}

/// What a run must know while a debugger has it.
#[derive(Debug, Default)]
pub(crate) struct Debugged {
    /// One instruction is to be executed: interrupts wait.
    pub(super) stepping: bool,
    /// The guest had halted when the debugger was asked for: it is to sleep on.
    pub(super) asleep: bool,
    /// Pause as soon as the kernel says that ring 3 is next.
    seeks_ring3: bool,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// Runs to the end, whatever a debugger asked for.
pub(super) fn until_end<W: Witness>(run: &mut Run<'_>, witness: &mut W) -> Result<End, RunError> {
    loop {
        match run.until_pause(witness)? {
            Pause::End(end) => return Ok(*end),
            Pause::Debug(_) => {}
            Pause::Asked => run.machine.stop.heed(),
        }
    }
}

impl Run<'_> {
    /// Prepares the next stretch: one instruction if `stepping`.
    pub(crate) fn step(&mut self, stepping: bool) {
        self.debugged.stepping = stepping;
        if std::mem::take(&mut self.debugged.asleep) {
            self.idle();
        }
    }

    /// What passed since the guest ran is nobody's time.
    pub(crate) fn away(&mut self) {
        let skipped = self.account.skip();
        self.machine.cpu.away(skipped);
    }

    pub(crate) fn pause_near_ring3(&mut self) {
        self.debugged.seeks_ring3 = true;
    }

    pub(crate) fn is_near_ring3(&self) -> bool {
        self.ring3_at.is_some()
    }

    /// The kernel has said that ring 3 is next.
    pub(super) fn near_ring3(&mut self) {
        if std::mem::take(&mut self.debugged.seeks_ring3) {
            self.machine.stop.attend();
        }
    }

    pub(crate) fn stop_handle(&self) -> &StopHandle {
        &self.machine.stop
    }

    pub(crate) fn cpu(&mut self) -> &mut dyn VirtualCpu {
        &mut *self.machine.cpu
    }

    pub(crate) fn ram(&self) -> &GuestRam {
        &self.machine.ram
    }
}
