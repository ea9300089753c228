//! How well the model foretells what it has not seen.

use serde::Serialize;

use super::account::Account;
use super::data::{Data, Kind};
use super::fit::Model;
use crate::model::EngineId;

/// What a model that has not seen a workload says of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The engine.
    pub engine: EngineId,
    /// The workload.
    pub workload: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Runs that were measured.
    pub n: usize,
    /// What was measured, nanoseconds: the median.
    pub measured_ns: f64,
    /// What the model says, nanoseconds.
    pub predicted_ns: f64,
    /// The second over the first.
    pub ratio: f64,
    /// The part of the measured time that a model which has seen it explains: `1 - |rest| / time`.
    pub explained: f64,
}

impl Prediction {
    /// Whether it is off by at most this part, such as 0.25, in either direction: the ratio is within `1 ± part`.
    #[must_use]
    pub fn is_within(&self, part: f64) -> bool {
        (self.ratio - 1.0).abs() <= part
    }
}

/// Leaves out one workload after another, all its sizes together, fits the costs to the others and to the micro-benchmarks, and
/// predicts it. Only the workload `only`, if there is one.
#[must_use]
pub fn held_out(data: &Data, engines: &[EngineId], only: Option<&str>) -> Vec<Prediction> {
    let mut predictions = Vec::new();
    for &engine in engines {
        let Some(all) = Model::fit(engine, data, None) else { continue };
        let mut names: Vec<&str> = Vec::new();
        for (row, _) in data.on(engine).filter(|(row, _)| row.kind == Kind::Workload) {
            if !names.contains(&row.name.as_str()) && only.is_none_or(|name| name == row.name) {
                names.push(&row.name);
            }
        }
        for name in names {
            let Some(model) = Model::fit(engine, data, Some(name)) else { continue };
            let own = data.on(engine).filter(|(row, _)| row.kind == Kind::Workload && row.name == name);
            predictions.extend(own.map(|(row, profile)| {
                let predicted_ns = model.time(profile);
                Prediction {
                    engine,
                    workload: row.name.clone(),
                    args: row.args.clone(),
                    n: row.n,
                    measured_ns: row.ns,
                    predicted_ns,
                    ratio: predicted_ns / row.ns,
                    explained: Account::of(&all, profile, row.ns, row.n).explained,
                }
            }));
        }
    }
    predictions
}
