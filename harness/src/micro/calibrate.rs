//! How many iterations a run needs, so that its region of interest is long enough to trust.

/// Iterations of the first trial.
pub(super) const FIRST: u64 = 64;
/// Most iterations at all: a run of the cheapest event still ends in time.
const MOST: u64 = 20_000_000_000;
/// By how much a trial may grow: its time is then still mostly fixed cost, and says little.
const GROWTH: f64 = 64.0;
/// A trial that reached this part of the target is near enough.
const NEAR: f64 = 0.6;

/// What follows from a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try so many iterations.
    Try(u64),
    /// Measure with so many.
    Measure(u64),
}

/// A trial of `iterations` took `roi_ns`; it should take `target_ns`, with at most `most` iterations.
pub(super) fn next(iterations: u64, roi_ns: f64, target_ns: f64, most: u64) -> Next {
    let most = most.min(MOST);
    let growth = (target_ns / roi_ns.max(1.0)).clamp(1.0 / GROWTH, GROWTH);
    // The cast saturates.
    let wanted = ((iterations as f64 * growth).ceil() as u64).clamp(1, most);
    if roi_ns >= NEAR * target_ns || iterations >= most { Next::Measure(wanted) } else { Next::Try(wanted) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Calibrates on an event of a fixed cost; yields the iterations and the number of trials.
    fn calibrate(cost_ns: f64, fixed_ns: f64, target_ns: f64, most: u64) -> (u64, u32) {
        let (mut iterations, mut trials) = (FIRST.min(most), 0);
        loop {
            trials += 1;
            match next(iterations, fixed_ns + cost_ns * iterations as f64, target_ns, most) {
                Next::Try(more) => iterations = more,
                Next::Measure(enough) => return (enough, trials),
            }
            assert!(trials < 20, "it must end");
        }
    }

    #[test]
    fn cheap_and_dear_events_take_the_same_time() {
        let target = 20e6;
        for cost in [0.3, 25.0, 25_000.0] {
            let (iterations, trials) = calibrate(cost, 3_000.0, target, u64::MAX);
            let time = iterations as f64 * cost;
            assert!((0.5..1.5).contains(&(time / target)), "{cost}: {time}");
            assert!(trials <= 6, "{cost}: {trials} trials");
        }
        assert_eq!(calibrate(1e9, 0.0, target, u64::MAX).0, 1, "one so dear is still measured, once");
        assert_eq!(calibrate(1.0, 0.0, target, 5_000).0, 5_000, "memory may allow no more");
    }

    proptest! {
        #[test]
        fn it_ends_within_bounds(cost in 1e-3f64..1e10, fixed in 0f64..1e7, most in 1u64..u64::MAX) {
            let (iterations, _) = calibrate(cost, fixed, 5e6, most);
            prop_assert!(iterations >= 1 && iterations <= most);
        }
    }
}
