//! Instructions without a memory operand: dispatch, and everything but two-operand arithmetic.

use super::host::{self, Load, Popping, Pushing, Registers, Status};
use super::{C0, C1, C2, C3, DE, F80, IE, UNORDERED, X87};
use crate::flags::Flags;

/// Whether the opcode `fop` (the low three bits of D8-DF and a ModRM byte from 0xc0) is an instruction.
pub(crate) fn register_form_exists(fop: u16) -> bool {
    match (fop >> 8 & 7, fop & 0xff) {
        (0 | 4, _) => true,
        (1, low) => !matches!(low, 0xd1..=0xd7 | 0xe2 | 0xe3 | 0xe6 | 0xe7 | 0xef),
        (2, low) => low < 0xe0 || low == 0xe9,
        (3, low) => !matches!(low, 0xe5..=0xe7 | 0xf8..),
        (5, low) => low < 0xf0,
        (6, low) => !matches!(low, 0xd8 | 0xda..=0xdf),
        (_, low) => !matches!(low, 0xe1..=0xe7 | 0xf8..),
    }
}

impl X87 {
    /// Executes an instruction with register operands, except FNSTSW AX. FCMOVcc reads `flags`, FCOMI and FUCOMI write
    /// them.
    pub(crate) fn execute_registers(&mut self, fop: u16, flags: &mut Flags) {
        let (escape, low) = ((fop >> 8 & 7) as u8, fop as u8);
        let (op, i) = (low >> 3 & 7, low & 7);
        match (escape, op) {
            (0, _) => self.arithmetic_to_st0(op, i),
            (1, 0) => self.load_register(i),
            (1, 1) | (5 | 7, 1) => self.exchange(i),
            (1, 3) => self.store_pop_without_fault(i),
            (1, 4..) => self.execute_d9(low),
            (2, 5) => self.compare(host::fucom, 1, 2),
            (2 | 3, 0..=3) => self.conditional_move(condition(op, flags) == (escape == 2), i),
            (3, 4) => match low {
                0xe2 => self.clear_exceptions(),
                0xe3 => self.initialise(),
                _ => {} // FENI, FDISI, FSETPM: nothing since the 80287 and the 80387
            },
            (3 | 7, 5) => self.compare_flags(host::fucom, i, escape == 7, flags),
            (3 | 7, 6) => self.compare_flags(host::fcom, i, escape == 7, flags),
            (4, 2) => self.compare(host::fcom, i, 0),
            (4, 3) | (6, 2) => self.compare(host::fcom, i, 1),
            (6, 3) => self.compare(host::fcom, 1, 2),
            (4 | 6, _) => self.arithmetic_to_sti(op, i, escape == 6),
            (5 | 7, 0) => self.free_register(i, escape == 7),
            (5, 2) => self.store_register(i, false),
            (5, 3) | (7, 2 | 3) => self.store_register(i, true),
            (5, 4) => self.compare(host::fucom, i, 0),
            (5, 5) => self.compare(host::fucom, i, 1),
            _ => {} // FNOP: every other encoding is not an instruction
        }
    }

    /// D9 E0 to D9 FF.
    fn execute_d9(&mut self, low: u8) {
        match low {
            0xe0 => self.sign(F80::negate),
            0xe1 => self.sign(F80::abs),
            0xe4 => self.test(),
            0xe5 => self.examine(),
            0xe8 => self.push_or_fault(F80::ONE),
            0xe9 => self.constant(host::fldl2t),
            0xea => self.constant(host::fldl2e),
            0xeb => self.constant(host::fldpi),
            0xec => self.constant(host::fldlg2),
            0xed => self.constant(host::fldln2),
            0xee => self.push_or_fault(F80::ZERO),
            0xf0 => self.unary(host::f2xm1, C1),
            0xf1 => self.two_to_one(host::fyl2x),
            0xf2 => self.one_to_two(host::fptan, C1 | C2),
            0xf3 => self.two_to_one(host::fpatan),
            0xf4 => self.one_to_two(host::fxtract, C1),
            0xf5 => self.remainder(host::fprem1),
            0xf6 => self.rotate(7),
            0xf7 => self.rotate(1),
            0xf8 => self.remainder(host::fprem),
            0xf9 => self.two_to_one(host::fyl2xp1),
            0xfa => self.unary(host::fsqrt, C1),
            0xfb => self.one_to_two(host::fsincos, C1 | C2),
            0xfc => self.unary(host::frndint, C1),
            0xfd => self.arithmetic(host::fscale, 0, 1, false),
            0xfe => self.unary(host::fsin, C1 | C2),
            0xff => self.unary(host::fcos, C1 | C2),
            _ => {}
        }
    }

    fn load_register(&mut self, i: u8) {
        if !self.is_used(i) {
            if self.underflow() {
                self.push(F80::INDEFINITE);
            }
            return;
        }
        self.push_or_fault(self.st(i));
    }

    /// Pushes a value, or answers a stack overflow.
    pub(super) fn push_or_fault(&mut self, value: F80) {
        if self.is_used(7) {
            if self.overflow() {
                self.push(F80::INDEFINITE);
            }
            return;
        }
        self.sw &= !C1;
        self.push(value);
    }

    fn constant(&mut self, load: Load) {
        self.push_or_fault(load(self.cw, 0).0);
    }

    fn exchange(&mut self, i: u8) {
        let (a, b) = (self.is_used(0), self.is_used(i));
        if (!a || !b) && !self.underflow() {
            return;
        }
        let value = |used: bool, value: F80| if used { value } else { F80::INDEFINITE };
        let (a, b) = (value(a, self.st(0)), value(b, self.st(i)));
        self.set(0, b);
        self.set(i, a);
        self.sw &= !C1;
    }

    fn store_register(&mut self, i: u8, pop: bool) {
        let value = if self.is_used(0) {
            self.st(0)
        } else if self.underflow() {
            F80::INDEFINITE
        } else {
            return;
        };
        self.sw &= !C1;
        self.set(i, value);
        if pop {
            self.pop();
        }
    }

    /// FSTPNCE, the undocumented D9 D8+i: FSTP that copies an empty register as such.
    fn store_pop_without_fault(&mut self, i: u8) {
        if self.is_used(0) {
            self.set(i, self.st(0));
        }
        self.sw &= !C1;
        self.pop();
    }

    fn free_register(&mut self, i: u8, pop: bool) {
        self.sw &= !C1;
        self.free(i);
        if pop {
            self.pop();
        }
    }

    /// Moves TOP by `by` modulo 8.
    fn rotate(&mut self, by: u8) {
        self.sw &= !C1;
        self.set_top(self.top().wrapping_add(by));
    }

    fn conditional_move(&mut self, moves: bool, i: u8) {
        if !self.is_used(0) || !self.is_used(i) {
            if self.underflow() {
                self.set(0, F80::INDEFINITE);
            }
        } else if moves {
            self.set(0, self.st(i));
        }
    }

    fn compare_flags(&mut self, op: Registers, i: u8, pop: bool, flags: &mut Flags) {
        *flags = flags_of(self.compare_for_flags(op, i, pop));
    }

    fn sign(&mut self, f: fn(F80) -> F80) {
        if self.is_used(0) {
            self.sw &= !C1;
            self.set(0, f(self.st(0)));
        } else if self.underflow() {
            self.set(0, F80::INDEFINITE);
        }
    }

    fn test(&mut self) {
        if !self.is_used(0) {
            self.underflow();
            self.sw |= UNORDERED;
            return;
        }
        let (_, status) = host::ftst(self.cw, self.st(0), F80::ZERO);
        self.finish(status, UNORDERED | C1);
    }

    fn examine(&mut self) {
        let codes = if self.is_used(0) {
            host::fxam(self.cw, self.st(0), F80::ZERO).1
        } else {
            C3 | C0 | if self.st(0).sign_exponent & 0x8000 != 0 { C1 } else { 0 }
        };
        self.finish(codes & (UNORDERED | C1), UNORDERED | C1);
    }

    fn unary(&mut self, op: Registers, codes: u16) {
        if !self.is_used(0) {
            return self.empty_operand(codes);
        }
        let (value, status) = op(self.cw, self.st(0), F80::ZERO);
        if self.finish(status, codes) {
            self.set(0, value);
        }
    }

    /// The response of an instruction whose result replaces ST0 to a missing operand; it clears C2 if it defines it.
    fn empty_operand(&mut self, codes: u16) {
        self.sw &= !(codes & C2);
        if self.underflow() {
            self.set(0, F80::INDEFINITE);
        }
    }

    fn remainder(&mut self, op: Registers) {
        if !self.is_used(0) || !self.is_used(1) {
            return self.empty_operand(C2);
        }
        let (value, status) = op(self.cw, self.st(0), self.st(1));
        // C0 and C3 are bits of the quotient, and stay if there is none.
        let quotient = status & IE == 0 && status & !self.cw & DE == 0 && value.sign_exponent & 0x7fff != 0x7fff;
        let codes = if quotient { UNORDERED | C1 } else { C1 | C2 };
        if self.finish(status, codes) {
            self.set(0, value);
        }
    }

    fn two_to_one(&mut self, op: Popping) {
        if !self.is_used(0) || !self.is_used(1) {
            if self.underflow() {
                self.pop();
                self.set(0, F80::INDEFINITE);
            }
            return;
        }
        let (value, status, popped) = op(self.cw, self.st(0), self.st(1));
        self.finish(status, C1);
        if popped {
            self.pop();
        }
        self.set(0, value);
    }

    fn one_to_two(&mut self, op: Pushing, codes: u16) {
        let underflow = !self.is_used(0);
        if underflow || self.is_used(7) {
            let masked = if underflow { self.underflow() } else { self.overflow() };
            self.sw &= !(codes & C2);
            if masked {
                self.set(0, F80::INDEFINITE);
                self.push(F80::INDEFINITE);
            }
            return;
        }
        let (first, second, status, pushed) = op(self.cw, self.st(0));
        self.finish(status, codes);
        self.set(0, first);
        if pushed {
            self.push(second);
        }
    }
}

/// The condition of FCMOVcc: below, equal, below or equal, unordered.
fn condition(op: u8, flags: &Flags) -> bool {
    match op {
        0 => flags.cf(),
        1 => flags.zf(),
        2 => flags.cf() || flags.zf(),
        _ => flags.pf(),
    }
}

/// RFLAGS of a comparison: ZF, PF and CF are C3, C2 and C0; OF, SF and AF are cleared.
fn flags_of(codes: Status) -> Flags {
    let bit = |code: u16, flag: u64| if codes & code != 0 { flag } else { 0 };
    Flags::from_rflags(bit(C0, crate::flags::CF) | bit(C2, crate::flags::PF) | bit(C3, crate::flags::ZF))
}
