//! The counters of an experiment, per cell.
//!
//! A cell's count is the median over its runs with status `ok`. A run that has counters of a source but not this one
//! counts as 0, since writers leave out what did not occur.

use std::collections::{BTreeMap, BTreeSet};

use super::summary::Labels;
use crate::meaning::quadrant::{ERROR, PARTS};
use crate::model::{Setup, Status};
use crate::results::Experiment;
use crate::stats::median;

/// Exits to the VMM inside the region of interest, by the machine itself: this prefix and a reason, or `total`.
const VMM_EXIT: &str = "exit.";

type Source = BTreeMap<u32, BTreeMap<String, u64>>;

/// The counters of all runs that count.
#[derive(Debug, Default)]
pub struct Counters {
    cells: BTreeMap<(Setup, String), BTreeMap<String, Source>>,
    instructions: BTreeMap<(Setup, String), Vec<f64>>,
    /// How often each latency occurred, in all runs of a cell together: by its name, and by the middle of its bucket.
    histograms: BTreeMap<(Setup, String), BTreeMap<String, BTreeMap<u64, u64>>>,
}

/// The exits of one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Exits {
    /// All of them.
    pub total: f64,
    /// By reason, those that occurred; the rest is what the source did not classify.
    pub reasons: Vec<(String, f64)>,
    /// Whether KVM's own statistics counted them, which include exits that the kernel served itself.
    pub by_kvm: bool,
    /// Whether they are of the whole run, since nobody read the counter at the borders of the region of interest.
    pub whole_run: bool,
}

impl Counters {
    /// Collects the counters.
    #[must_use]
    pub fn new(experiment: &Experiment) -> Self {
        let labels = Labels::new(experiment);
        let mut counters = Self::default();
        let mut keys = BTreeMap::new();
        for run in experiment.runs.iter().filter(|r| r.status == Status::Ok) {
            let key = (run.engine, labels.of(run));
            if let Some(n) = run.guest_instructions {
                let all = counters.instructions.entry(key.clone()).or_default();
                all.push(n as f64);
            }
            keys.insert(run.run, key);
        }
        for row in &experiment.counters {
            if let Some(key) = keys.get(&row.run) {
                let cell = counters.cells.entry(key.clone()).or_default();
                let source = cell.entry(row.source.clone()).or_default();
                let run = source.entry(row.run).or_default();
                run.insert(row.counter.clone(), row.value);
            }
        }
        for row in &experiment.histograms {
            if let Some(key) = keys.get(&row.run) {
                let cell = counters.histograms.entry(key.clone()).or_default();
                let histogram = cell.entry(row.latency.clone()).or_default();
                let count = histogram.entry(row.from_ns.midpoint(row.to_ns)).or_default();
                *count = count.saturating_add(row.count);
            }
        }
        counters
    }

    /// Latencies of all exits of a cell, of any reason, in nanoseconds, and how often each occurred in all its runs; the
    /// shortest first. `prefix` is `exit.` for the serving, `run.` for the stay in the virtual CPU before it.
    #[must_use]
    pub fn latencies(&self, engine: impl Into<Setup>, workload: &str, prefix: &str) -> Vec<(f64, u64)> {
        let mut all: BTreeMap<u64, u64> = BTreeMap::new();
        let cell = self.histograms.get(&(engine.into(), workload.to_owned()));
        for (name, histogram) in cell.into_iter().flatten() {
            // Further points in a name are parts of what is counted under the name before them.
            if name.strip_prefix(prefix).is_some_and(|reason| !reason.contains('.')) {
                for (&length, &count) in histogram {
                    let sum = all.entry(length).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
        }
        all.into_iter().map(|(length, count)| (length as f64, count)).collect()
    }

    /// The median of a value over those runs of a cell that have it: for what is not 0 where it is missing.
    #[must_use]
    pub fn where_known(&self, engine: Setup, workload: &str, source: &str, counter: &str) -> Option<f64> {
        let runs = self.source(engine, workload, source)?;
        let values: Vec<f64> = runs.values().filter_map(|run| run.get(counter)).map(|&v| v as f64).collect();
        median(&values)
    }

    fn source(&self, engine: Setup, workload: &str, source: &str) -> Option<&Source> {
        self.cells.get(&(engine, workload.to_owned()))?.get(source)
    }

    /// The count of a cell, `None` where no run has counters of that source with that name.
    #[must_use]
    pub fn get(&self, engine: impl Into<Setup>, workload: &str, source: &str, counter: &str) -> Option<f64> {
        let runs = self.source(engine.into(), workload, source)?;
        if !runs.values().any(|run| run.contains_key(counter)) {
            return None;
        }
        let values: Vec<f64> = runs.values().map(|run| run.get(counter).copied().unwrap_or(0) as f64).collect();
        median(&values)
    }

    /// Guest instructions in the region of interest, from `runs.csv` or else from the emulator.
    #[must_use]
    pub fn instructions(&self, engine: impl Into<Setup>, workload: &str) -> Option<f64> {
        let engine = engine.into();
        self.instructions
            .get(&(engine, workload.to_owned()))
            .and_then(|all| median(all))
            .or_else(|| self.get(engine, workload, "emu", "instructions"))
    }

    /// The parts of the region of interest in the order of [`PARTS`], nanoseconds; `None` where nobody knows any.
    #[must_use]
    pub fn quadrants(&self, engine: Setup, workload: &str) -> Option<[f64; PARTS.len()]> {
        let get = |name: &str| ["vmm", "host"].into_iter().find_map(|source| self.get(engine, workload, source, name));
        let parts = PARTS.map(|(name, _)| get(name).unwrap_or(0.0));
        (parts.iter().sum::<f64>() > 0.0).then_some(parts)
    }

    /// How far one of them may be off, nanoseconds: the median of the runs.
    #[must_use]
    pub fn quadrant_error(&self, engine: Setup, workload: &str) -> Option<f64> {
        ["vmm", "host"].into_iter().find_map(|source| self.where_known(engine, workload, source, ERROR))
    }

    /// The sum of all counters whose name begins with `prefix`, `None` where the cell has no counters of that source.
    #[must_use]
    pub fn sum(&self, engine: impl Into<Setup>, workload: &str, source: &str, prefix: &str) -> Option<f64> {
        let runs = self.source(engine.into(), workload, source)?;
        let sums: Vec<f64> = runs
            .values()
            .map(|run| run.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, &value)| value as f64).sum())
            .collect();
        median(&sums)
    }

    /// The exits of a cell: the machine's own count, or KVM's where another VMM ran the guest.
    #[must_use]
    pub fn exits(&self, engine: impl Into<Setup>, workload: &str) -> Option<Exits> {
        let engine = engine.into();
        let count = |source: &'static str, prefix: &'static str, total: &str, reason: fn(&str) -> Option<&str>| {
            let total = self.get(engine, workload, source, &format!("{prefix}{total}"))?;
            let reasons = self
                .names(engine, workload, source)
                .iter()
                .filter_map(|name| Some((reason(name.strip_prefix(prefix)?)?.to_owned(), name)))
                .filter_map(|(reason, name)| Some((reason, self.get(engine, workload, source, name)?)))
                .filter(|&(_, n)| n > 0.0)
                .collect();
            Some(Exits { total, reasons, by_kvm: source == "kvm", whole_run: !prefix.is_empty() })
        };
        count("vmm", "", "exit.total", vmm_reason)
            .or_else(|| count("kvm", "", "exits", kvm_reason))
            .or_else(|| count("kvm", "total.", "exits", kvm_reason))
    }

    /// Whether some cell's exits are of the whole run.
    #[must_use]
    pub fn any_whole_run(&self) -> bool {
        self.cells.keys().any(|(engine, workload)| self.exits(*engine, workload).is_some_and(|e| e.whole_run))
    }

    /// The names of a cell's counters of one source.
    pub(super) fn names(&self, engine: Setup, workload: &str, source: &str) -> BTreeSet<String> {
        self.source(engine, workload, source)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(|run| run.keys().cloned())
            .collect()
    }
}

/// `io` for `exit.io`.
fn vmm_reason(name: &str) -> Option<&str> {
    let reason = name.strip_prefix(VMM_EXIT)?;
    // Points are in the names of parts of a reason's count, and of its latencies.
    (reason != "total" && !reason.ends_with("_ns") && !reason.contains('.')).then_some(reason)
}

/// `io` for `io_exits`: names of KVM's binary statistics (Linux, Documentation/virt/kvm/api.rst, 4.130).
fn kvm_reason(name: &str) -> Option<&str> {
    let reason = name.strip_suffix("_exits")?;
    Some(match reason {
        "halt" => "hlt",
        // Asked for by the VMM itself; each is part of another reason's count.
        "request_irq" => return None,
        other => other,
    })
}
