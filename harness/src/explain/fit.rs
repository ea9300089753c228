//! From times and profiles to what each event costs on an engine.

use std::collections::HashMap;

use super::data::{Data, Kind, Profile, Row};
use super::events::{Event, events};
use crate::model::EngineId;
use crate::stats::nnls;

/// Keeps the costs of events that always occur together small rather than arbitrary.
const RIDGE: f64 = 1e-6;
/// Weight of a micro-benchmark against a workload: there are many, and workloads are what is asked about.
const MICRO: f64 = 0.25;

/// Relative errors up to this count by their square, larger ones by their size.
const OUTLYING: f64 = 0.2;
/// Most rounds of reweighting.
const ROUNDS: usize = 30;

/// No program takes longer, nanoseconds: an hour.
const LONGEST_NS: f64 = 3.6e12;

/// What each event costs on an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The engine.
    pub engine: EngineId,
    /// The events, each with its cost in nanoseconds.
    pub costs: Vec<(&'static Event, f64)>,
    /// Programs, with their sizes, and micro-benchmarks that it was fitted to.
    pub rows: usize,
}

impl Model {
    /// The costs that explain the times on `engine` best, without those of the workload `without`: relative errors count, so that
    /// a short run weighs as much as a long one, and all sizes of a workload together as much as another workload. `None` where there
    /// is nothing to fit.
    #[must_use]
    pub fn fit(engine: EngineId, data: &Data, without: Option<&str>) -> Option<Self> {
        let used = |row: &Row| row.ns > 0.0 && !(row.kind == Kind::Workload && without == Some(row.name.as_str()));
        let rows: Vec<(&Row, &Profile)> = data.on(engine).filter(|(row, _)| used(row)).collect();
        let mut sizes: HashMap<(Kind, &str), f64> = HashMap::new();
        for (row, _) in &rows {
            *sizes.entry((row.kind, &row.name)).or_default() += 1.0;
        }
        let events = events(engine);
        let asked: Vec<&Event> = events.iter().copied().filter(|event| event.known_ns.is_none()).collect();
        let known: Vec<&Event> = events.iter().copied().filter(|event| event.known_ns.is_some()).collect();
        let weight = |row: &Row| {
            let alike = sizes.get(&(row.kind, row.name.as_str())).copied().unwrap_or(1.0);
            (if row.kind == Kind::Micro { MICRO } else { 1.0 }) / alike.sqrt()
        };
        if rows.is_empty() {
            return None;
        }
        let mut system = System::default();
        for (row, profile) in &rows {
            // How long it is busy, and not asleep, is known once costs are; at first it is as long as at the fastest pace.
            let profile = profile.of_run(row.ns, 0.0);
            system.add(&asked, &known, &profile, row.ns, weight(row));
        }
        let mut fitted = system.solve(asked.len());
        for _ in 0..ROUNDS {
            let before = fitted.clone();
            for (index, (row, profile)) in rows.iter().enumerate().filter(|(_, (_, profile))| !profile.paces.is_empty())
            {
                let busy = busy(&asked, &fitted, profile);
                system.set(index, &asked, &known, &profile.of_run(row.ns, busy), row.ns);
            }
            system.trust(&fitted);
            fitted = system.solve(asked.len());
            if before.iter().zip(&fitted).all(|(before, now)| (before - now).abs() <= 1e-4 * now.abs()) {
                break;
            }
        }
        let mut fitted = fitted.into_iter();
        let mut cost = |event: &Event| event.known_ns.or_else(|| fitted.next()).unwrap_or(0.0);
        let costs = events.into_iter().map(|event| (event, cost(event))).collect();
        Some(Self { engine, costs, rows: rows.len() })
    }

    /// The time that a program with this profile takes, nanoseconds.
    #[must_use]
    pub fn time(&self, profile: &Profile) -> f64 {
        let profile = profile.at(self.busy(profile));
        self.costs.iter().map(|(event, cost)| event.count(&profile) * cost).sum()
    }

    /// The part of that time in which it does not sleep, nanoseconds.
    #[must_use]
    pub fn busy(&self, profile: &Profile) -> f64 {
        let asked = self.costs.iter().filter(|(event, _)| event.known_ns.is_none());
        let (events, costs): (Vec<&Event>, Vec<f64>) = asked.copied().unzip();
        busy(&events, &costs, profile)
    }
}

/// How long a program is busy that the timer interrupts: the longer, the more often it does, and the more often it does, the longer.
/// Wanted is the time at which both agree. What never ends by that account is cut off.
fn busy(events: &[&Event], costs: &[f64], profile: &Profile) -> f64 {
    let of =
        |profile: &Profile| -> f64 { events.iter().zip(costs).map(|(event, cost)| event.count(profile) * cost).sum() };
    if profile.paces.is_empty() {
        return of(profile);
    }
    let too_short = |ns: f64| of(&profile.at(ns)) > ns;
    let (mut low, mut high) = (0.0, 1.0);
    while too_short(high) && high < LONGEST_NS {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if too_short(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The equations of a fit: for each row, the costs of its events add up to what is asked, relative to its time.
///
/// Solved are they so that the weighted sum of Huber's function of the errors is least: what no event explains, such as a time that other
/// load lengthened, shall not bend the costs of all events (Huber, "Robust Estimation of a Location Parameter", 1964). By reweighted
/// least squares (Holland and Welsch, "Robust regression using iteratively reweighted least-squares", 1977).
#[derive(Default)]
struct System {
    /// Counts over the time of each row.
    shares: Vec<Vec<f64>>,
    /// The part of the time that no known cost explains.
    rests: Vec<f64>,
    weights: Vec<f64>,
    trust: Vec<f64>,
}

impl System {
    fn add(&mut self, asked: &[&Event], known: &[&Event], profile: &Profile, ns: f64, weight: f64) {
        self.shares.push(Vec::new());
        self.rests.push(1.0);
        self.weights.push(weight);
        self.trust.push(1.0);
        self.set(self.shares.len() - 1, asked, known, profile, ns);
    }

    fn set(&mut self, index: usize, asked: &[&Event], known: &[&Event], profile: &Profile, ns: f64) {
        let share = |event: &Event| event.count(profile) / ns;
        if let (Some(shares), Some(rest)) = (self.shares.get_mut(index), self.rests.get_mut(index)) {
            *shares = asked.iter().map(|event| share(event)).collect();
            *rest = 1.0 - known.iter().map(|event| event.known_ns.unwrap_or(0.0) * share(event)).sum::<f64>();
        }
    }

    /// Trusts rows the less the farther these costs are off for them.
    fn trust(&mut self, costs: &[f64]) {
        for ((shares, rest), trust) in self.shares.iter().zip(&self.rests).zip(&mut self.trust) {
            let sum: f64 = shares.iter().zip(costs).map(|(share, cost)| share * cost).sum();
            *trust = (OUTLYING / (sum - rest).abs().max(1e-9)).min(1.0);
        }
    }

    /// The costs of so many events, none negative.
    fn solve(&self, events: usize) -> Vec<f64> {
        let factors: Vec<f64> =
            self.weights.iter().zip(&self.trust).map(|(weight, trust)| weight * trust.sqrt()).collect();
        let scaled = |(shares, factor): (&Vec<f64>, &f64)| shares.iter().map(|share| share * factor).collect();
        let left: Vec<Vec<f64>> = self.shares.iter().zip(&factors).map(scaled).collect();
        let right: Vec<f64> = self.rests.iter().zip(&factors).map(|(rest, factor)| rest * factor).collect();
        let mut costs = nnls(&left, &right, RIDGE);
        costs.resize(events, 0.0);
        costs
    }
}
