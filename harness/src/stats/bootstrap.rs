//! Percentile bootstrap intervals.
//!
//! Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval). For ratios
//! both samples are resampled, as Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, advise.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::quantile::{geometric_mean, median, quantile, trimmed_mean};

/// Fewest observations that get an interval: below, a resample can hardly differ from the sample.
pub(super) const FEWEST: usize = 3;

/// A range that is expected to hold the true value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// A value computed from observations, with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value computed from the observations themselves.
    pub value: f64,
    /// Its interval; `None` where there are fewer than three observations.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// Half the width of the interval, as a part of the value; `None` without an interval.
    #[must_use]
    pub fn relative_half_width(&self) -> Option<f64> {
        let interval = self.interval?;
        Some((interval.high - interval.low) / 2.0 / self.value)
    }
}

/// What stands for a sample in a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Center {
    /// The median.
    Median,
    /// The geometric mean of the middle three fifths: finer, for ratios that many samples are averaged for.
    TrimmedMean,
}

impl Center {
    fn of(self, ascending: &[f64]) -> Option<f64> {
        match self {
            Self::Median => quantile(ascending, 0.5),
            Self::TrimmedMean => trimmed_mean(ascending),
        }
    }
}

/// Two samples whose centers are put in relation.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Observations of what is judged.
    pub numerator: &'a [f64],
    /// Observations of the baseline.
    pub baseline: &'a [f64],
}

impl Pair<'_> {
    fn ratio(&self, center: Center) -> Option<f64> {
        let baseline = center.of(&ascending(self.baseline)).filter(|&b| b > 0.0)?;
        Some(center.of(&ascending(self.numerator))? / baseline)
    }

    fn has_interval(&self) -> bool {
        self.numerator.len() >= FEWEST && self.baseline.len() >= FEWEST
    }
}

/// How intervals are computed.
///
/// Between three and five observations the interval is in effect their range, which holds the true median with
/// probability 1 - 2^(1-n): 75% for 3, 87.5% for 4, 93.75% for 5. Whoever needs the full 95% runs six times or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Nominal coverage, such as 0.95.
    pub level: f64,
    /// What stands for a sample in a ratio.
    pub center: Center,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Bootstrap {
    /// 95% intervals from 4,000 resamples; ratios are of medians.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { resamples: 4000, level: 0.95, center: Center::Median, seed }
    }

    /// The median of a sample, `None` for an empty one. `key` names the quantity, so that each has its own resamples.
    #[must_use]
    pub fn median(&self, key: &str, sample: &[f64]) -> Option<Estimate> {
        let value = median(sample)?;
        let interval = (sample.len() >= FEWEST)
            .then(|| {
                let sample = ascending(sample);
                let mut resampler = Resampler::new(self.seed, key);
                self.interval(|| resampler.median(&sample))
            })
            .flatten();
        Some(Estimate { value, interval })
    }

    /// The ratio of two centers, `None` where one is empty or the baseline is not positive.
    #[must_use]
    pub fn ratio(&self, key: &str, pair: Pair<'_>) -> Option<Estimate> {
        let value = pair.ratio(self.center)?;
        let interval = pair
            .has_interval()
            .then(|| {
                let (numerator, baseline) = (ascending(pair.numerator), ascending(pair.baseline));
                let mut resampler = Resampler::new(self.seed, key);
                self.interval(|| resampler.ratio(&numerator, &baseline, self.center))
            })
            .flatten();
        Some(Estimate { value, interval })
    }

    /// The product of the ratios of several pairs, `None` for no pairs or where one has no ratio.
    #[must_use]
    pub fn product(&self, key: &str, pairs: &[Pair<'_>]) -> Option<Estimate> {
        let mean = self.geometric_mean(key, pairs)?;
        let power = |value: f64| value.powi(i32::try_from(pairs.len()).unwrap_or(i32::MAX));
        let interval = mean.interval.map(|i| Interval { low: power(i.low), high: power(i.high) });
        Some(Estimate { value: power(mean.value), interval })
    }

    /// The median of a sample less that of a control, `None` for an empty sample; an empty control counts as 0.
    #[must_use]
    pub fn difference(&self, key: &str, sample: &[f64], control: &[f64]) -> Option<Estimate> {
        let value = median(sample)? - median(control).unwrap_or(0.0);
        let enough = sample.len() >= FEWEST && (control.is_empty() || control.len() >= FEWEST);
        let interval = enough
            .then(|| {
                let (sample, control) = (ascending(sample), ascending(control));
                let mut resampler = Resampler::new(self.seed, key);
                self.interval(|| {
                    let less = if control.is_empty() { 0.0 } else { resampler.median(&control)? };
                    Some(resampler.median(&sample)? - less)
                })
            })
            .flatten();
        Some(Estimate { value, interval })
    }

    /// The geometric mean of the ratios of several pairs, `None` for no pairs or where one has no ratio.
    ///
    /// A resample draws every pair anew, so the interval speaks of the noise of the runs, not of the choice of
    /// workloads.
    #[must_use]
    pub fn geometric_mean(&self, key: &str, pairs: &[Pair<'_>]) -> Option<Estimate> {
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ratio(self.center)).collect::<Option<_>>()?;
        let value = geometric_mean(&ratios)?;
        let interval = pairs
            .iter()
            .all(Pair::has_interval)
            .then(|| {
                let pairs: Vec<_> = pairs.iter().map(|p| (ascending(p.numerator), ascending(p.baseline))).collect();
                let mut resampler = Resampler::new(self.seed, key);
                self.interval(|| {
                    let ratios: Vec<f64> = pairs
                        .iter()
                        .map(|(numerator, baseline)| resampler.ratio(numerator, baseline, self.center))
                        .collect::<Option<_>>()?;
                    geometric_mean(&ratios)
                })
            })
            .flatten();
        Some(Estimate { value, interval })
    }

    pub(super) fn interval(&self, mut replicate: impl FnMut() -> Option<f64>) -> Option<Interval> {
        let mut replicates: Vec<f64> = (0..self.resamples).filter_map(|_| replicate()).collect();
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(&replicates, tail)?, high: quantile(&replicates, 1.0 - tail)? })
    }
}

/// Draws resamples from a stream of its own.
pub(super) struct Resampler {
    rng: ChaCha8Rng,
    drawn: Vec<f64>,
}

impl Resampler {
    /// The stream depends on the seed and the name alone, so adding a workload changes no other interval.
    pub(super) fn new(seed: u64, key: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(key.as_bytes()).finalize();
        Self { rng: ChaCha8Rng::from_seed(digest.into()), drawn: Vec::new() }
    }

    /// A number below `count`, which is not 0.
    pub(super) fn index(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    /// The median of a resample.
    pub(super) fn median(&mut self, sample: &[f64]) -> Option<f64> {
        self.center(sample, Center::Median)
    }

    /// The center of a resample.
    fn center(&mut self, sample: &[f64], center: Center) -> Option<f64> {
        self.drawn.clear();
        for _ in 0..sample.len() {
            let at = self.index(sample.len());
            self.drawn.push(sample[at]);
        }
        self.drawn.sort_unstable_by(f64::total_cmp);
        center.of(&self.drawn)
    }

    fn ratio(&mut self, numerator: &[f64], baseline: &[f64], center: Center) -> Option<f64> {
        let baseline = self.center(baseline, center)?;
        Some(self.center(numerator, center)? / baseline)
    }
}

/// In order, so that the order in which runs ended changes no interval.
pub(super) fn ascending(sample: &[f64]) -> Vec<f64> {
    let mut ascending = sample.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    ascending
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quick() -> Bootstrap {
        Bootstrap { resamples: 2000, ..Bootstrap::new(7) }
    }

    #[test]
    fn too_few_observations_get_no_interval() {
        let b = quick();
        assert_eq!(b.median("x", &[]), None);
        assert_eq!(b.median("x", &[5.0]).unwrap().interval, None);
        assert_eq!(b.median("x", &[5.0, 6.0]).unwrap().interval, None);
        assert!(b.median("x", &[5.0, 6.0, 7.0]).unwrap().interval.is_some());
        let pair = Pair { numerator: &[4.0, 4.0, 4.0], baseline: &[2.0, 2.0] };
        assert_eq!(b.ratio("x", pair), Some(Estimate { value: 2.0, interval: None }));
    }

    #[test]
    fn the_interval_of_five_is_their_range_and_of_many_is_narrower() {
        let b = quick();
        let five = [10.0, 11.0, 12.0, 13.0, 90.0];
        let interval = b.median("x", &five).unwrap().interval.unwrap();
        assert_eq!((interval.low, interval.high), (10.0, 90.0));
        let many: Vec<f64> = (0..101).map(f64::from).collect();
        let interval = b.median("x", &many).unwrap().interval.unwrap();
        assert!(interval.low > 25.0 && interval.high < 75.0, "{interval:?}");
    }

    #[test]
    fn a_baseline_of_zero_has_no_ratio() {
        let pair = Pair { numerator: &[1.0, 1.0, 1.0], baseline: &[0.0, 0.0, 0.0] };
        for center in [Center::Median, Center::TrimmedMean] {
            assert_eq!(Bootstrap { center, ..quick() }.ratio("x", pair), None, "{center:?}");
        }
    }

    #[test]
    fn trimmed_means_are_finer_than_medians_and_do_not_follow_what_is_far_out() {
        // The quantiles of a normal distribution with a deviation of a tenth, about; one in ten is far out.
        let sample: Vec<f64> = (1..=40)
            .map(|i| f64::from(i) / 41.0)
            .map(|p| if p > 0.9 { 5.0 } else { (0.0551 * (p / (1.0 - p)).ln()).exp() })
            .collect();
        let pair = Pair { numerator: &sample, baseline: &[1.0, 1.0, 1.0] };
        let by = |center| Bootstrap { center, ..quick() }.ratio("x", pair).expect("a ratio");
        let (median, trimmed) = (by(Center::Median), by(Center::TrimmedMean));
        assert!((trimmed.value - 1.0).abs() < 0.02, "{trimmed:?}");
        let width = |estimate: Estimate| estimate.relative_half_width().expect("an interval");
        assert!(width(trimmed) < 0.95 * width(median), "{trimmed:?} {median:?}");
    }

    #[test]
    fn a_product_multiplies_ratios() {
        let b = quick();
        let up = Pair { numerator: &[6.0, 6.0, 6.0], baseline: &[2.0, 2.0, 2.0] };
        let down = Pair { numerator: &[1.0, 1.0, 1.0], baseline: &[2.0, 2.0, 2.0] };
        let product = b.product("x", &[up, down]).unwrap();
        assert!((product.value - 1.5).abs() < 1e-12, "{product:?}");
        assert!(product.interval.is_some_and(|i| (i.low - 1.5).abs() < 1e-12 && (i.high - 1.5).abs() < 1e-12));
        assert_eq!(b.product("x", &[]), None);
    }

    #[test]
    fn a_difference_is_that_of_medians() {
        let b = quick();
        let all = b.difference("x", &[5.0, 6.0, 9.0], &[1.0, 2.0, 2.5]).unwrap();
        let interval = all.interval.unwrap();
        assert_eq!((all.value, interval.low, interval.high), (4.0, 2.5, 8.0));
        assert_eq!(b.difference("x", &[5.0, 6.0, 9.0], &[]).unwrap().value, 6.0, "no control");
        assert_eq!(b.difference("x", &[5.0], &[1.0]), Some(Estimate { value: 4.0, interval: None }));
        assert_eq!(b.difference("x", &[], &[1.0]), None);
    }

    #[test]
    fn the_seed_and_the_name_decide() {
        let sample: Vec<f64> = (0..30).map(|i| f64::from(i * i)).collect();
        let b = Bootstrap { resamples: 50, ..quick() };
        assert_eq!(b.median("x", &sample), b.median("x", &sample));
        assert_ne!(b.median("x", &sample), b.median("y", &sample));
        let other = Bootstrap { seed: 8, ..b };
        assert_ne!(b.median("x", &sample), other.median("x", &sample));
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(1.0..1e9f64, 3..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn intervals_hold_their_value(a in sample(), b in sample()) {
            let m = quick().median("m", &a).unwrap();
            let i = m.interval.unwrap();
            prop_assert!(i.low <= m.value && m.value <= i.high);
            let r = quick().ratio("r", Pair { numerator: &a, baseline: &b }).unwrap();
            let i = r.interval.unwrap();
            prop_assert!(i.low <= r.value && r.value <= i.high, "{r:?}");
        }

        #[test]
        fn intervals_stay_inside_the_sample(a in sample()) {
            let i = quick().median("m", &a).unwrap().interval.unwrap();
            prop_assert!(a.iter().any(|&x| x <= i.low) && a.iter().any(|&x| x >= i.high));
        }

        #[test]
        fn the_unit_does_not_matter(a in sample(), b in sample(), k in 0u32..20) {
            // A power of two scales without rounding, so equality is exact.
            let factor = f64::from(1u32 << k);
            let scaled = |s: &[f64]| s.iter().map(|x| x * factor).collect::<Vec<_>>();
            let (p, q) = (scaled(&a), scaled(&b));
            let m = quick().median("m", &a).unwrap();
            let n = quick().median("m", &p).unwrap();
            prop_assert_eq!(n.value, m.value * factor);
            prop_assert_eq!(n.interval.unwrap().high, m.interval.unwrap().high * factor);
            let r = quick().ratio("r", Pair { numerator: &a, baseline: &b });
            prop_assert_eq!(r, quick().ratio("r", Pair { numerator: &p, baseline: &q }));
        }

        #[test]
        fn the_order_of_runs_does_not_matter(a in sample(), b in sample()) {
            let backwards: Vec<f64> = a.iter().rev().copied().collect();
            let one = quick().ratio("r", Pair { numerator: &a, baseline: &b }).unwrap();
            let two = quick().ratio("r", Pair { numerator: &backwards, baseline: &b }).unwrap();
            prop_assert_eq!(one, two);
        }

        #[test]
        fn slower_runs_are_never_a_lower_ratio(a in sample(), b in sample()) {
            let slower: Vec<f64> = a.iter().map(|x| x * 1.5).collect();
            let g = quick();
            let base = [Pair { numerator: &a, baseline: &b }];
            let slow = [Pair { numerator: &slower, baseline: &b }];
            let one = g.geometric_mean("g", &base).unwrap();
            let two = g.geometric_mean("g", &slow).unwrap();
            prop_assert!(two.value > one.value);
            prop_assert!(two.interval.unwrap().low > one.interval.unwrap().low);
        }
    }
}
