//! The environment and the whole state as FNSTENV, FLDENV, FNSAVE and FRSTOR lay them out in protected mode
//! (Intel SDM vol. 1, figures 8-9 and 8-10).

use super::{EXCEPTIONS, F80, X87};

/// Bytes of the environment with a 16-bit operand size.
pub(crate) const ENVIRONMENT16: usize = 14;
/// Bytes of the environment with a 32-bit operand size.
pub(crate) const ENVIRONMENT32: usize = 28;
/// Bytes of the eight registers that follow it in a saved state.
pub(crate) const REGISTERS: usize = 80;

impl X87 {
    /// The tag word: two bits a register, by number.
    pub(crate) fn tag_word(&self) -> u16 {
        (0..8).rev().fold(0, |word, number| {
            let tag = if self.used >> number & 1 != 0 { self.registers[number].tag() } else { 3 };
            word << 2 | tag
        })
    }

    /// What FNSTENV stores.
    pub(crate) fn environment(&self, wide: bool) -> Vec<u8> {
        let words = [
            (self.cw, 0xffff),
            (self.sw, 0xffff),
            (self.tag_word(), 0xffff),
            (self.fip as u16, (self.fip >> 16) as u16),
            (self.fcs, self.fop),
            (self.fdp as u16, (self.fdp >> 16) as u16),
            (self.fds, 0xffff),
        ];
        let mut bytes = Vec::with_capacity(ENVIRONMENT32 + REGISTERS);
        for (low, high) in words {
            bytes.extend(low.to_le_bytes());
            if wide {
                bytes.extend(high.to_le_bytes());
            }
        }
        bytes
    }

    /// The second half of FNSTENV: all exceptions are masked from now on.
    pub(crate) fn mask_all(&mut self) {
        self.set_control(self.cw | EXCEPTIONS);
    }

    /// FLDENV: `bytes` are [`ENVIRONMENT16`] or [`ENVIRONMENT32`].
    pub(crate) fn load_environment(&mut self, bytes: &[u8], wide: bool) {
        let word = |i: usize| {
            let at = if wide { i * 4 } else { i * 2 };
            bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        let high = |i: usize| {
            let at = i * 4 + 2;
            bytes.get(at..at + 2).filter(|_| wide).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        let pointer = |i: usize| u64::from(word(i)) | u64::from(high(i)) << 16;
        let tags = word(2);
        self.used = (0..8).fold(0, |used, number| used | u8::from(tags >> (number * 2) & 3 != 3) << number);
        self.fip = pointer(3);
        self.fcs = word(4);
        self.fop = high(4) & 0x7ff;
        self.fdp = pointer(5);
        self.fds = word(6);
        self.set_status(word(1));
        self.set_control(word(0));
    }

    /// What FNSAVE stores; [`Self::initialise`] is its second half.
    pub(crate) fn image(&self, wide: bool) -> Vec<u8> {
        let mut bytes = self.environment(wide);
        for i in 0..8 {
            bytes.extend(&self.st(i).to_bits().to_le_bytes()[..10]);
        }
        bytes
    }

    /// FRSTOR.
    pub(crate) fn restore(&mut self, bytes: &[u8], wide: bool) {
        let (environment, registers) = bytes.split_at(bytes.len().saturating_sub(REGISTERS));
        self.load_environment(environment, wide);
        for (i, register) in registers.chunks_exact(10).enumerate() {
            let mut value = [0; 16];
            value[..10].copy_from_slice(register);
            let number = self.number(i as u8);
            self.registers[number] = F80::from_bits(u128::from_le_bytes(value));
        }
    }
}
