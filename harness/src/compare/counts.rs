//! Exact counts: the same in every run of a cell, so that any change is one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::Setup;
use crate::results::{Experiment, RunRow};

/// A count that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The engine.
    pub engine: Setup,
    /// The workload, with its arguments.
    pub workload: String,
    /// What was counted.
    pub counter: String,
    /// In the first experiment.
    pub old: u64,
    /// In the second.
    pub new: u64,
}

/// Engine, workload, arguments, name of the count.
type Key = (Setup, String, String, String);

/// The counts of both that were each the same in all runs, and differ.
pub(super) fn changes(old: &Experiment, new: &Experiment, wanted: impl Fn(&RunRow) -> bool) -> Vec<Change> {
    let (old, new) = (exact(old, &wanted), exact(new, &wanted));
    let changed = |((engine, workload, args, counter), &new): (&Key, &u64)| {
        let old = *old.get(&(*engine, workload.clone(), args.clone(), counter.clone()))?;
        let workload = if args.is_empty() { workload.clone() } else { format!("{workload} {args}") };
        (old != new).then(|| Change { engine: *engine, workload, counter: counter.clone(), old, new })
    };
    new.iter().filter_map(changed).collect()
}

/// The counts that are the same in all runs of their cell.
fn exact(experiment: &Experiment, wanted: impl Fn(&RunRow) -> bool) -> BTreeMap<Key, u64> {
    let runs: BTreeMap<u32, &RunRow> =
        experiment.runs.iter().filter(|run| wanted(run)).map(|run| (run.run, run)).collect();
    let mut seen: BTreeMap<Key, (BTreeSet<u64>, usize)> = BTreeMap::new();
    let mut add = |run: &RunRow, counter: String, value: u64| {
        let key = (run.engine, run.workload.clone(), run.args.clone(), counter);
        let (values, count) = seen.entry(key).or_default();
        values.insert(value);
        *count += 1;
    };
    for run in runs.values() {
        if let Some(count) = run.guest_instructions {
            add(run, "guest_instructions".to_owned(), count);
        }
    }
    for row in &experiment.counters {
        let times = row.counter.ends_with("_ns") || row.counter.starts_with("total.");
        if let (false, Some(run)) = (times, runs.get(&row.run)) {
            add(run, format!("{}:{}", row.source, row.counter), row.value);
        }
    }
    let once = |(key, (values, count)): (_, (BTreeSet<u64>, usize))| {
        // A count of one run may as well be chance.
        (values.len() == 1 && count > 1).then(|| Some((key, values.first().copied()?))).flatten()
    };
    seen.into_iter().filter_map(once).collect()
}
