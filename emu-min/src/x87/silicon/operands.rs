//! Random states that favour what arithmetic finds hard.

use super::snapshot::{MEMORY, Snapshot};
use crate::state::Fpu;
use crate::x87::F80;

/// A small generator, so that a test is the same every time (xorshift64*, Vigna 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }

    fn significand(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => u64::MAX << self.below(64),
            4 => self.next() & (u64::MAX << self.below(64)),
            _ => self.next(),
        }
    }

    /// Any kind of value: zeros, denormals, pseudo-denormals, normals near each other and near the limits of every
    /// format, unnormals, infinities, pseudo-infinities, NaNs.
    fn value(&mut self) -> F80 {
        let sign = (self.next() as u16) & 0x8000;
        let exponent = match self.below(12) {
            0 => 0,
            1 => 0x7fff,
            2 => self.below(0x8000) as u16,
            3 => [1, 2, 0x7ffe, 0x3fff - 126, 0x3fff + 127, 0x3fff - 1022, 0x3fff + 1023][self.below(7) as usize],
            4 => 0x3fff + self.below(70) as u16,
            5 => 0x3fff - self.below(70) as u16,
            6 => 0x3fff - 1100 + self.below(200) as u16,
            7 => self.below(130) as u16,
            _ => 0x3fff - 3 + self.below(7) as u16,
        };
        let integer_bit = if exponent != 0 && self.below(16) != 0 { 1 << 63 } else { 0 };
        F80::new(sign | exponent, self.significand() | integer_bit)
    }

    fn fpu(&mut self) -> Fpu {
        let bits = self.next();
        let ftw = if bits & 3 == 0 { (bits >> 8) as u8 } else { !(1 << (bits >> 8 & 7)) };
        let fcw =
            (bits >> 16) as u16 & 0x0f00 | if bits >> 32 & 3 != 0 { 0x7f } else { 0x40 | (bits >> 40) as u16 & 63 };
        // A flag that is unmasked would make the first waiting instruction trap.
        let fsw = (bits >> 48) as u16 & (0x7f00 | fcw & 0x3f);
        let mut st = [0; 8];
        for bits in &mut st {
            *bits = self.value().to_bits();
        }
        if self.below(4) == 0 {
            st[1] = st[0] ^ u128::from(self.next() & 3);
        }
        let pointers = self.next();
        Fpu {
            fcw,
            fsw,
            ftw,
            fop: pointers as u16 & 0x7ff,
            fip: pointers >> 36 | 1 << 30,
            fcs: 0,
            fdp: pointers >> 40 | 1 << 30,
            fds: 0,
            st,
        }
    }

    /// The operand of every memory format at once, followed by noise.
    fn memory(&mut self) -> [u8; MEMORY] {
        let mut memory = [0; MEMORY];
        for chunk in memory.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        let value = self.value().to_bits().to_le_bytes();
        match self.below(8) {
            0 => memory[..10].copy_from_slice(&value[..10]),
            1 => {
                let digits = self.next() & 0x7777_7777_7777_7777;
                memory[..8].copy_from_slice(&digits.to_le_bytes());
                memory[8..10].copy_from_slice(&[0x12, if digits & 1 != 0 { 0x80 } else { 0 }]);
            }
            2 => memory[..8].copy_from_slice(&self.float(11, 52).to_le_bytes()),
            3 => memory[..4].copy_from_slice(&(self.float(8, 23) as u32).to_le_bytes()),
            4 => memory[..8].copy_from_slice(&self.significand().to_le_bytes()),
            5 => memory[..8].fill(0),
            _ => {}
        }
        memory
    }

    /// A value of an IEEE format with a special or a middling exponent.
    fn float(&mut self, exponent_bits: u32, fraction_bits: u32) -> u64 {
        let most = (1_u64 << exponent_bits) - 1;
        let exponent = match self.below(4) {
            0 => 0,
            1 => most,
            2 => most / 2 - 2 + self.below(5),
            _ => self.below(most + 1),
        };
        let fraction = (self.significand() >> 1) & ((1 << fraction_bits) - 1);
        (self.next() & 1) << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let memory = self.memory();
        let mut xmm = [0; 16];
        for value in &mut xmm {
            *value = u128::from(self.float(11, 52)) << 64 | u128::from(self.float(11, 52));
            if self.below(2) == 0 {
                let low = self.float(8, 23) | self.float(8, 23) << 32;
                *value = *value >> 64 << 64 | u128::from(low);
            }
        }
        Snapshot {
            fpu: self.fpu(),
            tag_word: 0,
            xmm,
            mxcsr: 0x1f80 | (self.next() as u32 & 0xe07f),
            memory,
            rflags: self.next() & crate::flags::STATUS,
            rax: self.next(),
            rcx: self.next(),
        }
    }
}
