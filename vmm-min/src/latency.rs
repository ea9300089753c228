//! How long exits take: histograms of fixed size, recorded in ticks of the time-stamp counter.
//!
//! All memory is there before the guest runs; recording writes one number into it.

use std::borrow::Cow;

use hdrhistogram::Histogram;

use crate::counters::{Counter, Nature, Source};

/// Significant digits: a value is known to 1%.
const DIGITS: u8 = 2;
/// Longest latency that is told from longer ones, ticks: a minute or more.
const LONGEST: u64 = 1 << 38;
/// Significant digits of what is handed on: buckets a sixteenth of an octave wide.
const COARSE: u8 = 1;
/// Longest latency in what is handed on, nanoseconds.
const LONGEST_NS: u64 = 1 << 40;

/// The quantiles that become counters, with the ends of their names.
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50_ns"), (0.9, "p90_ns"), (0.99, "p99_ns")];

/// How often a latency of a certain length occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The shortest, nanoseconds.
    pub from_ns: u64,
    /// The first that is longer, nanoseconds.
    pub to_ns: u64,
    /// How often.
    pub count: u64,
}

/// The latencies of one kind in the region of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Whose: `exit.` and a reason for the time to serve such exits, `run.` and a reason for the time inside the virtual
    /// CPU before one.
    pub name: Cow<'static, str>,
    /// The latencies that occurred, the shortest first.
    pub buckets: Vec<Bucket>,
}

/// A histogram of latencies.
#[derive(Debug, Clone)]
pub(crate) struct Latency(Histogram<u32>);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(histogram(LONGEST, DIGITS))
    }

    /// Counts one; longer ones than a minute count as that.
    #[inline]
    pub(crate) fn record(&mut self, ticks: u64) {
        self.0.saturating_record(ticks);
    }

    /// What was recorded after `earlier`, a former state of this one.
    pub(crate) fn since(&self, earlier: Option<&Self>) -> Self {
        let mut difference = self.clone();
        if let Some(earlier) = earlier {
            // A former state holds no more than this one, so nothing is left out.
            let _ = difference.0.subtract(&earlier.0);
        }
        difference
    }

    /// Adds what another holds.
    pub(crate) fn add(&mut self, other: &Self) {
        // All are of one size, so nothing is left out.
        let _ = self.0.add(&other.0);
    }

    /// Median, further percentiles and maximum as `<name>.p50_ns` and so on; nothing if nothing was recorded.
    pub(crate) fn counters(&self, name: &str, ns_per_tick: f64) -> impl Iterator<Item = Counter> {
        let quantiles = QUANTILES.map(|(q, end)| (self.0.value_at_quantile(q), end));
        let all = quantiles.into_iter().chain([(self.0.max(), "max_ns")]);
        let occurred = !self.0.is_empty();
        all.filter(move |_| occurred).map(move |(ticks, end)| Counter {
            nature: Nature::Level,
            ..Counter::new(Source::Vmm, format!("{name}.{end}"), ns(ticks, ns_per_tick))
        })
    }

    /// All of it, in nanoseconds; `None` if nothing was recorded.
    pub(crate) fn export(&self, name: &str, ns_per_tick: f64) -> Option<LatencyHistogram> {
        let mut coarse: Histogram<u64> = histogram(LONGEST_NS, COARSE);
        for bucket in self.0.iter_recorded() {
            coarse.saturating_record_n(ns(bucket.value_iterated_to(), ns_per_tick), bucket.count_at_value().into());
        }
        let buckets: Vec<Bucket> = coarse
            .iter_recorded()
            .map(|bucket| Bucket {
                from_ns: coarse.lowest_equivalent(bucket.value_iterated_to()),
                to_ns: coarse.next_non_equivalent(bucket.value_iterated_to()),
                count: bucket.count_at_value(),
            })
            .collect();
        (!buckets.is_empty()).then(|| LatencyHistogram { name: name.to_owned().into(), buckets })
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that suit one another; every test makes one")]
fn histogram<T: hdrhistogram::Counter>(longest: u64, digits: u8) -> Histogram<T> {
    Histogram::new_with_bounds(1, longest, digits).expect("sound bounds")
}

fn ns(ticks: u64, ns_per_tick: f64) -> u64 {
    (ticks as f64 * ns_per_tick).round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(latency: &Latency, end: &str) -> Option<u64> {
        let name = format!("exit.io.{end}");
        latency.counters("exit.io", 0.5).find(|c| c.name == name).map(|c| c.value)
    }

    #[test]
    fn percentiles_are_known_to_one_percent() {
        let mut latency = Latency::new();
        assert_eq!((value(&latency, "p50_ns"), latency.export("exit.io", 0.5)), (None, None));
        for ticks in 1..=10_000 {
            latency.record(ticks);
        }
        for (end, exact) in [("p50_ns", 2500), ("p90_ns", 4500), ("p99_ns", 4950), ("max_ns", 5000)] {
            let found = value(&latency, end).unwrap();
            assert!(found.abs_diff(exact) <= exact / 100, "{end}: {found}");
        }
    }

    #[test]
    fn what_came_before_a_moment_is_no_part_of_what_came_after() {
        let mut latency = Latency::new();
        latency.record(1_000_000);
        let before = latency.clone();
        latency.record(100);
        let after = latency.since(Some(&before));
        assert_eq!((value(&after, "max_ns"), value(&latency.since(None), "max_ns").unwrap() / 10_000), (Some(50), 50));
        let mut both = after;
        both.add(&before);
        assert_eq!(value(&both, "max_ns"), value(&latency, "max_ns"));
    }

    proptest! {
        #[test]
        fn buckets_hold_every_latency(ticks in prop::collection::vec(any::<u64>().prop_map(|v| v >> (v % 60)), 1..50)) {
            let mut latency = Latency::new();
            for &t in &ticks {
                latency.record(t);
            }
            let buckets = latency.export("exit.io", 1.0).unwrap().buckets;
            prop_assert_eq!(buckets.iter().map(|b| b.count).sum::<u64>(), ticks.len() as u64);
            prop_assert!(buckets.iter().all(|b| b.from_ns < b.to_ns && b.count > 0));
            prop_assert!(buckets.windows(2).all(|pair| pair[0].to_ns <= pair[1].from_ns));
            for t in ticks.into_iter().filter(|&t| t < LONGEST) {
                // A value on the border of a bucket may be handed on as the highest that is not told from it.
                let near = |b: &Bucket| b.from_ns <= t + t / 64 && t <= b.to_ns + t / 64;
                prop_assert!(buckets.iter().any(near), "{} is in none of {:?}", t, buckets);
            }
        }
    }
}
