//! How many guests run side by side, one number after another.

use std::str::FromStr;

/// Most guests that may be asked for: each costs some descriptors and threads of the process that watches them.
const MOST: u32 = 256;

/// Numbers of guests, ascending, from one on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth(Vec<u32>);

/// Why a text says no growth.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowthError {
    /// A word is no number.
    #[error("'{0}' is no number of guests; give one such as 8, or a list such as 1,2,4,8")]
    NotANumber(String),
    /// No guests at all, or more than anybody could run.
    #[error("{0} guests cannot be run; give a number from 1 to {MOST}")]
    OutOfRange(String),
}

impl Growth {
    /// 1, 2, 4, ... and `most` at the end.
    #[must_use]
    pub fn doubling(most: u32) -> Self {
        let mut sizes: Vec<u32> =
            std::iter::successors(Some(1u32), |n| n.checked_mul(2)).take_while(|&n| n < most).collect();
        sizes.push(most.max(1));
        Self(sizes)
    }

    /// The numbers; the first is one.
    #[must_use]
    pub fn sizes(&self) -> &[u32] {
        &self.0
    }

    /// The largest.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.0.last().copied().unwrap_or(1)
    }
}

impl FromStr for Growth {
    type Err = GrowthError;

    /// One number: doubling up to it. Several: these, and one guest, which the others are held against.
    fn from_str(text: &str) -> Result<Self, GrowthError> {
        let number = |word: &str| {
            let word = word.trim();
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
                return Err(GrowthError::NotANumber(word.to_owned()));
            }
            match word.parse() {
                Ok(n @ 1..=MOST) => Ok(n),
                _ => Err(GrowthError::OutOfRange(word.to_owned())),
            }
        };
        let mut sizes = text.split(',').map(number).collect::<Result<Vec<u32>, _>>()?;
        if let [most] = sizes[..] {
            return Ok(Self::doubling(most));
        }
        sizes.push(1);
        sizes.sort_unstable();
        sizes.dedup();
        Ok(Self(sizes))
    }
}

impl std::fmt::Display for Growth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Result<Vec<u32>, GrowthError> {
        text.parse::<Growth>().map(|growth| growth.sizes().to_vec())
    }

    #[test]
    fn one_number_is_reached_by_doubling() {
        assert_eq!(sizes("1"), Ok(vec![1]));
        assert_eq!(sizes("2"), Ok(vec![1, 2]));
        assert_eq!(sizes("8"), Ok(vec![1, 2, 4, 8]));
        assert_eq!(sizes("6"), Ok(vec![1, 2, 4, 6]));
        assert_eq!(sizes("256").map(|s| s.len()), Ok(9));
    }

    #[test]
    fn a_list_is_taken_as_it_is_with_its_baseline() {
        assert_eq!(sizes("1,2,3"), Ok(vec![1, 2, 3]));
        assert_eq!(sizes("8, 4,8"), Ok(vec![1, 4, 8]));
    }

    #[test]
    fn nonsense_is_answered_with_what_is_possible() {
        assert_eq!(sizes("0").unwrap_err().to_string(), "0 guests cannot be run; give a number from 1 to 256");
        assert!(sizes("1000000000000").unwrap_err().to_string().starts_with("1000000000000 guests"));
        for bad in ["", "many", "-1", "1,", "1.5", "2,,4"] {
            assert!(matches!(sizes(bad), Err(GrowthError::NotANumber(_))), "{bad}");
        }
    }
}
