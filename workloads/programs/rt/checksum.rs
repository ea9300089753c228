//! A checksum that every value, and its place in the order, takes part in.

/// FNV-1a over 64-bit words instead of bytes: cheap, order-sensitive, and a bijection in every word.
#[derive(Debug, Clone, Copy)]
pub struct Checksum(u64);

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Checksum {
    /// The checksum of nothing.
    pub const fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// Adds one word.
    #[inline(always)]
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(PRIME);
    }

    /// The checksum of these words alone.
    #[inline]
    pub fn of(words: impl IntoIterator<Item = u64>) -> u64 {
        let mut sum = Self::new();
        for word in words {
            sum.add(word);
        }
        sum.value()
    }

    /// Its value.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}
