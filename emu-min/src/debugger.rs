//! What a debugger outside the guest asks of the processor: breakpoints, watchpoints and single steps that the guest does
//! not see.
//!
//! They take the way of the guest's own ([`crate::debug`]): while anything is asked for, instructions run one at a time, and
//! no page with a watched address enters the TLB. While nothing is, the run loop asks one thing where it looks for interrupts,
//! whether that is so ([`crate::debug::Debug::armed`]), and no instruction or block asks anything.

use crate::core::Core;
use crate::cpu::Cpu;
use crate::decode::linear_rip;

/// What a watchpoint waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The instruction at the address is next.
    Execute,
    /// The guest writes there.
    Write,
    /// The guest reads there.
    Read,
    /// The guest reads or writes there.
    Access,
}

/// A place at which a debugger wants the guest stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watchpoint {
    /// What happens there.
    pub trigger: Trigger,
    /// Linear address of the first byte.
    pub address: u64,
    /// Bytes; an instruction is found by its first, whatever this says.
    pub size: u64,
}

impl Watchpoint {
    /// Whether an access to `[start, start + size)` is what it waits for.
    fn is_met(&self, start: u64, size: u64, write: bool) -> bool {
        let awaited = match self.trigger {
            Trigger::Execute => false,
            Trigger::Write => write,
            Trigger::Read => !write,
            Trigger::Access => true,
        };
        awaited && self.touches(start, size)
    }

    fn touches(&self, start: u64, size: u64) -> bool {
        start.wrapping_sub(self.address) < self.size || self.address.wrapping_sub(start) < size
    }
}

/// Why the guest was stopped for a debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugStop {
    /// One instruction was executed, or led to the first of a handler.
    Step,
    /// The watchpoint was met: by the instruction at RIP, which was not executed, if it waits for that, or else by the one
    /// before, which is complete.
    Met(Watchpoint),
}

/// What a debugger asked for, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Debugger {
    points: Vec<Watchpoint>,
    pub(crate) stepping: bool,
    /// Met by the instruction in progress.
    met: Option<Watchpoint>,
    /// To be told before anything else is executed.
    due: Option<DebugStop>,
}

impl Debugger {
    /// Whether instructions must run one at a time.
    pub(crate) fn is_armed(&self) -> bool {
        self.stepping || !self.points.is_empty()
    }

    /// Whether data of the page of a linear address is watched.
    pub(crate) fn watches_page(&self, linear: u64) -> bool {
        self.points.iter().any(|point| point.trigger != Trigger::Execute && point.touches(linear & !0xfff, 0x1000))
    }

    /// Notes a data access; whether it is the first that a watchpoint of this instruction waits for.
    pub(crate) fn note(&mut self, linear: u64, size: u64, write: bool) -> bool {
        if self.met.is_some() {
            return false;
        }
        self.met = self.points.iter().find(|point| point.is_met(linear, size, write)).copied();
        self.met.is_some()
    }

    /// The stop at the instruction at a linear address, if there is a breakpoint.
    fn breakpoint(&self, linear: u64) -> Option<DebugStop> {
        let at = |point: &&Watchpoint| point.trigger == Trigger::Execute && point.address == linear;
        self.points.iter().find(at).map(|point| DebugStop::Met(*point))
    }
}

impl Core {
    /// What must be told before the next instruction.
    pub(crate) fn due_stop(&mut self) -> Option<DebugStop> {
        self.debug.debugger.due.take()
    }

    /// The breakpoint at the instruction at RIP, unless that one is still in progress.
    pub(crate) fn debugger_breakpoint(&self) -> Option<DebugStop> {
        if !self.debug.armed || self.mmio.in_progress() {
            return None;
        }
        self.debug.debugger.breakpoint(linear_rip(self, self.rip))
    }

    /// An instruction begins: what the one before met was told, or was not completed.
    pub(crate) fn begin_debugged(&mut self) {
        if !self.debug.armed {
            return;
        }
        self.debug.debugger.met = None;
        // A repetition ends after an element, as for a store to code: it counts as one instruction all the same.
        self.leave_block |= self.debug.debugger.stepping;
    }

    /// The instruction led to a handler.
    pub(crate) fn divert_debugged(&mut self) {
        if self.debug.armed {
            self.debug.debugger.met = None;
            self.end_debugged();
        }
    }

    /// An instruction is complete.
    pub(crate) fn end_debugged(&mut self) {
        if !self.debug.armed {
            return;
        }
        self.debug.debugger.due = match self.debug.debugger.met.take() {
            Some(point) => Some(DebugStop::Met(point)),
            None => self.debug.debugger.stepping.then_some(DebugStop::Step),
        };
    }
}

impl Cpu {
    /// Replaces the watchpoints of a debugger. [`Exit::Debug`](crate::Exit::Debug) says when one is met; a breakpoint is met again
    /// by whoever runs on at it.
    ///
    /// The guest executes one instruction at a time while there are any.
    pub fn set_watchpoints(&mut self, points: &[Watchpoint]) {
        let debugger = &mut *self.core.debug.debugger;
        debugger.points = points.to_vec();
        // Of one that is gone nobody wants to hear.
        debugger.due = debugger.due.filter(|due| !matches!(due, DebugStop::Met(point) if !points.contains(point)));
        self.core.arm_breakpoints();
    }

    /// What [`Cpu::run`] would return as [`Exit::Debug`](crate::Exit::Debug) before it executes anything more; it does not return it then.
    pub fn take_debug_stop(&mut self) -> Option<DebugStop> {
        self.core.due_stop()
    }

    /// Makes [`Cpu::run`] return [`Exit::Debug`](crate::Exit::Debug) after one instruction, or one element of a repeated one, or when
    /// that has led to a handler; or no longer do so. External interrupts wait meanwhile.
    pub fn set_stepping(&mut self, on: bool) {
        let debugger = &mut *self.core.debug.debugger;
        debugger.due = debugger.due.filter(|due| on || *due != DebugStop::Step);
        debugger.stepping = on;
        self.core.bulk = self.mechanisms.bulk && !on;
        self.core.leave_block = false;
        self.core.arm_breakpoints();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchpoint_waits_for_its_own_kind_of_access() {
        let point = |trigger| Watchpoint { trigger, address: 0x1008, size: 4 };
        for (trigger, read, write) in [
            (Trigger::Execute, false, false),
            (Trigger::Write, false, true),
            (Trigger::Read, true, false),
            (Trigger::Access, true, true),
        ] {
            for (start, size, touches) in [(0x1000, 8, false), (0x1000, 9, true), (0x100b, 1, true), (0x100c, 8, false)]
            {
                assert_eq!(point(trigger).is_met(start, size, false), read && touches, "{trigger:?} {start:x}");
                assert_eq!(point(trigger).is_met(start, size, true), write && touches, "{trigger:?} {start:x}");
            }
        }
    }

    #[test]
    fn only_data_keeps_a_page_out_of_the_tlb() {
        let mut debugger = Debugger::default();
        assert!(!debugger.is_armed());
        debugger.points = vec![Watchpoint { trigger: Trigger::Execute, address: 0x1008, size: 1 }];
        assert!(debugger.is_armed() && !debugger.watches_page(0x1008));
        debugger.points.push(Watchpoint { trigger: Trigger::Read, address: 0x2ffe, size: 4 });
        assert!(debugger.watches_page(0x2123) && debugger.watches_page(0x3123) && !debugger.watches_page(0x4000));
    }
}
