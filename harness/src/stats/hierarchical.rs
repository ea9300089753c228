//! The bootstrap of runs that hold iterations.
//!
//! Iterations of one run share what that process got: its memory layout, its translated code, its place in the caches. They
//! are no independent observations, so a resample draws runs first, and iterations within each that it drew (Kalibera and
//! Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013; Davison and Hinkley, "Bootstrap Methods and their
//! Application", 1997, section 3.8). Drawing at both levels errs on the side of wide intervals.

use super::bootstrap::{Bootstrap, Estimate, FEWEST, Resampler, ascending};
use super::quantile::median;

impl Bootstrap {
    /// The median of the runs' medians, `None` where no run has an iteration. A run without iterations is none.
    ///
    /// The interval is over runs and iterations; below three runs there is none, however many iterations they have. `key`
    /// names the quantity, so that each has its own resamples.
    #[must_use]
    pub fn hierarchical(&self, key: &str, runs: &[Vec<f64>]) -> Option<Estimate> {
        let runs = Runs::new(runs);
        let value = runs.value()?;
        let interval = runs
            .has_interval()
            .then(|| {
                let mut resampler = Resampler::new(self.seed, key);
                let mut medians = Vec::new();
                self.interval(|| runs.replicate(&mut resampler, &mut medians))
            })
            .flatten();
        Some(Estimate { value, interval })
    }

    /// The ratio of two such medians of medians, `None` where one has no iteration or the baseline is not positive.
    #[must_use]
    pub fn hierarchical_ratio(&self, key: &str, numerator: &[Vec<f64>], baseline: &[Vec<f64>]) -> Option<Estimate> {
        let (numerator, baseline) = (Runs::new(numerator), Runs::new(baseline));
        let value = numerator.value()? / baseline.value().filter(|&b| b > 0.0)?;
        let interval = (numerator.has_interval() && baseline.has_interval())
            .then(|| {
                let mut resampler = Resampler::new(self.seed, key);
                let mut medians = Vec::new();
                self.interval(|| {
                    let below = baseline.replicate(&mut resampler, &mut medians)?;
                    Some(numerator.replicate(&mut resampler, &mut medians)? / below)
                })
            })
            .flatten();
        Some(Estimate { value, interval })
    }
}

/// Runs with their iterations, all in an order of their own, so that the order in which runs ended changes no interval.
struct Runs(Vec<Vec<f64>>);

impl Runs {
    fn new(runs: &[Vec<f64>]) -> Self {
        let mut runs: Vec<Vec<f64>> = runs.iter().filter(|run| !run.is_empty()).map(|run| ascending(run)).collect();
        runs.sort_by(|a, b| {
            let differ = a.iter().zip(b).map(|(x, y)| x.total_cmp(y)).find(|order| order.is_ne());
            differ.unwrap_or(a.len().cmp(&b.len()))
        });
        Self(runs)
    }

    fn has_interval(&self) -> bool {
        self.0.len() >= FEWEST
    }

    fn value(&self) -> Option<f64> {
        let medians: Vec<f64> = self.0.iter().filter_map(|run| median(run)).collect();
        median(&medians)
    }

    /// The statistic of a resample; `medians` is room to work in.
    fn replicate(&self, resampler: &mut Resampler, medians: &mut Vec<f64>) -> Option<f64> {
        medians.clear();
        for _ in 0..self.0.len() {
            let run = resampler.index(self.0.len());
            medians.extend(resampler.median(&self.0[run]));
        }
        median(medians)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quick() -> Bootstrap {
        Bootstrap { resamples: 1000, ..Bootstrap::new(7) }
    }

    #[test]
    fn few_runs_get_no_interval_however_many_iterations() {
        let run: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(quick().hierarchical("x", &[]), None);
        assert_eq!(quick().hierarchical("x", &[Vec::new()]), None);
        let two = quick().hierarchical("x", &[run.clone(), run.clone(), Vec::new()]).expect("two runs");
        assert_eq!(two, Estimate { value: 49.5, interval: None });
        assert!(quick().hierarchical("x", &[run.clone(), run.clone(), run]).expect("three").interval.is_some());
    }

    #[test]
    fn what_differs_between_runs_is_not_made_up_for_by_iterations() {
        // Five runs at levels of their own, with hardly any noise inside: as uncertain as five observations.
        let runs: Vec<Vec<f64>> = (0..5)
            .map(|run| (0..200).map(|i| f64::from(100 + 10 * run) + f64::from(i % 5) / 100.0).collect())
            .collect();
        let found = quick().hierarchical("x", &runs).expect("a median").interval.expect("an interval");
        assert!(found.low < 101.0 && found.high > 139.0, "{found:?}");
        // Pooled, the same 1000 iterations would claim to know.
        let pooled = quick().median("x", &runs.concat()).expect("a median").interval.expect("an interval");
        assert!(pooled.high - pooled.low < 12.0, "{pooled:?}");
    }

    #[test]
    fn runs_of_one_iteration_are_plain_observations() {
        let sample = [10.0, 11.0, 12.0, 13.0, 90.0];
        let runs = sample.map(|x| vec![x]);
        let found = quick().hierarchical("x", &runs).expect("a median");
        assert_eq!(found.value, quick().median("x", &sample).expect("a median").value);
        let interval = found.interval.expect("an interval");
        assert_eq!((interval.low, interval.high), (10.0, 90.0));
    }

    #[test]
    fn a_ratio_holds_the_true_one() {
        let runs = |level: f64| -> Vec<Vec<f64>> {
            (0..8)
                .map(|run| (0..20).map(|i| level * (1.0 + f64::from((run * 7 + i * 3) % 11) / 100.0)).collect())
                .collect()
        };
        let ratio = quick().hierarchical_ratio("x", &runs(30.0), &runs(10.0)).expect("a ratio");
        let interval = ratio.interval.expect("an interval");
        assert!((ratio.value - 3.0).abs() < 1e-9 && interval.low <= 3.0 && interval.high >= 3.0, "{ratio:?}");
        assert!(interval.low > 2.8 && interval.high < 3.2, "{ratio:?}");
        assert_eq!(quick().hierarchical_ratio("x", &runs(1.0), &[vec![0.0]]), None, "a baseline of zero");
    }

    fn runs() -> impl Strategy<Value = Vec<Vec<f64>>> {
        prop::collection::vec(prop::collection::vec(1.0..1e6f64, 1..8), 3..7)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_order_of_runs_and_iterations_does_not_matter(runs in runs()) {
            let backwards: Vec<Vec<f64>> = runs.iter().rev().map(|run| run.iter().rev().copied().collect()).collect();
            prop_assert_eq!(quick().hierarchical("x", &runs), quick().hierarchical("x", &backwards));
        }

        #[test]
        fn intervals_hold_their_value_and_stay_inside_the_sample(runs in runs()) {
            let found = quick().hierarchical("x", &runs).expect("a median");
            let interval = found.interval.expect("an interval");
            prop_assert!(interval.low <= found.value && found.value <= interval.high, "{found:?}");
            let all = ascending(&runs.concat());
            prop_assert!(all[0] <= interval.low && interval.high <= all[all.len() - 1]);
        }
    }
}
