//! Medians, their bootstrap intervals, ratios to a baseline and geometric means; tests of whether two samples differ, and
//! what is left of their p-values when there are many; outliers; least squares without negative coefficients.
//!
//! Times on a computer are skewed and now and then far out, so the middle is a median, the interval is a bootstrap and the
//! test is one of ranks: none assumes a distribution and none throws a run away. One process execution is one observation;
//! iterations inside a run are never pooled. The same seed yields the same intervals, whatever else is computed beside
//! them. `docs/method.md` has the formulas and their sources.

mod bootstrap;
mod hierarchical;
mod holm;
mod mann_whitney;
mod nnls;
mod outliers;
mod quantile;

pub use bootstrap::{Bootstrap, Center, Estimate, Interval, Pair};
pub use holm::holm;
pub use mann_whitney::{Alternative, MannWhitney, fewest_runs, mann_whitney, mann_whitney_stratified};
pub use nnls::nnls;
pub use outliers::{Fences, Outliers};
pub use quantile::{geometric_mean, median, quantile};
