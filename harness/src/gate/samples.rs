//! Times of the cells of a plan, each with the time that it is divided by.
//!
//! A processor that shares its core or its power with others changes its speed every few seconds, by a quarter and more.
//! What is divided is therefore what ran next to each other.

use serde::{Deserialize, Serialize};

/// A time, and what it is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The region of interest, nanoseconds.
    pub ns: f64,
    /// The same of the reference engine, the geometric mean of the runs before and after; or of the other build, run next to
    /// this one. Nanoseconds.
    pub against_ns: f64,
    /// The same of the yardstick, a program of the reference that stays in the caches; absent beside another build, and in
    /// baselines without one. Nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yardstick_ns: Option<f64>,
}

/// What a time is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Divisor {
    /// The same workload: of the reference, or of the other build.
    Same,
    /// The yardstick.
    Yardstick,
}

impl Sample {
    /// How many times as long it took as the same workload.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ns / self.against_ns
    }

    /// How many times the yardstick's time the reference took.
    fn reference_ratio(&self) -> Option<f64> {
        self.yardstick_ns.map(|yardstick| self.against_ns / yardstick)
    }

    fn ratio_to(&self, divisor: Divisor) -> Option<f64> {
        match divisor {
            Divisor::Same => Some(self.ratio()),
            Divisor::Yardstick => self.yardstick_ns.map(|yardstick| self.ns / yardstick),
        }
    }

    /// Whether it can be one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        [self.ns, self.against_ns].into_iter().chain(self.yardstick_ns).all(|ns| ns.is_finite() && ns >= 1.0)
    }
}

/// Samples of every cell, by its place in the plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Vec<Sample>>);

impl Samples {
    /// None of so many cells.
    #[must_use]
    pub fn new(cells: usize) -> Self {
        Self(vec![Vec::new(); cells])
    }

    /// These of each cell.
    #[must_use]
    pub const fn of(samples: Vec<Vec<Sample>>) -> Self {
        Self(samples)
    }

    /// One more of a cell.
    pub fn add(&mut self, cell: usize, sample: Sample) {
        if let Some(samples) = self.0.get_mut(cell) {
            samples.push(sample);
        }
    }

    /// All of another measurement of the same cells.
    pub fn extend(&mut self, other: &Self) {
        for (cell, samples) in self.0.iter_mut().enumerate() {
            samples.extend_from_slice(other.get(cell));
        }
    }

    /// Those of a cell.
    #[must_use]
    pub fn get(&self, cell: usize) -> &[Sample] {
        self.0.get(cell).map_or(&[], Vec::as_slice)
    }

    /// The ratios of a cell to the same workload.
    #[must_use]
    pub fn ratios(&self, cell: usize) -> Vec<f64> {
        self.ratios_to(cell, Divisor::Same)
    }

    /// The ratios of a cell to this.
    pub(super) fn ratios_to(&self, cell: usize, divisor: Divisor) -> Vec<f64> {
        self.get(cell).iter().filter_map(|sample| sample.ratio_to(divisor)).collect()
    }

    /// The ratios of the reference to the yardstick beside a cell.
    pub(super) fn reference_ratios(&self, cell: usize) -> Vec<f64> {
        self.get(cell).iter().filter_map(Sample::reference_ratio).collect()
    }

    /// The times of a cell, nanoseconds.
    #[must_use]
    pub fn times(&self, cell: usize) -> Vec<f64> {
        self.get(cell).iter().map(|sample| sample.ns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_ratio_of_times() {
        let sample = Sample { ns: 6e6, against_ns: 2e6, yardstick_ns: Some(3e6) };
        assert!(sample.is_sound() && !Sample { yardstick_ns: Some(f64::NAN), ..sample }.is_sound());
        assert_eq!(sample.reference_ratio(), Some(2.0 / 3.0));
        let samples = Samples::of(vec![vec![sample, Sample { yardstick_ns: None, ..sample }]]);
        assert_eq!(samples.ratios(0), [3.0, 3.0]);
        assert_eq!(samples.ratios_to(0, Divisor::Yardstick), [2.0]);
        for (ns, against_ns) in [(0.0, 1e6), (1e6, 0.0), (f64::NAN, 1e6), (1e6, f64::INFINITY), (-5.0, 1.0)] {
            assert!(!Sample { ns, against_ns, yardstick_ns: None }.is_sound(), "{ns} / {against_ns}");
        }
    }
}
