//! The 80-bit extended format as the registers hold it (Intel SDM vol. 1, 4.2.2 and 8.1.2).

/// A value of a register: the significand with its explicit integer bit, and the sign with the exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub(crate) struct F80 {
    /// Integer bit (63) and fraction.
    pub(crate) significand: u64,
    /// Sign (bit 15) and biased exponent.
    pub(crate) sign_exponent: u16,
}

impl F80 {
    pub(crate) const ZERO: Self = Self::new(0, 0);
    pub(crate) const ONE: Self = Self::new(0x3fff, 1 << 63);
    /// The real indefinite: the quiet NaN that is the masked response to an invalid operation.
    pub(crate) const INDEFINITE: Self = Self::new(0xffff, 3 << 62);

    pub(crate) const fn new(sign_exponent: u16, significand: u64) -> Self {
        Self { significand, sign_exponent }
    }

    /// From the ten bytes of the memory format, which may be followed by others.
    pub(crate) fn from_bits(bits: u128) -> Self {
        Self::new((bits >> 64) as u16, bits as u64)
    }

    /// The ten bytes of the memory format as the low 80 bits.
    pub(crate) fn to_bits(self) -> u128 {
        u128::from(self.sign_exponent) << 64 | u128::from(self.significand)
    }

    /// An integer, which the format holds exactly.
    pub(crate) fn from_integer(value: i64) -> Self {
        if value == 0 {
            return Self::ZERO;
        }
        let magnitude = value.unsigned_abs();
        let shift = magnitude.leading_zeros();
        let sign = if value < 0 { 0x8000 } else { 0 };
        Self::new(sign | (0x3fff + 63 - shift as u16), magnitude << shift)
    }

    /// The two bits of the tag word for a register in use: 0 valid, 1 zero, 2 special (SDM vol. 1, 8.1.7).
    pub(crate) fn tag(self) -> u16 {
        match self.sign_exponent & 0x7fff {
            0 if self.significand == 0 => 1,
            0 | 0x7fff => 2,
            _ if self.significand >> 63 == 0 => 2,
            _ => 0,
        }
    }

    pub(crate) fn negate(self) -> Self {
        Self { sign_exponent: self.sign_exponent ^ 0x8000, ..self }
    }

    pub(crate) fn abs(self) -> Self {
        Self { sign_exponent: self.sign_exponent & 0x7fff, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_normalised() {
        assert_eq!(F80::from_integer(1), F80::ONE);
        assert_eq!(F80::from_integer(-3), F80::new(0xc000, 3 << 62));
        assert_eq!(F80::from_integer(i64::MIN), F80::new(0xc03e, 1 << 63));
        assert_eq!(F80::from_integer(i64::MAX), F80::new(0x403d, u64::MAX - 1));
        assert_eq!(F80::from_integer(0), F80::ZERO);
    }

    #[test]
    fn tags_tell_the_kinds_apart() {
        assert_eq!(F80::ZERO.negate().tag(), 1);
        assert_eq!(F80::ONE.tag(), 0);
        assert_eq!(F80::INDEFINITE.tag(), 2);
        assert_eq!(F80::new(0, 1).tag(), 2);
        assert_eq!(F80::new(0x3fff, 1).tag(), 2, "an unnormal");
    }
}
