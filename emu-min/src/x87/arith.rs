//! Arithmetic and comparisons with two operands, be they registers or memory.

use super::host::{self, Memory, Registers, Status};
use super::{C1, F80, UNORDERED, X87};

/// By bits 3-5 of the ModRM byte; FCOM is both 2 and 3, which pops.
const REGISTERS: [Registers; 8] =
    [host::fadd, host::fmul, host::fcom, host::fcom, host::fsub, host::fsubr, host::fdiv, host::fdivr];

macro_rules! table {
    ($module:ident) => {{
        use host::$module::*;
        [fadd, fmul, fcom, fcom, fsub, fsubr, fdiv, fdivr]
    }};
}

/// For the opcodes D8, DA, DC and DE, in the same order.
const MEMORY: [[Memory; 8]; 4] = [table!(m32), table!(i32), table!(m64), table!(i16)];

impl X87 {
    /// ST(`dst`) = ST(`dst`) op ST(`src`).
    pub(super) fn arithmetic(&mut self, op: Registers, dst: u8, src: u8, pop: bool) {
        if self.operands_empty(dst, src) {
            if self.underflow() {
                self.set(dst, F80::INDEFINITE);
                if pop {
                    self.pop();
                }
            }
            return;
        }
        let (value, status) = op(self.cw, self.st(dst), self.st(src));
        if self.finish(status, C1) {
            self.set(dst, value);
            if pop {
                self.pop();
            }
        }
    }

    /// Operation `op` (bits 3-5 of the ModRM byte) of D8 with a register.
    pub(super) fn arithmetic_to_st0(&mut self, op: u8, src: u8) {
        match op & 7 {
            2 => self.compare(host::fcom, src, 0),
            3 => self.compare(host::fcom, src, 1),
            op => self.arithmetic(REGISTERS[usize::from(op)], 0, src, false),
        }
    }

    /// Operation `op` of DC or, with `pop`, of DE with a register. The encodings of FSUB and FSUBR, FDIV and FDIVR
    /// change places against D8.
    pub(super) fn arithmetic_to_sti(&mut self, op: u8, dst: u8, pop: bool) {
        let op = if op & 4 != 0 { op ^ 1 } else { op };
        self.arithmetic(REGISTERS[usize::from(op & 7)], dst, 0, pop);
    }

    /// Operation `op` of opcode 0xd8 | `escape` (even) with a memory operand.
    pub(super) fn arithmetic_with_memory(&mut self, escape: u8, op: u8, operand: u64) {
        let op = op & 7;
        let compare = matches!(op, 2 | 3);
        if !self.is_used(0) {
            let masked = self.underflow();
            if compare {
                self.not_compared(masked, op - 2);
            } else if masked {
                self.set(0, F80::INDEFINITE);
            }
            return;
        }
        let f = MEMORY[usize::from(escape >> 1 & 3)][usize::from(op)];
        let (value, status) = f(self.cw, self.st(0), operand);
        if compare {
            self.compared(status, op - 2);
        } else if self.finish(status, C1) {
            self.set(0, value);
        }
    }

    fn operands_empty(&self, a: u8, b: u8) -> bool {
        !self.is_used(a) || !self.is_used(b)
    }

    /// Compares ST0 with ST(`src`) and pops `pops` times.
    pub(super) fn compare(&mut self, op: Registers, src: u8, pops: u8) {
        if self.operands_empty(0, src) {
            let masked = self.underflow();
            return self.not_compared(masked, pops);
        }
        let (_, status) = op(self.cw, self.st(0), self.st(src));
        self.compared(status, pops);
    }

    fn compared(&mut self, status: Status, pops: u8) {
        if self.finish(status, UNORDERED | C1) {
            (0..pops).for_each(|_| self.pop());
        }
    }

    fn not_compared(&mut self, masked: bool, pops: u8) {
        self.sw |= UNORDERED;
        if masked {
            (0..pops).for_each(|_| self.pop());
        }
    }

    /// FCOMI and FUCOMI: the condition codes that a comparison of ST0 with ST(`src`) gives, for the caller to put into
    /// RFLAGS. The unit's own codes stay.
    pub(super) fn compare_for_flags(&mut self, op: Registers, src: u8, pop: bool) -> Status {
        let (codes, done) = if self.operands_empty(0, src) {
            (UNORDERED, self.underflow())
        } else {
            let (_, status) = op(self.cw, self.st(0), self.st(src));
            (status, self.finish(status, 0))
        };
        if pop && done {
            self.pop();
        }
        codes
    }
}
