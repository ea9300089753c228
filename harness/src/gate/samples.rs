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
}

impl Sample {
    /// How many times as long it took.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ns / self.against_ns
    }

    /// Whether it can be one.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        [self.ns, self.against_ns].into_iter().all(|ns| ns.is_finite() && ns >= 1.0)
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

    /// The ratios of a cell.
    #[must_use]
    pub fn ratios(&self, cell: usize) -> Vec<f64> {
        self.get(cell).iter().map(Sample::ratio).collect()
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
        assert_eq!(Sample { ns: 6e6, against_ns: 2e6 }.ratio(), 3.0);
        for (ns, against_ns) in [(0.0, 1e6), (1e6, 0.0), (f64::NAN, 1e6), (1e6, f64::INFINITY), (-5.0, 1.0)] {
            assert!(!Sample { ns, against_ns }.is_sound(), "{ns} / {against_ns}");
        }
    }
}
