//! Debug registers and breakpoints (Intel SDM volume 3, chapter 18.2 and 18.3).
//!
//! While DR7 enables a breakpoint the run loop executes one instruction at a time, and no page with a watched address
//! enters the TLB, so that every access to it takes the slow path, which looks here. While none is enabled, nothing of
//! this is on any path.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::control_register::get_register;
use crate::core::{CR4_DE, Core};
use crate::debugger::Debugger;
use crate::delivery::Delivery;
use crate::exception::{DB, UD};
use crate::int::Int;
use crate::op::{Op, R, Selected, end};

/// Slots of DR6 and DR7 in [`Core::dr`].
const DR6: usize = 4;
const DR7: usize = 5;

/// Conditions in DR6: breakpoints 0-3, access to a debug register, single step.
const MET: u64 = 15;
const BD: u64 = 1 << 13;
pub(crate) const BS: u64 = 1 << 14;
/// General detect, in DR7.
const GD: u64 = 1 << 13;

/// What a breakpoint waits for: the R/W field of DR7.
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;
const ACCESS: u64 = 3;

/// An enabled breakpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Breakpoint {
    /// Its bit in DR6; 0 if there is none.
    bit: u64,
    kind: u64,
    /// First address, aligned to the size.
    start: u64,
    /// Bytes: 1, 2, 4 or 8.
    size: u64,
}

impl Breakpoint {
    /// Whether it covers any of `[start, start + size)`.
    fn touches(&self, start: u64, size: u64) -> bool {
        start.wrapping_sub(self.start) < self.size || self.start.wrapping_sub(start) < size
    }
}

/// What is enabled and what has been met.
#[derive(Debug, Default)]
pub(crate) struct Debug {
    /// A breakpoint of the guest is enabled, or a debugger wants something: instructions run one at a time.
    pub(crate) armed: bool,
    breakpoints: [Breakpoint; 4],
    /// Conditions that the current instruction met, as in DR6.
    met: u64,
    /// Conditions of a debug trap that waits for the end of the instruction, or of the shadow of MOV SS.
    pub(crate) pending: u64,
    /// The current instruction takes its single-step trap by the TF that it loads.
    steps_by_new_flags: bool,
    /// The last event that was delivered.
    pub(crate) delivered: Option<Delivery>,
    /// Boxed, since hardly ever used.
    pub(crate) debugger: Box<Debugger>,
}

impl Debug {
    /// The breakpoints met by `[start, start + size)`, as bits of DR6.
    fn matching(&self, start: u64, size: u64, kinds: &[u64]) -> u64 {
        self.breakpoints
            .iter()
            .filter(|b| b.bit != 0 && kinds.contains(&b.kind) && b.touches(start, size))
            .fold(0, |met, b| met | b.bit)
    }
}

impl Core {
    /// Recomputes which breakpoints are enabled. Call after any change of DR0-DR3, DR7 and CR4, and of what a debugger wants.
    pub(crate) fn arm_breakpoints(&mut self) {
        let control = self.dr[DR7];
        let watched = self.debug.armed;
        for number in 0..4 {
            let field = control >> (16 + number * 4);
            let kind = field & 3;
            let size = [1, 2, 8, 4][(field >> 2 & 3) as usize];
            // A port breakpoint needs CR4.DE; an instruction's has one byte (else undefined: Intel SDM 18.2.4).
            let valid = kind != PORT || self.cr4 & CR4_DE != 0;
            let enabled = control >> (number * 2) & 3 != 0 && valid;
            let size = if kind == EXECUTE { 1 } else { size };
            let address = self.dr[number as usize];
            self.debug.breakpoints[number as usize] = if enabled {
                Breakpoint { bit: 1 << number, kind, start: address & !(size - 1), size }
            } else {
                Breakpoint::default()
            };
        }
        self.debug.armed = self.debug.breakpoints.iter().any(|b| b.bit != 0) || self.debug.debugger.is_armed();
        if watched || self.debug.armed {
            // Pages that are watched now may be cached.
            self.flush_tlb();
            self.look_around();
        }
    }

    /// Whether the linear page must stay out of the TLB.
    pub(crate) fn is_watched(&self, linear: u64) -> bool {
        self.debug.armed
            && (self.debug.matching(linear & !0xfff, 0x1000, &[WRITE, ACCESS]) != 0
                || self.debug.debugger.watches_page(linear))
    }

    /// Notes a data access.
    pub(crate) fn note_access(&mut self, linear: u64, size: u64, write: bool) {
        if self.debug.armed {
            let kinds: &[u64] = if write { &[WRITE, ACCESS] } else { &[ACCESS] };
            self.debug.met |= self.debug.matching(linear, size, kinds);
            let noted = self.debug.debugger.note(linear, size, write);
            // A repetition traps after the element that met the condition.
            self.leave_block |= self.debug.met != 0 || noted;
        }
    }

    /// Notes an access to ports.
    pub(crate) fn note_port(&mut self, port: u16, size: u64) {
        if self.debug.armed {
            self.debug.met |= self.debug.matching(u64::from(port), size, &[PORT]);
        }
    }

    /// Instruction breakpoints at a linear address, as bits of DR6.
    pub(crate) fn instruction_breakpoints(&self, linear: u64) -> u64 {
        if self.debug.armed { self.debug.matching(linear, 1, &[EXECUTE]) } else { 0 }
    }

    /// An instruction is about to be executed by itself.
    pub(crate) fn begin_step(&mut self) {
        self.debug.met = 0;
        self.debug.steps_by_new_flags = false;
    }

    /// An instruction (or an element of a repetition) executed by itself is complete; TF was set before it if
    /// `stepping`. What it met becomes a trap.
    pub(crate) fn end_step(&mut self, stepping: bool) {
        self.debug.pending |= std::mem::take(&mut self.debug.met);
        self.leave_block = false;
        // MOV SS and POP SS inhibit the trap (Intel SDM volume 3, 7.8.3).
        if stepping && !self.debug.steps_by_new_flags && !self.in_stack_shadow() {
            self.debug.pending |= BS;
        }
    }

    /// SYSCALL and SYSRET trap if TF is set after them, not before, so that a kernel can mask the trap by FMASK.
    pub(crate) fn step_by_new_flags(&mut self) {
        self.debug.steps_by_new_flags = true;
        if self.system_flags & crate::flags::TF != 0 {
            self.debug.pending |= BS;
        }
    }

    /// Puts the conditions of a debug exception into DR6, where those of earlier breakpoints give way.
    pub(crate) fn set_debug_status(&mut self, met: u64) {
        self.dr[DR6] = self.dr[DR6] & !MET | met;
    }

    /// The handler of a debug exception may use the debug registers.
    pub(crate) fn end_general_detect(&mut self) {
        self.dr[DR7] &= !GD;
    }

    /// Slot in [`Core::dr`] of a debug register that a move names, if it may: DR4 and DR5 are DR6 and DR7 unless
    /// CR4.DE is set.
    fn debug_register(&mut self, number: u8) -> R<usize> {
        let slot = match number {
            0..=3 => usize::from(number),
            4 | 5 if self.cr4 & CR4_DE != 0 => return Err(self.fault(UD)),
            4 | 6 => DR6,
            5 | 7 => DR7,
            _ => return Err(self.fault(UD)),
        };
        self.require_ring0()?;
        if self.dr[DR7] & GD != 0 {
            self.set_debug_status(BD);
            return Err(self.fault(DB));
        }
        Ok(slot)
    }
}

fn mov_from_dr(core: &mut Core, op: &Op) -> R {
    let slot = core.debug_register(op.src)?;
    let value = core.dr[slot];
    u64::set(core, op.dst, value);
    Ok(())
}

fn mov_to_dr(core: &mut Core, op: &Op) -> R {
    let slot = core.debug_register(op.dst)?;
    let value = get_register(core, op.src);
    if slot >= DR6 && value >> 32 != 0 {
        return Err(core.gp());
    }
    core.dr[slot] = match slot {
        DR6 => value & 0xe00f | 0xffff_0ff0,
        DR7 => value & 0xffff_23ff | 0x400,
        _ => value,
    };
    if slot != DR6 {
        core.arm_breakpoints();
    }
    Ok(())
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    let is_dr = |i: u32| ins.op_kind(i) == OpKind::Register && Register::is_dr(ins.op_register(i));
    match op.mnemonic {
        Mnemonic::Mov if is_dr(0) => end!(mov_to_dr),
        Mnemonic::Mov if is_dr(1) => end!(mov_from_dr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_touches_what_overlaps_it() {
        let b = Breakpoint { bit: 1, kind: WRITE, start: 0x1008, size: 8 };
        for (start, size, touches) in [
            (0x1000, 8, false),
            (0x1007, 1, false),
            (0x1007, 2, true),
            (0x100f, 1, true),
            (0x1010, 1, false),
            (0, 0x2000, true),
        ] {
            assert_eq!(b.touches(start, size), touches, "{start:x} {size}");
        }
    }
}
