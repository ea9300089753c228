//! The x87 floating-point unit with 80-bit registers.
//!
//! The register stack, its faults, tags, exception summary and environment are modelled here; the arithmetic is done by
//! the host's own x87 unit ([`host`]), so the module needs an x86-64 host.
//!
//! Where processors differ or manuals say "undefined", this unit does what AMD's Zen does:
//! - Condition codes that an instruction does not define keep their value, and FCMOVcc, FCOMI and FNOP keep C1.
//! - Instruction pointer and opcode are those of the last non-control instruction, whether or not it raised an
//!   exception, and the data pointer that of the last one with a memory operand; FXSAVE stores all three as zero unless
//!   an unmasked exception is pending (AMD APM vol. 2, 11.4.4). Newer Intel processors keep opcode and data pointer of
//!   instructions with unmasked exceptions only.
//! - Precision control rounds the results of FADD, FSUB, FMUL, FDIV and FSQRT alone.

mod arith;
mod environment;
mod f80;
mod handlers;
mod host;
mod register;
mod transfer;
pub(crate) mod wide;

pub(crate) use f80::F80;
pub(crate) use handlers::select;
pub(crate) use register::register_form_exists;
pub(crate) use transfer::{MemoryForm, memory_form};

use crate::state::Fpu;

/// Invalid operation.
pub(crate) const IE: u16 = 1;
/// Denormal operand.
pub(crate) const DE: u16 = 2;
/// Division by zero.
pub(crate) const ZE: u16 = 4;
/// All six exceptions.
const EXCEPTIONS: u16 = 0x3f;
/// Those that an instruction finds before it computes: unmasked, they leave its destination and the stack alone.
const BEFORE_RESULT: u16 = IE | DE | ZE;
/// Stack fault.
const SF: u16 = 1 << 6;
/// Exception summary, and the busy bit that mirrors it.
const SUMMARY: u16 = 1 << 7 | 1 << 15;
const C0: u16 = 1 << 8;
const C1: u16 = 1 << 9;
const C2: u16 = 1 << 10;
const C3: u16 = 1 << 14;
/// The condition codes of a comparison with something that cannot be compared.
const UNORDERED: u16 = C0 | C2 | C3;
const TOP_SHIFT: u16 = 11;

/// The unit's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct X87 {
    /// R0-R7, by number and not relative to TOP; their significands are MM0-MM7.
    registers: [F80; 8],
    /// Bit set = register (by number) in use.
    used: u8,
    cw: u16,
    sw: u16,
    /// Last opcode: the low three bits of its first byte and all of its second.
    pub(crate) fop: u16,
    /// Last instruction pointer.
    pub(crate) fip: u64,
    /// Last data pointer.
    pub(crate) fdp: u64,
    /// Selectors that belong to the two pointers.
    pub(crate) fcs: u16,
    pub(crate) fds: u16,
}

impl Default for X87 {
    fn default() -> Self {
        let mut unit =
            Self { registers: [F80::ZERO; 8], used: 0, cw: 0, sw: 0, fop: 0, fip: 0, fdp: 0, fcs: 0, fds: 0 };
        unit.initialise();
        unit
    }
}

impl X87 {
    /// From what FXRSTOR loads.
    pub(crate) fn from_state(state: &Fpu) -> Self {
        let mut unit = Self { used: state.ftw, fop: state.fop & 0x7ff, ..Self::default() };
        (unit.fip, unit.fcs) = (state.fip, state.fcs);
        (unit.fdp, unit.fds) = (state.fdp, state.fds);
        unit.set_status(state.fsw);
        unit.set_control(state.fcw);
        for (i, bits) in state.st.iter().enumerate() {
            unit.registers[unit.number(i as u8)] = F80::from_bits(*bits);
        }
        unit
    }

    /// As FXSAVE stores it, but with the pointers always.
    pub(crate) fn state(&self) -> Fpu {
        let mut st = [0; 8];
        for (i, bits) in st.iter_mut().enumerate() {
            *bits = self.st(i as u8).to_bits();
        }
        Fpu {
            fcw: self.cw,
            fsw: self.sw,
            ftw: self.used,
            fop: self.fop,
            fip: self.fip,
            fcs: self.fcs,
            fdp: self.fdp,
            fds: self.fds,
            st,
        }
    }

    /// FNINIT: everything but the contents of the registers.
    pub(crate) fn initialise(&mut self) {
        *self = Self { registers: self.registers, used: 0, cw: 0x37f, sw: 0, fop: 0, fip: 0, fdp: 0, fcs: 0, fds: 0 };
    }

    pub(crate) fn control(&self) -> u16 {
        self.cw
    }

    /// FLDCW. Bit 6 reads as one and the reserved bits as zero.
    pub(crate) fn set_control(&mut self, cw: u16) {
        self.cw = cw & 0x1f7f | 0x40;
        self.summarise();
    }

    pub(crate) fn status(&self) -> u16 {
        self.sw
    }

    /// Replaces the status word; its summary bits follow from the rest.
    fn set_status(&mut self, sw: u16) {
        self.sw = sw;
        self.summarise();
    }

    /// FNCLEX.
    pub(crate) fn clear_exceptions(&mut self) {
        self.sw &= !(EXCEPTIONS | SF | SUMMARY);
    }

    /// An unmasked exception waits to be reported by the next waiting instruction.
    pub(crate) fn exception_pending(&self) -> bool {
        self.sw & SUMMARY != 0
    }

    fn summarise(&mut self) {
        let pending = self.sw & !self.cw & EXCEPTIONS != 0;
        self.sw = self.sw & !SUMMARY | if pending { SUMMARY } else { 0 };
    }

    fn top(&self) -> u8 {
        (self.sw >> TOP_SHIFT & 7) as u8
    }

    fn set_top(&mut self, top: u8) {
        self.sw = self.sw & !(7 << TOP_SHIFT) | u16::from(top & 7) << TOP_SHIFT;
    }

    /// Number of the register that ST(`i`) is.
    fn number(&self, i: u8) -> usize {
        usize::from(self.top().wrapping_add(i) & 7)
    }

    fn st(&self, i: u8) -> F80 {
        self.registers[self.number(i)]
    }

    fn is_used(&self, i: u8) -> bool {
        self.used >> self.number(i) & 1 != 0
    }

    fn set(&mut self, i: u8, value: F80) {
        let number = self.number(i);
        self.registers[number] = value;
        self.used |= 1 << number;
    }

    fn free(&mut self, i: u8) {
        self.used &= !(1 << self.number(i));
    }

    fn pop(&mut self) {
        self.free(0);
        self.set_top(self.top().wrapping_add(1));
    }

    /// Pushes without asking whether there is room.
    fn push(&mut self, value: F80) {
        self.set_top(self.top().wrapping_sub(1));
        self.set(0, value);
    }

    /// Records that a register to be read is empty; true if the masked response is to be given.
    fn underflow(&mut self) -> bool {
        self.sw &= !C1;
        self.stack_fault()
    }

    /// Records that a register to be pushed is in use; true if the masked response is to be given.
    fn overflow(&mut self) -> bool {
        self.sw |= C1;
        self.stack_fault()
    }

    fn stack_fault(&mut self) -> bool {
        self.sw |= IE | SF;
        self.summarise();
        self.cw & IE != 0
    }

    /// Takes over the flags and those of the condition codes `codes` that an operation of the host's unit set; false if
    /// an unmasked exception kept it from having a result.
    fn finish(&mut self, status: host::Status, codes: u16) -> bool {
        self.sw = (self.sw & !codes) | status & (EXCEPTIONS | codes);
        self.summarise();
        status & !self.cw & BEFORE_RESULT == 0
    }

    /// What an MMX instruction does to the stack: TOP is 0 and all registers are in use.
    pub(crate) fn enter_mmx(&mut self) {
        self.set_top(0);
        self.used = 0xff;
    }

    /// EMMS.
    pub(crate) fn empty(&mut self) {
        self.set_top(0);
        self.used = 0;
    }

    /// MMX register `i`.
    pub(crate) fn mm(&self, i: u8) -> u64 {
        self.registers[usize::from(i & 7)].significand
    }

    /// Writes MMX register `i`, which sets sign and exponent to ones.
    pub(crate) fn set_mm(&mut self, i: u8, value: u64) {
        self.registers[usize::from(i & 7)] = F80::new(0xffff, value);
    }
}

#[cfg(test)]
mod silicon;
