//! Changepoint analysis: the division of a series of laps into segments, each of one level.
//!
//! The best division is the one with the least sum of squared deviations from the segments' means, plus a penalty for each
//! further segment. It is found exactly by optimal partitioning (Jackson et al., "An algorithm for optimal partitioning of
//! data on an interval", IEEE Signal Processing Letters 12(2), 2005); PELT (Killick, Fearnhead and Eckley, "Optimal detection
//! of changepoints with a linear computational cost", JASA 107(500), 2012) finds the same with fewer comparisons, which a
//! few thousand laps do not need.

use std::ops::Range;

use crate::stats::{median, quantile};

/// The penalty of a segment in units of the noise's variance and of ln n. The modified BIC (Zhang and Siegmund, "A Modified
/// Bayes Information Criterion", Biometrics 63(1), 2007) comes to about 3, for a variance that is known; estimated from ten
/// laps it takes 4 to find no change in 95 of 100 series without any.
const PENALTY: f64 = 4.0;
/// Noise is never taken to be less than this part of the median. Counters and short laps have steps that are no change.
const LEAST_NOISE: f64 = 0.0025;
/// A segment that is not the first has at least this part of the laps,
const LEAST_PART: usize = 10;
/// and at least so many: one or two slow laps are outliers. The first may be one lap, as many programs are cold just once.
const LEAST_LAPS: usize = 5;
/// Interquartile ranges beyond the quartiles to which a lap that lies further out is taken in: Tukey's inner fences.
const FENCE: f64 = 1.5;
/// The same for the laps at the begin up to the first that lies within: they may be far out for good reason.
const FENCE_FIRST: f64 = 10.0;
/// Standard deviations at which a difference of neighbours is cut off when the noise is estimated.
const CUT: f64 = 3.0;
/// Interquartile ranges of a normal distribution per standard deviation.
const IQR_OF_NORMAL: f64 = 1.349;
/// Standard deviations of a normal distribution per median absolute deviation.
const DEVIATION_OF_MAD: f64 = 1.4826;

/// The segments of a series, in order; they cover it. None for an empty one.
#[must_use]
pub fn segments(series: &[f64]) -> Vec<Range<usize>> {
    let Some(middle) = median(series) else { return Vec::new() };
    let least = LEAST_NOISE * middle.abs();
    let fences = Fences::of(series, least);
    let tamed: Vec<f64> = series.iter().map(|&x| fences.within(x, FENCE)).collect();
    let penalty = PENALTY * noise(&tamed, least).powi(2) * (series.len() as f64).ln();
    partition(&fences.tame(series), penalty, LEAST_LAPS.max(series.len() / LEAST_PART))
}

/// Where a lap is far from the rest: a few laps that the host disturbed must not be a segment. A level that differs is one.
struct Fences {
    first: f64,
    third: f64,
    range: f64,
}

impl Fences {
    fn of(series: &[f64], least_noise: f64) -> Self {
        let mut ascending = series.to_vec();
        ascending.sort_unstable_by(f64::total_cmp);
        let quartile = |p: f64| quantile(&ascending, p).unwrap_or(0.0);
        let (first, third) = (quartile(0.25), quartile(0.75));
        Self { first, third, range: (third - first).max(IQR_OF_NORMAL * least_noise) }
    }

    /// The value, taken in to so many interquartile ranges beyond the quartiles.
    fn within(&self, x: f64, ranges: f64) -> f64 {
        x.clamp(self.first - ranges * self.range, self.third + ranges * self.range)
    }

    /// The series with what lies beyond the fences taken in to them.
    fn tame(&self, series: &[f64]) -> Vec<f64> {
        let cold = series.iter().take_while(|&&x| self.within(x, FENCE) != x).count();
        let ranges = |lap: usize| if lap < cold { FENCE_FIRST } else { FENCE };
        series.iter().enumerate().map(|(lap, &x)| self.within(x, ranges(lap))).collect()
    }
}

/// The standard deviation of the noise, from the differences of neighbours, to which a change of level adds only once: from
/// their median, or from their squares where that is more, since each is now and then too small and would then find changes
/// that are none. Large differences are cut off, and laps far out taken in before, or one disturbed lap in ten would hide
/// every change.
fn noise(series: &[f64], least: f64) -> f64 {
    let differences: Vec<f64> = series.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let Some(middle) = median(&differences) else { return least };
    // A difference of two has twice the variance of one.
    let robust = (middle * DEVIATION_OF_MAD / std::f64::consts::SQRT_2).max(least);
    let most = CUT * robust * std::f64::consts::SQRT_2;
    let squares: f64 = differences.iter().map(|d| d.min(most).powi(2)).sum();
    robust.max((squares / differences.len() as f64 / 2.0).sqrt())
}

/// Optimal partitioning: `best[t]` is the least cost of the first t values, over every begin of the segment that ends there.
fn partition(series: &[f64], penalty: f64, least: usize) -> Vec<Range<usize>> {
    let count = series.len();
    // Sums of values and of squares, about the mean so that squares stay small.
    let mean = series.iter().sum::<f64>() / count.max(1) as f64;
    let mut sums = vec![(0.0, 0.0)];
    let (mut sum, mut squares) = (0.0, 0.0);
    for x in series {
        sum += x - mean;
        squares += (x - mean).powi(2);
        sums.push((sum, squares));
    }
    let cost = |from: usize, to: usize| {
        let (sum, squares) = (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
        squares - sum * sum / (to - from) as f64
    };
    let mut best = vec![0.0; count + 1];
    let mut begin = vec![0; count + 1];
    for to in 1..=count {
        best[to] = cost(0, to);
        for from in 1..(to + 1).saturating_sub(least) {
            let candidate = best[from] + penalty + cost(from, to);
            if candidate < best[to] {
                (best[to], begin[to]) = (candidate, from);
            }
        }
    }
    let mut found = Vec::new();
    let mut to = count;
    while to > 0 {
        found.push(begin[to]..to);
        to = begin[to];
    }
    found.reverse();
    found
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Laps of about 1 ms with normal noise of that part.
    pub(in crate::warmup) fn noisy(seed: u64, count: usize, deviation: f64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The sum of twelve uniform numbers has variance 1 and is as good as normal.
        let mut normal = || (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0;
        (0..count).map(|_| 1e6 * (1.0 + deviation * normal())).collect()
    }

    #[test]
    fn nothing_and_little_have_no_change() {
        assert_eq!(segments(&[]), Vec::<Range<usize>>::new());
        assert_eq!(segments(&[5.0]).len(), 1);
        assert_eq!(segments(&[5.0, 5.0]).len(), 1);
        assert_eq!(segments(&[0.0; 20]).len(), 1);
    }

    #[test]
    fn a_single_cold_lap_is_a_segment_of_its_own() {
        let mut series = noisy(1, 40, 0.01);
        series[0] *= 3.0;
        assert_eq!(segments(&series), [0..1, 1..40]);
        // Also where the others are all the same.
        let mut counted = vec![1000.0; 40];
        counted[0] = 1500.0;
        assert_eq!(segments(&counted), [0..1, 1..40]);
    }

    #[test]
    fn single_slow_laps_later_are_none() {
        let mut series = noisy(2, 40, 0.01);
        (series[13], series[30], series[39]) = (4e6, 9e6, 1.2e6);
        assert_eq!(segments(&series).len(), 1);
    }

    #[test]
    fn a_busy_host_hides_no_cold_lap_and_makes_no_level() {
        // One lap in eight takes nine times as long, as where another process gets the processor for some milliseconds.
        for seed in 0..20 {
            let mut series = noisy(seed, 40, 0.03);
            series.iter_mut().skip(5).step_by(8).for_each(|x| *x *= 9.0);
            assert_eq!(segments(&series).len(), 1, "{seed}");
            series[0] *= 4.0;
            assert_eq!(segments(&series), [0..1, 1..40], "{seed}");
        }
    }

    #[test]
    fn levels_are_told_apart() {
        let mut series = noisy(3, 100, 0.02);
        series[..20].iter_mut().for_each(|x| *x *= 2.0);
        series[20..50].iter_mut().for_each(|x| *x *= 1.4);
        assert_eq!(segments(&series), [0..20, 20..50, 50..100]);
    }

    #[test]
    fn pure_noise_is_one_segment_in_95_of_100() {
        for (count, deviation) in [(40, 0.05), (40, 0.005), (200, 0.05), (15, 0.05), (10, 0.05)] {
            let whole = (0..1000).filter(|&seed| segments(&noisy(seed, count, deviation)).len() == 1).count();
            assert!(whole >= 950, "{whole} of 1000 series of {count}");
        }
    }

    #[test]
    fn a_planted_step_is_found_within_two_laps_in_98_of_100() {
        // 20% up or down, anywhere but at the ends, in noise of 5%.
        let found = |seed: &u64| {
            let at = 6 + (seed % 28) as usize;
            let factor = if seed.is_multiple_of(2) { 1.2 } else { 1.0 / 1.2 };
            let mut series = noisy(*seed, 40, 0.05);
            series[at..].iter_mut().for_each(|x| *x *= factor);
            segments(&series).iter().skip(1).any(|part| part.start.abs_diff(at) <= 2)
        };
        let count = (0..1000).filter(found).count();
        assert!(count >= 980, "{count} of 1000");
    }

    #[test]
    fn the_division_is_the_best_one() {
        // Against every division of a short series.
        for seed in 0..50 {
            let series = noisy(seed, 10, 0.2);
            let penalty = 2e10;
            let of = |parts: &[Range<usize>]| -> f64 {
                let one = |part: &Range<usize>| -> f64 {
                    let mean = series[part.clone()].iter().sum::<f64>() / part.len() as f64;
                    series[part.clone()].iter().map(|x| (x - mean).powi(2)).sum()
                };
                parts.iter().map(one).sum::<f64>() + penalty * (parts.len() - 1) as f64
            };
            let divisions = (0u32..1 << 9).map(|cuts| {
                let mut parts = Vec::new();
                let mut from = 0;
                for at in 1..10 {
                    if cuts >> (at - 1) & 1 == 1 {
                        parts.push(from..at);
                        from = at;
                    }
                }
                parts.push(from..10);
                parts
            });
            let allowed = divisions.filter(|parts| parts.iter().skip(1).all(|part| part.len() >= 2));
            let least = allowed.map(|parts| of(&parts)).fold(f64::INFINITY, f64::min);
            let found = of(&partition(&series, penalty, 2));
            assert!((found - least).abs() <= 1e-9 * least, "{seed}: {found} {least}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn segments_cover_the_series(series in prop::collection::vec(0.0..1e9f64, 1..80)) {
            let found = segments(&series);
            prop_assert_eq!(found[0].start, 0);
            prop_assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert_eq!(found[found.len() - 1].end, series.len());
        }

        #[test]
        fn the_unit_does_not_matter(seed in 0u64..1_000_000, k in 0u32..20) {
            let mut series = noisy(seed, 40, 0.05);
            series[..10].iter_mut().for_each(|x| *x *= 1.3);
            let scaled: Vec<f64> = series.iter().map(|x| x * f64::from(1u32 << k)).collect();
            prop_assert_eq!(segments(&series), segments(&scaled));
        }
    }
}
