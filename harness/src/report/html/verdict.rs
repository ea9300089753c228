//! The experiment in two sentences.

use super::about::backend;
use super::view::KeyFigure;
use crate::host::KvmBackend;
use crate::model::{EngineId, Setup};
use crate::report::counters::Counters;
use crate::report::groups::Group;
use crate::report::summary::{Mean, Summary};
use crate::report::units;
use crate::results::Experiment;
use crate::stats::{geometric_mean, median};

/// The verdict, computed from the data: what virtualization cost and what emulation cost, a sentence each; one sentence that
/// says so where there is nothing to compute.
pub(super) fn sentences(experiment: &Experiment, summary: &Summary) -> Vec<String> {
    let nothing = if summary.cells.iter().any(|c| c.n > 0) {
        "No workload ran both natively and on another engine, so there is no slowdown against native to give."
    } else if experiment.runs.is_empty() {
        "No run has ended yet, so there is nothing to judge."
    } else {
        "No run ended well, so there is nothing to judge."
    };
    let virtualized = cost(summary, EngineId::is_on_kvm);
    let emulated = cost(summary, |engine| engine.has_emulated_cpu() || engine == EngineId::QemuTcg);
    if virtualized.is_none() && emulated.is_none() {
        return vec![nothing.to_owned()];
    }
    let kvm = kvm(experiment);
    vec![
        match virtualized {
            Some(cost) => format!("What virtualization cost here, with {kvm}: {cost}."),
            None => format!(
                "What virtualization costs here was not measured: no engine on {kvm} can be set against native."
            ),
        },
        match emulated {
            Some(cost) => format!("What emulation cost here: {cost}."),
            None => "What emulation costs here was not measured: no emulator can be set against native.".to_owned(),
        },
    ]
}

/// The KVM of the host with its backend: figures of one backend say nothing about another.
fn kvm(experiment: &Experiment) -> String {
    let nested = experiment.meta.host.pointer("/kvm/nested").and_then(serde_json::Value::as_bool) == Some(true);
    let hardware = match backend(experiment) {
        Some(KvmBackend::Pvm) => return "KVM on the backend PVM (no hardware support)".to_owned(),
        Some(backend @ (KvmBackend::VtX | KvmBackend::AmdV)) => format!("KVM on the backend {backend}"),
        Some(KvmBackend::Unknown) => return "KVM on an unknown backend".to_owned(),
        Some(KvmBackend::None) | None => return "KVM".to_owned(),
    };
    if nested { format!("{hardware} (nested in another hypervisor)") } else { hardware }
}

/// What engines of a kind cost: the programs, then the system workloads.
fn cost(summary: &Summary, is_kind: fn(EngineId) -> bool) -> Option<String> {
    let parts: Vec<String> = [false, true]
        .into_iter()
        .filter_map(|system| {
            let mut means: Vec<_> =
                summary.means.iter().filter(|m| m.system == system && is_kind(m.engine.id)).collect();
            means.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
            let most = means.iter().map(|m| m.workloads).max()?;
            let values: Vec<String> =
                means.iter().map(|m| format!("{} ({})", units::ratio(m.estimate.value), m.engine)).collect();
            let values = list(&values);
            Some(match (system, most) {
                (false, 1) => format!("1 program took {values} as long as natively"),
                (false, n) => format!("{n} programs took {values} as long as natively, in geometric mean"),
                (true, 1) => format!("1 system workload, which does little but enter the kernel, {values}"),
                (true, n) => format!("{n} system workloads, which do little but enter the kernel, {values}"),
            })
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The engines by their slowdown over the programs, the fastest first.
pub(super) fn figures(summary: &Summary) -> Vec<KeyFigure> {
    let mut means: Vec<_> = summary.means.iter().filter(|m| !m.system).collect();
    means.sort_by(|a, b| a.estimate.value.total_cmp(&b.estimate.value));
    let figure = |m: &&Mean| KeyFigure {
        engine: m.engine.name(),
        value: units::ratio(m.estimate.value),
        note: m
            .estimate
            .interval
            .map_or(String::new(), |i| format!("{}–{}", units::number(i.low), units::number(i.high))),
    };
    means.iter().map(figure).collect()
}

/// The costs behind the ratios: time per exit on KVM, time per guest instruction in emulation.
pub(super) fn reason(summary: &Summary, counters: &Counters) -> Option<String> {
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
