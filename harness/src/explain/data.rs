//! What a cost model is made from: times of runs, and the profiles of what ran.

use std::borrow::Cow;
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
    /// The same where the timer interrupts the program, by how long an instruction takes, the shortest first; empty where no timer
    /// does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paces: Vec<Pace>,
}

/// Events of a program that the timer interrupts, when it takes so long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Time of the region of interest by the guest's clock, nanoseconds.
    pub ns: f64,
    /// How often each event occurred.
    pub counts: BTreeMap<String, f64>,
}

impl Pace {
    /// The part of the time in which the guest does not sleep, nanoseconds.
    fn busy_ns(&self) -> f64 {
        (self.ns - count(&self.counts, WAITED)).max(0.0)
    }
}

/// The counter of nanoseconds for which the guest sleeps.
pub(super) const WAITED: &str = "wait_ns";

impl Profile {
    /// The profile of a run that is busy for so many nanoseconds: the longer it is, the more often the timer interrupts it, and the
    /// less it sleeps until the next tick. Between two paces, and beyond the slowest, counts change linearly with time; below the
    /// fastest they are as there.
    #[must_use]
    pub fn at(&self, busy_ns: f64) -> Cow<'_, Self> {
        let after = self.paces.iter().position(|pace| pace.busy_ns() >= busy_ns).unwrap_or(self.paces.len());
        let counts = match (after.checked_sub(1).and_then(|i| self.paces.get(i)), self.paces.get(after)) {
            (None, None) => return Cow::Borrowed(self),
            (None, Some(fastest)) => fastest.counts.clone(),
            (Some(before), Some(after)) => between(before, after, busy_ns),
            (Some(slowest), None) => match after.checked_sub(2).and_then(|i| self.paces.get(i)) {
                Some(before) if slowest.busy_ns() > before.busy_ns() => between(before, slowest, busy_ns),
                _ => slowest.counts.clone(),
            },
        };
        Cow::Owned(Self { counts, paces: Vec::new(), ..self.clone() })
    }

    /// The profile of a run that takes so long, and is to be busy for `busy_ns`: if it takes longer than that and its sleep, it is
    /// busy for longer in proportion.
    #[must_use]
    pub fn of_run(&self, ns: f64, busy_ns: f64) -> Cow<'_, Self> {
        let Some(fastest) = self.paces.first() else { return Cow::Borrowed(self) };
        let busy_ns = busy_ns.max(fastest.busy_ns());
        self.at(busy_ns * ns / (busy_ns + self.at(busy_ns).count(WAITED)))
    }

    /// How often the event of a counter occurred.
    #[must_use]
    pub fn count(&self, counter: &str) -> f64 {
        count(&self.counts, counter)
    }
}

/// How often the event of a counter occurred.
fn count(counts: &BTreeMap<String, f64>, counter: &str) -> f64 {
    counts.get(counter).copied().unwrap_or(0.0)
}

/// The counts at a time on the line through two paces; none is negative.
fn between(first: &Pace, second: &Pace, busy_ns: f64) -> BTreeMap<String, f64> {
    let part = (busy_ns - first.busy_ns()) / (second.busy_ns() - first.busy_ns());
    let at = |(counter, late): (&String, &f64)| {
        let early = count(&first.counts, counter);
        (counter.clone(), (early + part * (late - early)).max(0.0))
    };
    second.counts.iter().map(at).collect()
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
