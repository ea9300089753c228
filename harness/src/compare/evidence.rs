//! Whether a difference may be chance.
//!
//! Tables of a hundred cells show differences where there are none. Each cell is tested, and the p-values are corrected for
//! their number, so that among all that is called faster or slower there is a false one in at most 5% of comparisons. The
//! interval says how large a difference is; it is no such guarantee, since the bootstrap of five runs is their range.

use super::cells::Compared;
use super::verdict::Verdict;
use crate::stats::{Alternative, fewest_runs, holm, mann_whitney_stratified};

/// The probability, at most, that any of the differences reported by one comparison is none.
pub const ALPHA: f64 = 0.05;

/// The two sides of a cell.
pub(super) struct Sample {
    pub(super) new: Vec<f64>,
    pub(super) old: Vec<f64>,
}

/// The p-value of the two-sided test: of one cell, or of the cells of an engine together.
pub(super) fn p_value(samples: &[Sample]) -> Option<f64> {
    let pairs: Vec<(&[f64], &[f64])> = samples.iter().map(|s| (s.new.as_slice(), s.old.as_slice())).collect();
    Some(mann_whitney_stratified(&pairs, Alternative::TwoSided)?.p)
}

/// Adjusts all p-values for their number, and takes back each difference that its test does not confirm.
pub(super) fn confirm<'a>(all: impl Iterator<Item = &'a mut Compared>) {
    let all: Vec<&mut Compared> = all.collect();
    // What could not be tested counts as tested in vain, to be on the safe side.
    let raw: Vec<f64> = all.iter().map(|cell| cell.p.unwrap_or(1.0)).collect();
    for (cell, adjusted) in all.into_iter().zip(holm(&raw)) {
        cell.p_adjusted = cell.p.map(|_| adjusted);
        if matches!(cell.verdict, Verdict::Faster | Verdict::Slower) && adjusted >= ALPHA {
            cell.suspected = Some(cell.verdict);
            cell.verdict = Verdict::Inconclusive;
        }
    }
}

/// Runs on each side from which on one cell among so many tests can be significant.
pub(super) fn runs_needed(comparisons: usize) -> usize {
    fewest_runs(ALPHA / comparisons.max(1) as f64)
}
