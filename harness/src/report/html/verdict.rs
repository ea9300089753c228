//! The experiment in two sentences.

use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::groups::Group;
use crate::report::summary::Summary;
use crate::report::units;
use crate::results::Experiment;
use crate::stats::{geometric_mean, median};

/// The verdict, computed from the data; one sentence that says so where there is nothing to compute.
pub(super) fn sentences(experiment: &Experiment, summary: &Summary, counters: &Counters) -> Vec<String> {
    if summary.cells.iter().all(|c| c.n == 0) {
        return vec![if experiment.runs.is_empty() {
            "No run has ended yet, so there is nothing to judge.".to_owned()
        } else {
            "No run ended well, so there is nothing to judge.".to_owned()
        }];
    }
    let mut sentences = vec![how_much(summary)];
    sentences.extend(why(summary, counters));
    sentences
}

fn how_much(summary: &Summary) -> String {
    let mut means: Vec<_> = summary.means.iter().filter(|m| !m.system).collect();
    means.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
    let Some(most) = means.iter().map(|m| m.workloads).max() else {
        return "No workload ran both natively and on another engine, so there is no slowdown against native to give."
            .to_owned();
    };
    let parts: Vec<String> = means.iter().map(|m| format!("{} {}", m.engine, units::ratio(m.estimate.value))).collect();
    let programs = if most == 1 { "1 program".to_owned() } else { format!("{most} programs") };
    format!("In geometric mean over {programs}, the time against native is {}.", list(&parts))
}

/// The costs behind the ratios: time per exit on KVM, time per guest instruction in emulation.
fn why(summary: &Summary, counters: &Counters) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(rate) = exits_per_ms(summary, counters, EngineId::Kvm) {
        let each = ns_per_exit(summary, counters, EngineId::Kvm)
            .map(|(workload, ns)| format!("; in {workload} each costs {}", units::time(ns)))
            .unwrap_or_default();
        let part = format!(
            "kvm runs guest instructions on the CPU itself and pays only when the guest leaves it ({} exits per ms in the \
             programs{each})",
            units::number(rate)
        );
        parts.push(part);
    }
    let emulators: Vec<String> = [EngineId::EmuDbt, EngineId::EmuInterp, EngineId::EmuNaive]
        .into_iter()
        .filter_map(|e| Some(format!("{} on {e}", units::time(ns_per_instruction(summary, counters, e)?))))
        .collect();
    if !emulators.is_empty() {
        parts.push(format!("emulation pays for every guest instruction ({})", list(&emulators)));
    }
    let sentence = parts.join(", while ");
    let first = sentence.chars().next()?;
    // Names of engines are lower case, also here.
    let sentence = if sentence.starts_with("kvm") {
        sentence
    } else {
        format!("{}{}", first.to_uppercase(), &sentence[first.len_utf8()..])
    };
    Some(format!("The reason: {sentence}."))
}

/// `a, b and c`.
pub(super) fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

fn is_program(summary: &Summary, workload: &str) -> bool {
    summary.workload(workload).is_some_and(|w| w.group.in_mean(false))
}

/// Exits per millisecond in the region of interest, median over the programs.
pub(super) fn exits_per_ms(summary: &Summary, counters: &Counters, engine: impl Into<Setup>) -> Option<f64> {
    let engine = engine.into();
    let rates: Vec<f64> = summary
        .cells
        .iter()
        .filter(|c| c.engine == engine && is_program(summary, &c.workload))
        .filter_map(|c| {
            let exits = counters.exits(engine, &c.workload).filter(|e| !e.whole_run)?;
            Some(exits.total / (c.median?.value / 1e6))
        })
        .collect();
    median(&rates)
}

/// The workload that exits most often, and its time per exit, where exits are all it does.
pub(super) fn ns_per_exit(summary: &Summary, counters: &Counters, engine: impl Into<Setup>) -> Option<(String, f64)> {
    let engine = engine.into();
    /// With fewer, the work between exits dominates.
    const MANY: f64 = 100.0;
    summary
        .cells
        .iter()
        .filter(|c| c.engine == engine)
        .filter(|c| summary.workload(&c.workload).is_some_and(|w| w.group == Group::System))
        .filter_map(|c| {
            let exits = counters.exits(engine, &c.workload).filter(|e| !e.whole_run)?;
            (exits.total >= MANY).then_some((c, exits.total, c.median?.value))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(cell, exits, ns)| (cell.workload.clone(), ns / exits))
}

/// Host time per guest instruction, geometric mean over the programs.
pub(super) fn ns_per_instruction(summary: &Summary, counters: &Counters, engine: impl Into<Setup>) -> Option<f64> {
    let costs: Vec<f64> = instruction_costs(summary, counters, engine)
        .into_iter()
        .filter(|c| is_program(summary, &c.0))
        .map(|c| c.1)
        .collect();
    geometric_mean(&costs)
}

/// Host time per guest instruction of every workload of an engine.
pub(super) fn instruction_costs(
    summary: &Summary,
    counters: &Counters,
    engine: impl Into<Setup>,
) -> Vec<(String, f64)> {
    let engine = engine.into();
    summary
        .cells
        .iter()
        .filter(|c| c.engine == engine)
        .filter_map(|c| {
            let instructions = counters.instructions(engine, &c.workload).filter(|&n| n > 0.0)?;
            Some((c.workload.clone(), c.median?.value / instructions))
        })
        .collect()
}
