//! Arithmetic flags, kept lazily: an operation stores its result and its carries, a reader derives the one flag it needs.
//!
//! `carries` holds CF in bit 63, the carry into the sign bit (CF ^ OF) in bit 62 and AF in bit 3, whatever the operand
//! size, so no reader has to know which operation or size produced the flags.

/// Carry flag, bit 0 of RFLAGS.
pub(crate) const CF: u64 = 1 << 0;
/// Parity flag.
pub(crate) const PF: u64 = 1 << 2;
/// Auxiliary carry.
pub(crate) const AF: u64 = 1 << 4;
/// Zero flag.
pub(crate) const ZF: u64 = 1 << 6;
/// Sign flag.
pub(crate) const SF: u64 = 1 << 7;
/// Trap flag.
pub(crate) const TF: u64 = 1 << 8;
/// Interrupt flag.
pub(crate) const IF: u64 = 1 << 9;
/// Direction flag.
pub(crate) const DF: u64 = 1 << 10;
/// Overflow flag.
pub(crate) const OF: u64 = 1 << 11;
/// I/O privilege level.
pub(crate) const IOPL: u64 = 3 << 12;
/// Nested task.
pub(crate) const NT: u64 = 1 << 14;
/// Resume flag.
pub(crate) const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub(crate) const VM: u64 = 1 << 17;
/// Alignment check.
pub(crate) const AC: u64 = 1 << 18;
/// Identification.
pub(crate) const ID: u64 = 1 << 21;
/// The six that arithmetic writes.
pub(crate) const STATUS: u64 = CF | PF | AF | ZF | SF | OF;

/// The six arithmetic flags in lazy form.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flags {
    /// ZF is set when this is zero.
    pub(crate) zero: u64,
    /// SF is bit 63, PF the parity of the low byte.
    pub(crate) sign: u64,
    /// CF, CF ^ OF and AF; see the module.
    pub(crate) carries: u64,
}

impl Flags {
    /// Sets ZF, SF and PF from a result sign-extended to 64 bits, and the carries of a `bits`-wide operation, given as
    /// the vector of carries out of each bit.
    #[inline(always)]
    pub(crate) fn set_arith(&mut self, result_sext: u64, carry_out: u64, bits: u32) {
        self.zero = result_sext;
        self.sign = result_sext;
        self.carries = (carry_out << (64 - bits)) | (carry_out & 8);
    }

    /// Sets ZF, SF and PF from a result; clears CF, OF and AF.
    #[inline(always)]
    pub(crate) fn set_logic(&mut self, result_sext: u64) {
        self.zero = result_sext;
        self.sign = result_sext;
        self.carries = 0;
    }

    /// Sets ZF, SF and PF from a result; CF and OF as given; clears AF.
    #[inline(always)]
    pub(crate) fn set_result_cf_of(&mut self, result_sext: u64, cf: bool, of: bool) {
        self.zero = result_sext;
        self.sign = result_sext;
        self.carries = carries(cf, of);
    }

    /// Sets CF and OF; keeps the rest.
    #[inline(always)]
    pub(crate) fn set_cf_of(&mut self, cf: bool, of: bool) {
        self.carries = carries(cf, of) | (self.carries & 8);
    }

    /// Sets CF; keeps the rest.
    #[inline(always)]
    pub(crate) fn set_cf(&mut self, cf: bool) {
        self.set_cf_of(cf, self.of());
    }

    /// Sets ZF; keeps the rest.
    #[inline(always)]
    pub(crate) fn set_zf(&mut self, zf: bool) {
        self.zero = u64::from(!zf);
    }

    #[inline(always)]
    pub(crate) fn cf(&self) -> bool {
        (self.carries as i64) < 0
    }

    #[inline(always)]
    pub(crate) fn zf(&self) -> bool {
        self.zero == 0
    }

    #[inline(always)]
    pub(crate) fn sf(&self) -> bool {
        (self.sign as i64) < 0
    }

    #[inline(always)]
    pub(crate) fn of(&self) -> bool {
        ((self.carries ^ (self.carries << 1)) as i64) < 0
    }

    #[inline(always)]
    pub(crate) fn pf(&self) -> bool {
        (self.sign as u8).count_ones() & 1 == 0
    }

    #[inline(always)]
    pub(crate) fn af(&self) -> bool {
        self.carries & 8 != 0
    }

    /// SF != OF: "less" of a signed comparison.
    #[inline(always)]
    pub(crate) fn less(&self) -> bool {
        ((self.sign ^ self.carries ^ (self.carries << 1)) as i64) < 0
    }

    /// The flags in their RFLAGS positions, all other bits zero.
    pub(crate) fn to_rflags(self) -> u64 {
        let bit = |set: bool, mask: u64| if set { mask } else { 0 };
        bit(self.cf(), CF)
            | bit(self.pf(), PF)
            | bit(self.af(), AF)
            | bit(self.zf(), ZF)
            | bit(self.sf(), SF)
            | bit(self.of(), OF)
    }

    /// From RFLAGS; other bits are ignored.
    pub(crate) fn from_rflags(rflags: u64) -> Self {
        let af = if rflags & AF != 0 { 8 } else { 0 };
        Self {
            zero: u64::from(rflags & ZF == 0),
            // An odd number of ones in the low byte clears PF.
            sign: if rflags & SF != 0 { 1 << 63 } else { 0 } | u64::from(rflags & PF == 0),
            carries: carries(rflags & CF != 0, rflags & OF != 0) | af,
        }
    }
}

#[inline(always)]
fn carries(cf: bool, of: bool) -> u64 {
    (u64::from(cf) << 63) | (u64::from(cf ^ of) << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_survives_a_round_trip() {
        for bits in 0..64_u64 {
            let rflags = (bits & 1) * CF
                + (bits >> 1 & 1) * PF
                + (bits >> 2 & 1) * AF
                + (bits >> 3 & 1) * ZF
                + (bits >> 4 & 1) * SF
                + (bits >> 5 & 1) * OF;
            let flags = Flags::from_rflags(rflags);
            assert_eq!(flags.to_rflags(), rflags);
            assert_eq!(flags.less(), (rflags & SF != 0) != (rflags & OF != 0));
            let mut changed = flags;
            changed.set_cf(rflags & CF == 0);
            assert_eq!(changed.to_rflags(), rflags ^ CF);
        }
    }
}
