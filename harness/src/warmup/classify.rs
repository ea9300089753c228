//! What the segments of a run say.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::changepoint::segments;
use crate::stats::median;

/// Levels that differ by at most this part count as the same: a change that is real and does not matter.
pub const TOLERANCE: f64 = 0.02;

/// The steady part must be at least one lap in so many, up to the last.
const STEADY_PART: usize = 4;

/// The course of a run, or of all runs of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// As fast from the first lap on.
    Flat,
    /// It became steady, and nothing before was faster.
    WarmUp,
    /// It became steady, and something before was faster.
    SlowDown,
    /// It still changed in the last quarter of its laps.
    NoSteadyState,
    /// The runs of a cell differ.
    Inconsistent,
}

impl Class {
    /// The words shown to users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::WarmUp => "warm-up",
            Self::SlowDown => "slow-down",
            Self::NoSteadyState => "no steady state",
            Self::Inconsistent => "inconsistent",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How one run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Its class, which is not `Inconsistent`.
    pub class: Class,
    /// The first lap of the steady part, counted from 0; `None` without a steady state.
    pub steady_from: Option<usize>,
}

impl Course {
    /// The course of a series of laps, in order; `None` for an empty one.
    #[must_use]
    pub fn of(laps: &[f64]) -> Option<Self> {
        let segments = segments(laps);
        let levels: Vec<f64> = segments.iter().filter_map(|part| median(&laps[part.clone()])).collect();
        let last = *levels.last()?;
        let same = |level: f64| (level - last).abs() <= TOLERANCE * last;
        // Backwards over the segments that are as fast as the last one.
        let before = levels.iter().rposition(|&level| !same(level));
        let from = before.map_or(0, |at| segments[at].end);
        let class = match before {
            None => Class::Flat,
            Some(_) if (laps.len() - from) * STEADY_PART < laps.len() => Class::NoSteadyState,
            Some(at) if levels[..=at].iter().any(|&level| level < last && !same(level)) => Class::SlowDown,
            Some(_) => Class::WarmUp,
        };
        Some(Self { class, steady_from: (class != Class::NoSteadyState).then_some(from) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::changepoint::tests::noisy;
    use super::*;

    /// Forty laps with these factors on the laps from each place on.
    fn course(factors: &[(usize, f64)]) -> Course {
        let mut laps = noisy(5, 40, 0.01);
        for &(from, factor) in factors {
            laps[from..].iter_mut().for_each(|x| *x *= factor);
        }
        Course::of(&laps).expect("laps")
    }

    #[test]
    fn the_classes() {
        let steady = |class, from| Course { class, steady_from: Some(from) };
        assert_eq!(course(&[]), steady(Class::Flat, 0));
        assert_eq!(course(&[(1, 0.5)]), steady(Class::WarmUp, 1));
        assert_eq!(course(&[(5, 0.7), (15, 0.7)]), steady(Class::WarmUp, 15));
        assert_eq!(course(&[(12, 1.3)]), steady(Class::SlowDown, 12));
        assert_eq!(course(&[(5, 0.5), (15, 1.5)]), steady(Class::SlowDown, 15), "the middle was the fastest");
        assert_eq!(course(&[(33, 0.7)]), Course { class: Class::NoSteadyState, steady_from: None });
        assert_eq!(Course::of(&[]), None);
    }

    #[test]
    fn a_change_that_does_not_matter_is_none() {
        let mut laps = noisy(6, 100, 0.003);
        laps[50..].iter_mut().for_each(|x| *x *= 0.99);
        assert!(segments(&laps).len() > 1, "it is there");
        assert_eq!(Course::of(&laps).map(|c| (c.class, c.steady_from)), Some((Class::Flat, Some(0))));
    }

    #[test]
    fn a_slow_phase_in_between_ends() {
        // Slow from 10 to 20: before it was as fast as after it, so it is no slow-down.
        assert_eq!(course(&[(10, 1.5), (20, 1.0 / 1.5)]), Course { class: Class::WarmUp, steady_from: Some(20) });
    }

    #[test]
    fn noise_is_flat_in_95_of_100() {
        let is_flat = |seed: &u64| Course::of(&noisy(*seed, 40, 0.05)).is_some_and(|c| c.class == Class::Flat);
        let flat = (1000..2000).filter(is_flat).count();
        assert!(flat >= 950, "{flat} of 1000");
    }
}
