//! What a cost model is made from: times of runs, and the profiles of what ran.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::EngineId;

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A workload of the catalogue, or a program of one's own.
    Workload,
    /// One iteration of a micro-benchmark's loop.
    Micro,
}

/// Events of one program in its region of interest, by the name of their counter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// What was run.
    pub kind: Kind,
    /// Its name: a workload's, a path, or `event/ring`.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// SHA-256 of the program.
    pub image_sha256: String,
    /// How often each event occurred.
    pub counts: BTreeMap<String, f64>,
}

impl Profile {
    /// How often the event of a counter occurred.
    #[must_use]
    pub fn count(&self, counter: &str) -> f64 {
        self.counts.get(counter).copied().unwrap_or(0.0)
    }
}

/// The time of one program on one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The engine.
    pub engine: EngineId,
    /// What was run.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Runs.
    pub n: usize,
    /// Median time of the region of interest, or of one iteration, nanoseconds.
    pub ns: f64,
}

/// Times with the profiles of what ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// The times.
    pub rows: Vec<Row>,
    /// The profiles, one for each program and arguments.
    pub profiles: Vec<Profile>,
}

impl Data {
    /// The profile of what a row ran.
    #[must_use]
    pub fn profile(&self, row: &Row) -> Option<&Profile> {
        self.profiles.iter().find(|p| p.kind == row.kind && p.name == row.name && p.args == row.args)
    }

    /// The times on an engine whose profile is known, with it.
    pub fn on(&self, engine: EngineId) -> impl Iterator<Item = (&Row, &Profile)> {
        self.rows.iter().filter(move |row| row.engine == engine).filter_map(|row| Some((row, self.profile(row)?)))
    }

    /// The engines that there are times of, in the usual order.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineId> {
        EngineId::ALL.into_iter().filter(|engine| self.rows.iter().any(|row| row.engine == *engine)).collect()
    }
}
