//! Observations far from the rest: flagged, and never removed.

use serde::{Deserialize, Serialize};

use super::bootstrap::{Interval, ascending};
use super::quantile::quantile;

/// Tukey's fences ("Exploratory Data Analysis", 1977, chapter 2): 1.5 and 3 interquartile ranges beyond the quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fences {
    /// What lies beyond is an outlier.
    pub inner: Interval,
    /// What lies beyond is a severe one.
    pub outer: Interval,
}

impl Fences {
    /// The fences of a sample, `None` for an empty one. The quartiles are those of [`quantile`].
    #[must_use]
    pub fn of(sample: &[f64]) -> Option<Self> {
        let ascending = ascending(sample);
        let (first, third) = (quantile(&ascending, 0.25)?, quantile(&ascending, 0.75)?);
        let at = |ranges: f64| {
            let far = ranges * (third - first);
            Interval { low: first - far, high: third + far }
        };
        Some(Self { inner: at(1.5), outer: at(3.0) })
    }
}

/// How many observations of a sample are outliers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outliers {
    /// Beyond the inner fences, and not beyond the outer ones.
    pub mild: usize,
    /// Beyond the outer fences.
    pub severe: usize,
}

impl Outliers {
    /// Counts them.
    #[must_use]
    pub fn of(sample: &[f64]) -> Self {
        let Some(fences) = Fences::of(sample) else { return Self::default() };
        let beyond = |fence: Interval| sample.iter().filter(|&&x| x < fence.low || x > fence.high).count();
        let severe = beyond(fences.outer);
        Self { mild: beyond(fences.inner) - severe, severe }
    }

    /// Both kinds.
    #[must_use]
    pub const fn total(self) -> usize {
        self.mild + self.severe
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fences_of_a_small_sample() {
        // Quartiles 2 and 4: fences at -1 and 7, -4 and 10.
        let fences = Fences::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).expect("fences");
        assert_eq!((fences.inner.low, fences.inner.high), (-1.0, 7.0));
        assert_eq!((fences.outer.low, fences.outer.high), (-4.0, 10.0));
        assert_eq!(Fences::of(&[]), None);
    }

    #[test]
    fn mild_and_severe_are_told_apart() {
        let with = |last: f64| Outliers::of(&[1.0, 2.0, 3.0, 4.0, last]);
        assert_eq!(with(7.0), Outliers::default(), "on the fence");
        assert_eq!(with(7.5), Outliers { mild: 1, severe: 0 });
        assert_eq!(with(90.0), Outliers { mild: 0, severe: 1 });
        assert_eq!(with(-90.0).total(), 1, "below counts too");
        assert_eq!(Outliers::of(&[]), Outliers::default());
    }

    #[test]
    fn three_runs_have_no_outlier() {
        assert_eq!(Outliers::of(&[1.0, 1.0, 1e9]).total(), 0);
    }

    proptest! {
        #[test]
        fn fewer_than_half_are_far_from_the_rest(sample in prop::collection::vec(0.0..1e6f64, 1..60)) {
            prop_assert!(Outliers::of(&sample).total() * 2 <= sample.len());
        }

        #[test]
        fn the_unit_does_not_matter(sample in prop::collection::vec(0.0..1e6f64, 1..60), k in 0u32..20) {
            // A power of two scales without rounding.
            let scaled: Vec<f64> = sample.iter().map(|x| x * f64::from(1u32 << k)).collect();
            prop_assert_eq!(Outliers::of(&sample), Outliers::of(&scaled));
        }
    }
}
