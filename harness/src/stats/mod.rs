//! Medians, their bootstrap intervals, ratios to a baseline and geometric means.
//!
//! Times on a computer are skewed and now and then far out, so the middle is a median and the interval is a bootstrap:
//! neither assumes a distribution and neither throws a run away. One process execution is one observation; iterations
//! inside a run are never pooled. The same seed yields the same intervals, whatever else is computed beside them.

mod bootstrap;
mod quantile;

pub use bootstrap::{Bootstrap, Estimate, Interval, Pair};
pub use quantile::{geometric_mean, median, quantile};
