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
        let mut left = Vec::new();
        let mut right = Vec::new();
        for (row, profile) in &rows {
            let profile = profile.at(row.ns);
            let alike = sizes.get(&(row.kind, row.name.as_str())).copied().unwrap_or(1.0);
            let kind = if row.kind == Kind::Micro { MICRO } else { 1.0 };
            let weight = kind / alike.sqrt();
            let share = |event: &Event| event.count(&profile) / row.ns;
            let known: f64 = events.iter().filter_map(|event| Some(event.known_ns? * share(event))).sum();
            let asked = events.iter().filter(|event| event.known_ns.is_none());
            left.push(asked.map(|event| weight * share(event)).collect::<Vec<f64>>());
            right.push(weight * (1.0 - known));
        }
        if rows.is_empty() {
            return None;
        }
        let mut fitted = nnls(&left, &right, RIDGE).into_iter();
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
