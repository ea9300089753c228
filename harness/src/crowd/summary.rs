//! What the rounds say: throughput, fairness and memory per number of guests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::meta::CrowdPlan;
use super::rows::GuestRow;
use super::watch::Span;
use crate::model::{Setup, Status};
use crate::stats::{Bootstrap, Estimate, Pair, median};

/// One engine with one number of guests.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// How many guests.
    pub guests: u32,
    /// Rounds in which all of them ended well.
    pub n: usize,
    /// Work per second of all guests together; 1 is the work of the catalogue at size 1.
    pub rate: Estimate,
    /// That rate over the rate of one guest.
    pub throughput: Option<Estimate>,
    /// The throughput over what the processors could do at best.
    pub of_ideal: Option<f64>,
    /// Time of the middle guest of a round over the time of one guest alone.
    pub slowdown: Option<Estimate>,
    /// Jain's index of the guests' rates: 1 where all are equally fast, 1/n where one gets everything.
    pub fairness: f64,
    /// Time of the slowest guest of a round over that of the fastest.
    pub spread: f64,
    /// Proportional set size of a guest, bytes: the mean over the guests of a round.
    pub pss: Option<f64>,
    /// What of it no other process maps, bytes.
    pub private: Option<f64>,
    /// From process start to ring 3, nanoseconds, of the middle guest of a round.
    pub startup_ns: Option<f64>,
    /// Processor time per guest and run, nanoseconds.
    pub cpu_ns: Option<f64>,
    /// Processors that the guests of a round kept busy together.
    pub cpus: Option<f64>,
    /// Part of a guest's region of interest in which all others were in theirs.
    pub overlap: Option<f64>,
}

/// What one round says.
#[derive(Debug, Clone, PartialEq)]
struct Observation {
    rate: f64,
    time: f64,
    fairness: f64,
    spread: f64,
    pss: Option<f64>,
    private: Option<f64>,
    startup: Option<f64>,
    cpu: Option<f64>,
    cpus: Option<f64>,
    overlap: Option<f64>,
}

/// Jain's index of fairness: the square of the sum over n times the sum of squares (Jain, Chiu and Hawe, "A Quantitative
/// Measure of Fairness", DEC-TR-301, 1984).
#[must_use]
pub fn jain(rates: &[f64]) -> Option<f64> {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|r| r * r).sum();
    (squares > 0.0).then(|| sum * sum / (rates.len() as f64 * squares))
}

fn observe(round: &[&GuestRow], guests: u32, size: f64) -> Option<Observation> {
    if round.len() != guests as usize || round.iter().any(|row| row.status != Status::Ok) {
        return None;
    }
    let times: Vec<f64> = round.iter().map(|row| row.time_ns().map(|ns| ns as f64)).collect::<Option<_>>()?;
    let rates: Vec<f64> = times.iter().map(|ns| size * 1e9 / ns).collect();
    let all = |value: fn(&GuestRow) -> Option<u64>| {
        round.iter().map(|row| value(row).map(|v| v as f64)).collect::<Option<Vec<f64>>>()
    };
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let extreme = |pick: fn(f64, f64) -> f64| times.iter().copied().reduce(pick);
    let time = median(&times)?;
    let spans = round.iter().map(|row| {
        let from = row.roi_began_ns?;
        Some(Span { from, to: from + row.time_ns()? })
    });
    let overlap = spans.collect::<Option<Vec<Span>>>().map(|spans| {
        let common = Span::common(spans).map_or(0, Span::length);
        (common as f64 / time).min(1.0)
    });
    Some(Observation {
        rate: rates.iter().sum(),
        time,
        fairness: jain(&rates)?,
        spread: extreme(f64::max)? / extreme(f64::min)?,
        pss: all(|row| row.pss_bytes).map(mean),
        private: all(|row| row.private_bytes).map(mean),
        startup: all(|row| row.startup_ns).and_then(|v| median(&v)),
        cpus: all(|row| row.cpu_ns).map(|cpu| cpu.iter().zip(&times).map(|(cpu, time)| cpu / time).sum()),
        cpu: all(|row| row.cpu_ns).map(mean),
        overlap,
    })
}

/// Every engine with every number of guests of which there is a good round, in the usual order.
///
/// A round is one observation: guests that ran side by side are not independent of one another. A round in which a guest
/// did not end well is in no figure.
#[must_use]
pub fn summarize(plan: &CrowdPlan, rows: &[GuestRow]) -> Vec<Point> {
    let mut rounds: BTreeMap<(Setup, u32, u32), Vec<&GuestRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.round > 0) {
        rounds.entry((row.engine, row.guests, row.round)).or_default().push(row);
    }
    let mut cells: BTreeMap<(Setup, u32), Vec<Observation>> = BTreeMap::new();
    for ((engine, guests, _), round) in rounds {
        let size = plan.size_of(engine).unwrap_or(1.0);
        cells.entry((engine, guests)).or_default().extend(observe(&round, guests, size));
    }
    let bootstrap = Bootstrap::new(plan.seed);
    let of = |rounds: &[Observation], value: fn(&Observation) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let middle = |rounds: &[Observation], value: fn(&Observation) -> Option<f64>| {
        median(&rounds.iter().filter_map(value).collect::<Vec<f64>>())
    };
    let point = |(&(engine, guests), rounds): (&(Setup, u32), &Vec<Observation>)| {
        let key = |what: &str| format!("{engine}/{guests}/{what}");
        let (rates, times) = (of(rounds, |o| o.rate), of(rounds, |o| o.time));
        let alone = cells.get(&(engine, 1));
        let ratio = |what: &str, numerator: &[f64], value: fn(&Observation) -> f64| {
            if guests == 1 {
                // Itself is the baseline, with nothing uncertain about it.
                return alone.map(|_| Estimate { value: 1.0, interval: None });
            }
            let baseline = of(alone?, value);
            bootstrap.ratio(&key(what), Pair { numerator, baseline: &baseline })
        };
        let throughput = ratio("throughput", &rates, |o| o.rate);
        Some(Point {
            engine,
            guests,
            n: rounds.len(),
            rate: bootstrap.median(&key("rate"), &rates)?,
            throughput,
            of_ideal: throughput.map(|t| t.value / plan.ideal(guests)),
            slowdown: ratio("slowdown", &times, |o| o.time),
            fairness: median(&of(rounds, |o| o.fairness))?,
            spread: median(&of(rounds, |o| o.spread))?,
            pss: middle(rounds, |o| o.pss),
            private: middle(rounds, |o| o.private),
            startup_ns: middle(rounds, |o| o.startup),
            cpu_ns: middle(rounds, |o| o.cpu),
            cpus: middle(rounds, |o| o.cpus),
            overlap: middle(rounds, |o| o.overlap),
        })
    };
    cells.iter().filter_map(point).collect()
}

/// One row of `summary.csv`, and one entry of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PointRow {
    engine: String,
    guests: u32,
    n: usize,
    rate_per_s: f64,
    throughput: Option<f64>,
    throughput_low: Option<f64>,
    throughput_high: Option<f64>,
    of_ideal: Option<f64>,
    slowdown: Option<f64>,
    slowdown_low: Option<f64>,
    slowdown_high: Option<f64>,
    fairness: f64,
    spread: f64,
    overlap: Option<f64>,
    pss_bytes: Option<u64>,
    private_bytes: Option<u64>,
    startup_ns: Option<u64>,
    cpu_ns_per_run: Option<u64>,
    cpus_busy: Option<f64>,
}

/// Columns of `summary.csv`, in order.
pub const SUMMARY_COLUMNS: [&str; 19] = [
    "engine",
    "guests",
    "n",
    "rate_per_s",
    "throughput",
    "throughput_low",
    "throughput_high",
    "of_ideal",
    "slowdown",
    "slowdown_low",
    "slowdown_high",
    "fairness",
    "spread",
    "overlap",
    "pss_bytes",
    "private_bytes",
    "startup_ns",
    "cpu_ns_per_run",
    "cpus_busy",
];

impl From<&Point> for PointRow {
    fn from(point: &Point) -> Self {
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        let whole = |value: Option<f64>| value.map(|v| v.round() as u64);
        let low = |e: Option<Estimate>| e.and_then(|e| e.interval).map(|i| digits(i.low));
        let high = |e: Option<Estimate>| e.and_then(|e| e.interval).map(|i| digits(i.high));
        Self {
            engine: point.engine.name(),
            guests: point.guests,
            n: point.n,
            rate_per_s: digits(point.rate.value),
            throughput: point.throughput.map(|e| digits(e.value)),
            throughput_low: low(point.throughput),
            throughput_high: high(point.throughput),
            of_ideal: point.of_ideal.map(digits),
            slowdown: point.slowdown.map(|e| digits(e.value)),
            slowdown_low: low(point.slowdown),
            slowdown_high: high(point.slowdown),
            fairness: digits(point.fairness),
            spread: digits(point.spread),
            overlap: point.overlap.map(digits),
            pss_bytes: whole(point.pss),
            private_bytes: whole(point.private),
            startup_ns: whole(point.startup_ns),
            cpu_ns_per_run: whole(point.cpu_ns),
            cpus_busy: point.cpus.map(digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crowd::testing;

    #[test]
    fn fairness_is_jains_index() {
        assert_eq!(jain(&[2.0, 2.0, 2.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
        // (1 + 3)^2 / (2 * (1 + 9))
        assert_eq!(jain(&[1.0, 3.0]), Some(0.8));
        assert_eq!(jain(&[]), None);
    }

    fn rows(round: u32, guests: u32, times: &[f64]) -> Vec<GuestRow> {
        let row = |(i, &time): (u32, &f64)| GuestRow::new(round, guests, i + 1, &testing::guest(i + 1, time));
        (0..).zip(times).map(row).collect()
    }

    #[test]
    fn two_processors_do_twice_the_work_and_not_more() {
        let plan = testing::plan(2);
        let mut all = Vec::new();
        for round in 0..3 {
            all.extend(rows(round * 3 + 1, 1, &[1e9]));
            all.extend(rows(round * 3 + 2, 2, &[1e9, 1e9]));
            all.extend(rows(round * 3 + 3, 4, &[2e9, 2e9, 2e9, 4e9]));
        }
        let points = summarize(&plan, &all);
        let find = |guests| points.iter().find(|p| p.guests == guests).expect("measured");
        assert_eq!((find(1).throughput.map(|t| t.value), find(1).of_ideal), (Some(1.0), Some(1.0)));
        assert_eq!((find(2).throughput.map(|t| t.value), find(2).of_ideal), (Some(2.0), Some(1.0)));
        let four = find(4);
        assert_eq!((four.throughput.map(|t| t.value), four.of_ideal), (Some(1.75), Some(0.875)));
        assert_eq!((four.slowdown.map(|s| s.value), four.spread, four.n), (Some(2.0), 2.0, 3));
        assert!((four.fairness - 1.75 * 1.75 / (4.0 * 0.8125)).abs() < 1e-12);
        assert!(four.throughput.and_then(|t| t.interval).is_some());
    }

    #[test]
    fn the_size_of_the_work_is_in_the_rate() {
        let mut plan = testing::plan(2);
        plan.works[0].size = 50.0;
        let points = summarize(&plan, &rows(1, 1, &[5e8]));
        assert_eq!((points[0].rate.value, points[0].rate.interval), (100.0, None));
    }

    #[test]
    fn processors_kept_busy_are_those_of_all_guests_together() {
        let plan = testing::plan(2);
        let mut two = rows(1, 2, &[1e9, 2e9]);
        assert_eq!(summarize(&plan, &two)[0].cpus, None, "it was not sampled");
        two[0].cpu_ns = Some(500_000_000);
        two[1].cpu_ns = Some(500_000_000);
        let point = &summarize(&plan, &two)[0];
        assert_eq!((point.cpus, point.cpu_ns), (Some(0.75), Some(5e8)));
    }

    #[test]
    fn a_round_with_a_bad_guest_and_a_trial_count_for_nothing() {
        let plan = testing::plan(2);
        let mut bad = rows(1, 2, &[1e9, 1e9]);
        bad[1].status = Status::Failed;
        assert_eq!(summarize(&plan, &bad), []);
        assert_eq!(summarize(&plan, &rows(0, 1, &[1e9])), []);
        assert_eq!(summarize(&plan, &rows(1, 2, &[1e9])), [], "a row was lost");
    }

    #[test]
    fn overlap_is_the_time_that_all_share() {
        let plan = testing::plan(2);
        let mut two = rows(1, 2, &[1e9, 1e9]);
        two[0].roi_began_ns = Some(500);
        assert_eq!(summarize(&plan, &two)[0].overlap, None, "of one it is not known");
        two[1].roi_began_ns = Some(250_000_500);
        assert_eq!(summarize(&plan, &two)[0].overlap, Some(0.75));
        two[1].roi_began_ns = Some(5_000_000_000);
        assert_eq!(summarize(&plan, &two)[0].overlap, Some(0.0));
    }

    proptest! {
        #[test]
        fn fairness_lies_between_one_nth_and_one(rates in prop::collection::vec(1e-3..1e9f64, 1..40)) {
            let index = jain(&rates).unwrap();
            prop_assert!(index <= 1.0 + 1e-12 && index >= 1.0 / rates.len() as f64 - 1e-12);
        }
    }
}
