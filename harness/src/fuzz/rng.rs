//! Random choices that fuzzing wants: interesting values rather than uniform ones.

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator of one case: the same for the same seed and index, on every machine.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.0.next_u32() as u8
    }

    pub(super) fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number below `limit`, which is not 0. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0.next_u64() % limit.max(1)
    }

    /// True in `percent` of cases.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// An integer: small, near a power of two, of one bit, or any.
    pub(super) fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4),
            1 => self.below(256),
            2 => self.below(4).wrapping_neg(),
            3 => (1_u64 << self.below(64)).wrapping_sub(self.below(3)),
            4 => 1 << self.below(64),
            5 => self.u64() & 0xffff_ffff,
            6 => (self.u64() as i32) as u64,
            _ => self.u64(),
        }
    }

    /// A single-precision number, often special.
    pub(super) fn float32(&mut self) -> u32 {
        let sign = (self.u64() as u32) & 0x8000_0000;
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7f80_0000,
            2 => 0x7fc0_0000 | self.u64() as u32 & 0xf,
            3 => 0x7f80_0001 + (self.u64() as u32 & 0xf),
            4 => self.u64() as u32 & 0x007f_ffff,
            5 => 1 + (self.u64() as u32 & 7),
            6 => 0x3f80_0000,
            7 => 0x0080_0000 + (self.u64() as u32 & 3),
            8 => 0x7f7f_ffff,
            9 => ((self.below(4096) as f32) / 8.0).to_bits(),
            10 => (self.integer() as i64 as f32).abs().to_bits(),
            _ => self.u64() as u32 & 0x7fff_ffff,
        }
    }

    /// A double-precision number, often special.
    pub(super) fn float64(&mut self) -> u64 {
        let sign = self.u64() & 1 << 63;
        sign | match self.below(12) {
            0 => 0,
            1 => 0x7ff0 << 48,
            2 => 0x7ff8 << 48 | self.u64() & 0xf,
            3 => (0x7ff0 << 48) + 1 + (self.u64() & 0xf),
            4 => self.u64() & 0x000f_ffff_ffff_ffff,
            5 => 1 + self.below(8),
            6 => 0x3ff0 << 48,
            7 => (0x0010 << 48) + self.below(4),
            8 => 0x7fef_ffff_ffff_ffff,
            9 => ((self.below(4096) as f64) / 8.0).to_bits(),
            10 => (self.integer() as i64 as f64).abs().to_bits(),
            _ => self.u64() & !(1 << 63),
        }
    }

    /// An 80-bit number, often special, sometimes one of the unsupported encodings.
    pub(super) fn float80(&mut self) -> u128 {
        let sign = u128::from(self.u64() & 1) << 79;
        let significand = match self.below(6) {
            0 => 1 << 63,
            1 => 3 << 62,
            2 => u64::MAX,
            3 => 1 << 63 | 1,
            _ => self.u64() | 1 << 63,
        };
        let number = |exponent: u64, significand: u64| u128::from(exponent) << 64 | u128::from(significand);
        sign | match self.below(12) {
            0 => 0,
            1 => number(0x7fff, 1 << 63),
            2 => number(0x7fff, significand),
            3 => number(0x7fff, significand & !(1 << 62) | 1),
            4 => number(0, self.u64() >> 1),
            5 => number(0, significand),
            6 => number(self.below(0x7fff), self.u64() >> 1),
            7 => number(0x3fff, 1 << 63),
            8 => number(1 + self.below(3), significand),
            9 => number(0x7ffc + self.below(3), significand),
            _ => number(0x3fff - 70 + self.below(140), significand),
        }
    }

    /// Contents of a vector register or of memory: lanes of one kind.
    pub(super) fn vector(&mut self) -> u128 {
        match self.below(4) {
            0 => (0..4).fold(0, |v, _| v << 32 | u128::from(self.float32())),
            1 => (0..2).fold(0, |v, _| v << 64 | u128::from(self.float64())),
            2 => (0..2).fold(0, |v, _| v << 64 | u128::from(self.integer())),
            _ => self.u128(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_index_give_the_same_numbers() {
        let draw = |seed, index| {
            let mut dice = Dice::new(seed, index);
            (0..50).map(|_| dice.vector() ^ dice.float80()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 1));
    }
}
