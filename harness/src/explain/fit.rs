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
        let (mut shares, mut rests, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (row, profile) in &rows {
            let profile = profile.at(row.ns);
            let alike = sizes.get(&(row.kind, row.name.as_str())).copied().unwrap_or(1.0);
            let kind = if row.kind == Kind::Micro { MICRO } else { 1.0 };
            weights.push(kind / alike.sqrt());
            let share = |event: &Event| event.count(&profile) / row.ns;
            shares.push(asked.iter().map(|event| share(event)).collect::<Vec<f64>>());
            rests.push(1.0 - known.iter().map(|event| event.known_ns.unwrap_or(0.0) * share(event)).sum::<f64>());
        }
        if rows.is_empty() {
            return None;
        }
        let mut fitted = robust(&shares, &rests, &weights).into_iter();
        let mut cost = |event: &Event| event.known_ns.or_else(|| fitted.next()).unwrap_or(0.0);
        let costs = events.into_iter().map(|event| (event, cost(event))).collect();
        Some(Self { engine, costs, rows: rows.len() })
    }

    /// The time that a program with this profile takes, nanoseconds.
    #[must_use]
    pub fn time(&self, profile: &Profile) -> f64 {
        let of =
            |profile: &Profile| -> f64 { self.costs.iter().map(|(event, cost)| event.count(profile) * cost).sum() };
        if profile.paces.is_empty() {
            return of(profile);
        }
        // It takes longer the more often the timer interrupts it, and the timer does so more often the longer it takes: wanted is
        // the time at which both agree. What never ends by that account is cut off.
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
}

/// The coefficients, none negative, that make the weighted sum of Huber's function of the errors least: what no event explains, such as a
/// time that other load lengthened, shall not bend the costs of all events (Huber, "Robust Estimation of a Location Parameter", 1964).
/// By reweighted least squares (Holland and Welsch, "Robust regression using iteratively reweighted least-squares", 1977).
fn robust(rows: &[Vec<f64>], right: &[f64], weights: &[f64]) -> Vec<f64> {
    let mut trust = vec![1.0; rows.len()];
    let mut fitted = Vec::new();
    for _ in 0..ROUNDS {
        let factors: Vec<f64> =
            weights.iter().zip(&trust).map(|(weight, trust): (&f64, &f64)| weight * trust.sqrt()).collect();
        let left: Vec<Vec<f64>> =
            rows.iter().zip(&factors).map(|(row, factor)| row.iter().map(|share| share * factor).collect()).collect();
        let scaled: Vec<f64> = right.iter().zip(&factors).map(|(right, factor)| right * factor).collect();
        fitted = nnls(&left, &scaled, RIDGE);
        let error = |(row, right): (&Vec<f64>, &f64)| {
            (row.iter().zip(&fitted).map(|(share, cost)| share * cost).sum::<f64>() - right).abs()
        };
        let next: Vec<f64> =
            rows.iter().zip(right).map(error).map(|error| (OUTLYING / error.max(1e-9)).min(1.0)).collect();
        let moved = next.iter().zip(&trust).map(|(next, trust)| (next - trust).abs()).fold(0.0, f64::max);
        trust = next;
        if moved < 1e-4 {
            break;
        }
    }
    fitted
}
