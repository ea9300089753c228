//! What an interval says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::stats::Estimate;

/// What became of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval is below 1, and the ratio by more than the threshold.
    Faster,
    /// The whole interval is above 1, and the ratio by more than the threshold.
    Slower,
    /// The whole interval is within the threshold.
    Same,
    /// Anything else: more runs are needed.
    Inconclusive,
}

impl Verdict {
    /// The verdict on a ratio of times, new over old; `threshold` is the part by which a time may differ and still count as
    /// the same.
    #[must_use]
    pub fn of(ratio: &Estimate, threshold: f64) -> Self {
        let Some(interval) = ratio.interval else { return Self::Inconclusive };
        let (least, most) = (1.0 / (1.0 + threshold), 1.0 + threshold);
        if interval.low >= least && interval.high <= most {
            Self::Same
        } else if interval.low > 1.0 && ratio.value > most {
            Self::Slower
        } else if interval.high < 1.0 && ratio.value < least {
            Self::Faster
        } else {
            Self::Inconclusive
        }
    }

    /// The word shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Interval;

    fn verdict(low: f64, value: f64, high: f64) -> Verdict {
        Verdict::of(&Estimate { value, interval: Some(Interval { low, high }) }, 0.05)
    }

    #[test]
    fn the_interval_decides() {
        assert_eq!(verdict(1.02, 1.08, 1.2), Verdict::Slower);
        assert_eq!(verdict(0.7, 0.8, 0.99), Verdict::Faster);
        assert_eq!(verdict(0.97, 1.01, 1.04), Verdict::Same);
        assert_eq!(verdict(1.01, 1.02, 1.03), Verdict::Same, "small, however sure");
        assert_eq!(verdict(0.9, 1.2, 1.5), Verdict::Inconclusive);
        assert_eq!(verdict(1.01, 1.04, 1.2), Verdict::Inconclusive, "it may be small or large");
        assert_eq!(Verdict::of(&Estimate { value: 2.0, interval: None }, 0.05), Verdict::Inconclusive);
    }

    #[test]
    fn faster_and_slower_mirror_each_other() {
        for (low, value, high) in [(1.02, 1.08, 1.2), (0.97, 1.01, 1.04), (0.9, 1.2, 1.5), (1.2, 1.3, 1.4)] {
            let mirrored = match verdict(1.0 / high, 1.0 / value, 1.0 / low) {
                Verdict::Faster => Verdict::Slower,
                Verdict::Slower => Verdict::Faster,
                other => other,
            };
            assert_eq!(mirrored, verdict(low, value, high));
        }
    }
}
