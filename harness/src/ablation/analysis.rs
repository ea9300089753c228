//! What an ablation says in numbers.

use super::steps::{Kind, Step};
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::results::Experiment;
use crate::stats::Estimate;

/// One step on one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Label of the workload.
    pub workload: String,
    /// Index of the step.
    pub step: usize,
    /// Runs that count.
    pub n: usize,
    /// The time, nanoseconds.
    pub median: Option<Estimate>,
    /// How many times the time of native.
    pub slowdown: Option<Estimate>,
    /// What the step is worth: the time before over the time after where something was added, the time without over the
    /// time with where something was taken out. Above 1 the mechanism pays.
    pub factor: Option<Estimate>,
}

/// What a step is worth over all programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Index of the step.
    pub step: usize,
    /// Geometric mean of the factors.
    pub mean: Estimate,
    /// The workload with the smallest factor, and that.
    pub least: (String, f64),
    /// The workload with the largest factor, and that.
    pub most: (String, f64),
    /// Over how many workloads.
    pub workloads: usize,
}

/// An ablation in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// What was measured, and what it is compared with.
    pub steps: Vec<Step>,
    /// Every step on every workload, by workload.
    pub rows: Vec<Row>,
    /// Per step that is compared, in the order of the steps: what it is worth.
    pub effects: Vec<Effect>,
}

impl Analysis {
    /// Analyses an experiment; `None` where it is no ablation.
    #[must_use]
    pub fn new(experiment: &Experiment, summary: &Summary) -> Option<Self> {
        let steps = experiment.meta.plan.ablation.clone();
        if steps.is_empty() {
            return None;
        }
        let mut rows = Vec::new();
        for workload in &summary.workloads {
            for (index, step) in steps.iter().enumerate() {
                let Some(cell) = summary.cell(step.engine, &workload.label) else { continue };
                rows.push(Row {
                    workload: workload.label.clone(),
                    step: index,
                    n: cell.n,
                    median: cell.median,
                    slowdown: cell.ratio.filter(|_| workload.baseline == Some(EngineId::Native)),
                    factor: sides(step)
                        .and_then(|[slow, fast]| summary.ratio_of(&step.name, &workload.label, slow, fast)),
                });
            }
        }
        let effects =
            steps.iter().enumerate().filter_map(|(index, step)| effect(summary, &rows, index, step)).collect();
        Some(Self { steps, rows, effects })
    }

    /// The row of a step on a workload.
    #[must_use]
    pub fn row(&self, step: usize, workload: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.step == step && r.workload == workload)
    }

    /// What a step is worth over all programs.
    #[must_use]
    pub fn effect(&self, step: usize) -> Option<&Effect> {
        self.effects.iter().find(|e| e.step == step)
    }

    /// The steps of the ladder with their indices, in order.
    pub fn ladder(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(|(_, step)| step.kind != Kind::Removed)
    }

    /// The steps that take something out of `full`, with their indices.
    pub fn removals(&self, full: EngineId) -> impl Iterator<Item = (usize, &Step)> {
        let of = move |step: &Step| step.kind == Kind::Removed && step.against.is_some_and(|against| against == full);
        self.steps.iter().enumerate().filter(move |(_, step)| of(step))
    }

    /// The step that adds a mechanism.
    #[must_use]
    pub fn added(&self, mechanism: &str) -> Option<(usize, &Step)> {
        self.ladder().find(|(_, step)| step.kind == Kind::Added && step.mechanism.as_deref() == Some(mechanism))
    }

    /// The step that takes a mechanism out of `full`.
    #[must_use]
    pub fn removed(&self, full: EngineId, mechanism: &str) -> Option<(usize, &Step)> {
        self.removals(full).find(|(_, step)| step.mechanism.as_deref() == Some(mechanism))
    }
}

/// The setups whose times a step's factor divides: the one that should be slower over the other.
fn sides(step: &Step) -> Option<[Setup; 2]> {
    let against = step.against?;
    Some(if step.kind == Kind::Removed { [step.engine, against] } else { [against, step.engine] })
}

fn effect(summary: &Summary, rows: &[Row], index: usize, step: &Step) -> Option<Effect> {
    let [slow, fast] = sides(step)?;
    let program = |label: &str| summary.workload(label).is_some_and(|w| w.group.in_mean(false));
    let mut factors: Vec<(String, f64)> = rows
        .iter()
        .filter(|row| row.step == index && program(&row.workload))
        .filter_map(|row| Some((row.workload.clone(), row.factor?.value)))
        .collect();
    let labels: Vec<&str> = factors.iter().map(|f| f.0.as_str()).collect();
    let mean = summary.mean_ratio(&step.name, &labels, slow, fast)?;
    factors.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some(Effect {
        step: index,
        mean,
        workloads: factors.len(),
        least: factors.first()?.clone(),
        most: factors.last()?.clone(),
    })
}

/// Host time per guest instruction of a setup on a workload, nanoseconds. Every setup executes the same instructions, so
/// one that does not count them takes another's count.
pub(crate) fn ns_per_instruction(summary: &Summary, counters: &Counters, setup: Setup, workload: &str) -> Option<f64> {
    let own = counters.instructions(setup, workload);
    let count = own.or_else(|| summary.engines.iter().find_map(|&e| counters.instructions(e, workload)))?;
    let time = summary.cell(setup, workload)?.median?.value;
    (count > 0.0).then(|| time / count)
}
