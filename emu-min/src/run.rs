//! The run loop: what executes instructions, and what happens between them.

use std::sync::atomic::Ordering;

use crate::block::MAX_OPS;
use crate::core::{Core, Pending};
use crate::cpu::Cpu;
use crate::decode::{decode_one, linear_rip};
use crate::delivery::Delivery;
use crate::exception::TripleFault;
use crate::exit::Exit;
use crate::fast;
use crate::flags::{RF, TF};
use crate::mechanisms::{Decode, FlagEvaluation};
use crate::op::{Flow, Op, OpRef};

/// Instructions after which the run loop looks at the stop flag at the latest (plus a block): about 0.1 ms, so that who
/// stops the CPU to interrupt it a thousand times a second is heard.
const QUANTUM: u64 = 10_000;
/// The same where every instruction is decoded, which is slower.
const STEPPED_QUANTUM: u64 = 500;
/// The same for translated code, which is faster.
const TRANSLATED_QUANTUM: u64 = 100_000;

/// What is next, between two instructions.
enum Between {
    /// The machine must act.
    Leave(Exit),
    /// An event was delivered; there may be another.
    Delivered,
    /// An instruction, within a budget of so many.
    Execute { left: u64 },
}

impl Cpu {
    /// Runs the guest until the machine around it must act.
    pub fn run(&mut self) -> Exit {
        self.core.sse.enter();
        self.core.look_around();
        let exit = match self.mechanisms.decode {
            _ if self.observer.is_some() => self.run_with(Self::observed_step),
            Decode::Each => self.run_with(Self::step),
            Decode::Cached if self.translator.is_some() => self.run_translated(),
            Decode::Cached => self.run_with(Self::run_block),
        };
        self.core.sse.leave();
        exit
    }

    #[inline(always)]
    fn run_with(&mut self, mut execute: impl FnMut(&mut Self) -> Flow) -> Exit {
        loop {
            if self.core.icount >= self.core.deadline
                && let Some(exit) = self.attend()
            {
                return exit;
            }
            if execute(self) == Flow::Trap
                && let Some(exit) = self.serve_trap()
            {
                return exit;
            }
        }
    }

    /// Looks for everything that may happen between instructions, executes those that must run alone, and sets the
    /// next deadline.
    #[cold]
    #[inline(never)]
    pub(crate) fn attend(&mut self) -> Option<Exit> {
        #[cfg(any(debug_assertions, feature = "planted"))]
        if let Some(dawdle) = &mut self.core.dawdle {
            dawdle.idle();
        }
        loop {
            let left = match self.between() {
                Between::Leave(exit) => return Some(exit),
                Between::Delivered => continue,
                Between::Execute { left } => left,
            };
            if !self.core.must_step() && left > MAX_OPS as u64 {
                let quantum = match self.mechanisms.decode {
                    Decode::Each => STEPPED_QUANTUM,
                    Decode::Cached if self.translator.is_some() => TRANSLATED_QUANTUM,
                    Decode::Cached => QUANTUM,
                };
                self.core.deadline = self.core.icount + quantum.min(left - MAX_OPS as u64);
                return None;
            }
            if let Some(exit) = self.step_alone() {
                return Some(exit);
            }
        }
    }

    /// Does what is to be done between two instructions, but for one event at most.
    #[inline(always)]
    fn between(&mut self) -> Between {
        if self.core.debug.armed { self.between_armed() } else { self.look::<false>() }
    }

    /// The same while a breakpoint is enabled, the guest's or a debugger's, or a debugger steps.
    #[cold]
    #[inline(never)]
    fn between_armed(&mut self) -> Between {
        self.look::<true>()
    }

    #[inline(always)]
    fn look<const ARMED: bool>(&mut self) -> Between {
        self.core.open = None;
        self.core.settle_tally();
        self.core.settle_resume_flag();
        match self.deliver_pending_trap() {
            Err(TripleFault) => return Between::Leave(Exit::TripleFault),
            Ok(true) => return Between::Delivered,
            Ok(false) => {}
        }
        if ARMED && let Some(stop) = self.core.due_stop() {
            return Between::Leave(Exit::Debug(stop));
        }
        if self.core.stop.swap(false, Ordering::Relaxed) {
            return Between::Leave(Exit::Stopped);
        }
        let left = self.core.budget_end.saturating_sub(self.core.icount);
        if left == 0 {
            return Between::Leave(Exit::BudgetExhausted);
        }
        // A debugger's step is one of the program, not into a handler.
        if !(ARMED && self.core.debug.debugger.stepping) {
            match self.deliver_interrupt() {
                Err(TripleFault) => return Between::Leave(Exit::TripleFault),
                Ok(true) => return Between::Delivered,
                Ok(false) => {}
            }
        }
        if self.interrupts_enabled() && !self.core.mmio.in_progress() && std::mem::take(&mut self.want_irq_window) {
            return Between::Leave(Exit::IrqWindow);
        }
        Between::Execute { left }
    }

    /// Does one thing: delivers an event that waits, or else executes one instruction (or some elements of a repeated one).
    /// [`Self::delivery`] then says what was delivered, if anything.
    ///
    /// `None` if the guest can go on; an [`Exit`] as from [`Self::run`], with which steps may be mixed. The instruction is
    /// decoded anew and executed as every strategy does it.
    pub fn single_step(&mut self) -> Option<Exit> {
        self.core.sse.enter();
        self.core.debug.delivered = None;
        let exit = match self.between() {
            Between::Leave(exit) => Some(exit),
            Between::Delivered => None,
            Between::Execute { .. } => self.step_alone(),
        };
        self.core.sse.leave();
        exit
    }

    /// What the last [`Self::single_step`] delivered: an interrupt, a trap, or the exception of the instruction. If that step
    /// ended in [`Exit::TripleFault`], the events that led there.
    pub fn delivery(&self) -> Option<Delivery> {
        self.core.debug.delivered
    }

    /// Delivers the debug traps of the instruction before: they come before interrupts (Intel SDM volume 3, 7.9). Whether
    /// there were any.
    #[inline]
    fn deliver_pending_trap(&mut self) -> Result<bool, TripleFault> {
        if self.core.debug.pending == 0 || self.core.in_stack_shadow() || self.core.mmio.in_progress() {
            return Ok(false);
        }
        let met = std::mem::take(&mut self.core.debug.pending);
        self.core.deliver_debug(met).map(|()| true)
    }

    /// Delivers a non-maskable or else an external interrupt, if one waits and can be taken.
    #[inline]
    fn deliver_interrupt(&mut self) -> Result<bool, TripleFault> {
        if self.core.mmio.in_progress() {
            return Ok(false);
        }
        if self.injected_nmi && !self.core.nmi_blocked && !self.core.in_stack_shadow() {
            self.injected_nmi = false;
            self.core.interrupts += 1;
            return self.core.deliver_nmi().map(|()| true);
        }
        if self.interrupts_enabled()
            && let Some(vector) = self.injected.take()
        {
            self.core.interrupts += 1;
            return self.core.deliver_external(vector).map(|()| true);
        }
        Ok(false)
    }

    /// Executes one instruction with all that single steps, breakpoints and shadows ask for.
    fn step_alone(&mut self) -> Option<Exit> {
        let core = &mut self.core;
        if let Some(stop) = core.debugger_breakpoint() {
            return Some(Exit::Debug(stop));
        }
        let stepping = core.system_flags & TF != 0;
        let resuming = core.system_flags & RF;
        if resuming == 0 && !core.mmio.in_progress() && !core.in_stack_shadow() {
            let met = core.instruction_breakpoints(linear_rip(core, core.rip));
            if met != 0 {
                core.charge();
                return core.deliver_debug(met).is_err().then_some(Exit::TripleFault);
            }
        }
        core.system_flags &= !RF;
        core.begin_step();
        self.show_next();
        self.core.begin_debugged();
        if self.step() == Flow::Next {
            self.core.mmio.clear();
            self.core.end_step(stepping);
            self.core.end_debugged();
            return None;
        }
        let pending = self.core.pending;
        let exit = self.serve_trap();
        match pending {
            // The element of a repetition is complete but for what the machine does.
            Pending::Again(Exit::IoIn { .. } | Exit::IoOut { .. }) | Pending::Done(_) => {
                self.core.end_step(stepping);
                self.core.end_debugged();
            }
            Pending::Again(_) => self.core.system_flags |= resuming,
            _ => self.core.divert_debugged(),
        }
        // A debug trap wakes a halted processor at once.
        exit.filter(|exit| *exit != Exit::Halt || self.core.debug.pending == 0 || self.core.in_stack_shadow())
    }

    /// Acts on what an operation left pending.
    #[cold]
    #[inline(never)]
    pub(crate) fn serve_trap(&mut self) -> Option<Exit> {
        self.core.open = None;
        self.drop_written_code();
        match self.core.pending {
            Pending::Fault { vector, error } => {
                self.core.mmio.clear();
                self.core.charge();
                self.core.deliver_fault(vector, error).is_err().then_some(Exit::TripleFault)
            }
            Pending::Soft { vector } => {
                self.core.mmio.clear();
                self.core.icount += 1;
                self.core.deliver_soft(vector).is_err().then_some(Exit::TripleFault)
            }
            Pending::Int1 => {
                self.core.mmio.clear();
                self.core.icount += 1;
                self.core.deliver_int1().is_err().then_some(Exit::TripleFault)
            }
            Pending::Again(exit) => {
                self.core.mmio.rewind();
                Some(exit)
            }
            Pending::Done(exit) => {
                self.core.mmio.clear();
                self.core.icount += 1;
                self.core.rip = self.core.rip.wrapping_add(u64::from(self.core.trap_len));
                Some(exit)
            }
        }
    }

    /// Decodes and executes the instruction at RIP.
    pub(crate) fn step(&mut self) -> Flow {
        let Ok((op, _)) = decode_one(&mut self.core, 0) else {
            self.core.trap_len = 0;
            return Flow::Trap;
        };
        let end = Op::end_of_block(op.next_rip(), 1, op.accesses);
        let eager = self.mechanisms.flags == FlagEvaluation::Eager && fast::writes_flags(&op);
        let ops = if eager { [op, fast::materialised(&op), end] } else { [op, end, end] };
        let flow = (op.handler)(&mut self.core, OpRef::first(&ops));
        self.drop_written_code();
        flow
    }

    /// Executes the block at RIP.
    #[inline(always)]
    pub(crate) fn run_block(&mut self) -> Flow {
        let open = self.core.open.take();
        let Ok(first) = self.blocks.find(&mut self.core) else {
            self.core.trap_len = 0;
            return Flow::Trap;
        };
        if let Some(open) = open {
            open.close(&self.core, first);
        }
        let flow = (first.get().handler)(&mut self.core, first);
        if !self.core.code.written.is_empty() {
            self.drop_written_code();
        }
        flow
    }

    fn drop_written_code(&mut self) {
        if !self.core.code.written.is_empty() {
            self.blocks.drop_written(&mut self.core);
        }
    }
}

impl Core {
    /// Takes one from the budget for work that retires no instruction: without it, a handler that faults at its first
    /// instruction would go on for ever.
    pub(crate) fn charge(&mut self) {
        if self.budget_end != u64::MAX {
            self.budget_end = self.budget_end.saturating_sub(1);
        }
    }
}
