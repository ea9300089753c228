//! From times and profiles to what each event costs on an engine.

use std::collections::HashMap;

use super::data::{Data, Kind, Profile, Row};
use super::events::{Event, events};
use crate::model::EngineId;
use crate::stats::nnls;

/// Keeps the costs of events that always occur together small rather than arbitrary.
const RIDGE: f64 = 1e-6;
/// Weight of a micro-benchmark against a workload: there are many, and workloads are what is asked about.
const MICRO: f64 = 0.5;

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
            let alike = sizes.get(&(row.kind, row.name.as_str())).copied().unwrap_or(1.0);
            let kind = if row.kind == Kind::Micro { MICRO } else { 1.0 };
            let weight = kind / alike.sqrt();
            left.push(events.iter().map(|event| weight * event.count(profile) / row.ns).collect::<Vec<f64>>());
            right.push(weight);
        }
        let costs = nnls(&left, &right, RIDGE);
        let model = Self { engine, costs: events.into_iter().zip(costs).collect(), rows: rows.len() };
        (!model.costs.is_empty()).then_some(model)
    }

    /// The time that a program with this profile takes, nanoseconds.
    #[must_use]
    pub fn time(&self, profile: &Profile) -> f64 {
        self.costs.iter().map(|(event, cost)| event.count(profile) * cost).sum()
    }
}
