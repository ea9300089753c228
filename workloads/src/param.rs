//! One parameter of a program: its default, its bounds and how `--size` acts on it.
//!
//! The programs include this file too, so that the host and the guest judge a value alike.

/// How `--size F` scales a parameter so that the *work* grows by the factor F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Work is proportional to the parameter.
    Linear,
    /// Work is proportional to its square.
    Sqrt,
    /// Work is proportional to its cube.
    Cbrt,
    /// The parameter shapes the work (a footprint, a depth) and stays as it is.
    Fixed,
}

/// One parameter of a program, given as a decimal number on its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name in help texts and messages.
    pub name: &'static str,
    /// What it means, in a few words.
    pub doc: &'static str,
    /// What it counts: `MiB`, `rounds`, `rows` ...
    pub unit: &'static str,
    /// The value of a full run, and of a program started without arguments.
    pub default: u64,
    /// The value of a quick run.
    pub quick: u64,
    /// The smallest value that makes sense.
    pub min: u64,
    /// The largest value that a guest of at most 3072 MiB can serve.
    pub max: u64,
    /// How `--size` acts on it.
    pub scale: Scale,
}

/// Why a word is no value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadValue {
    /// It holds something else than decimal digits, or nothing.
    NotANumber,
    /// It lies outside `min..=max`.
    OutOfRange,
}

impl Param {
    /// Reads a word of the command line.
    ///
    /// # Errors
    /// [`BadValue`] where it is no decimal number, or one out of bounds.
    pub const fn parse(&self, word: &[u8]) -> Result<u64, BadValue> {
        if word.is_empty() {
            return Err(BadValue::NotANumber);
        }
        let mut value: u64 = 0;
        let mut i = 0;
        while i < word.len() {
            if !word[i].is_ascii_digit() {
                return Err(BadValue::NotANumber);
            }
            // Saturation keeps a number of a hundred digits a number, and out of range.
            value = value.saturating_mul(10).saturating_add((word[i] - b'0') as u64);
            i += 1;
        }
        if value < self.min || value > self.max { Err(BadValue::OutOfRange) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadValue, Param, Scale};

    const PARAM: Param =
        Param { name: "n", doc: "a number", unit: "", default: 5, quick: 4, min: 3, max: 12, scale: Scale::Fixed };

    #[test]
    fn reads_decimal_numbers_within_bounds() {
        assert_eq!(PARAM.parse(b"3"), Ok(3));
        assert_eq!(PARAM.parse(b"0012"), Ok(12));
        assert_eq!(PARAM.parse(b"2"), Err(BadValue::OutOfRange));
        assert_eq!(PARAM.parse(b"13"), Err(BadValue::OutOfRange));
        // 2^64 + 5 must not wrap to 5.
        assert_eq!(PARAM.parse(b"18446744073709551621"), Err(BadValue::OutOfRange));
        for word in [&b""[..], b"x", b"-5", b"+5", b"5 ", b"5.0", b"\xff"] {
            assert_eq!(PARAM.parse(word), Err(BadValue::NotANumber), "{word:?}");
        }
    }
}
