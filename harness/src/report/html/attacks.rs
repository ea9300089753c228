//! The isolation suite: what became of each hostile guest on each engine.

use super::view::{Cell, Part, Table};
use crate::isolation::{Finding, Tested, attacks};
use crate::report::units;

/// What to do where it was not run.
pub(super) const ABSENT: &str = "Whether hostile guests stay contained was not tested on this host, or not beside this \
    folder. evlab isolation does it in some two minutes; evlab report then shows it here.";

/// The part of the page; `None` says how to get it.
pub(super) fn part(tested: Option<&Tested>) -> Part {
    let Some(tested) = tested else {
        return Part { intro: vec![ABSENT.to_owned()], ..Part::default() };
    };
    Part { is_there: true, intro: intro(tested), tables: vec![table(tested)], notes: notes(tested), ..Part::default() }
}

/// The attacks that were not contained, one sentence each: what must not be overlooked.
pub(super) fn alerts(tested: &Tested) -> Vec<String> {
    let is_out = |f: &&Finding| f.contained == Some(false);
    let sentence = |f: &Finding| format!("{} was not contained on {}: {}.", f.attack, f.engine, f.breaches.join("; "));
    tested.findings.iter().filter(is_out).map(sentence).collect()
}

fn intro(tested: &Tested) -> Vec<String> {
    let tried = tested.findings.iter().filter(|finding| finding.contained.is_some()).count();
    let bad = tested.findings.iter().filter(|finding| finding.contained == Some(false)).count();
    let checked = tested.findings.iter().filter(|finding| finding.memory_checked).count();
    let verdict = match bad {
        0 => format!("All {tried} attacks were contained, and every guest beside them computed the right result."),
        _ => format!("{bad} of {tried} attacks were NOT contained."),
    };
    let mut intro = vec![
        verdict,
        format!(
            "evlab isolation tested this on {} ({}): each attack is a guest in a process of its own, with another guest beside it on \
             the same engine. Contained means that the process ends in good order, the guest as the attack allows, and the guest beside \
             it computes the right result; in {checked} of the runs the memory around guest RAM was checked too, which is not \
             possible in QEMU's process and in a Linux process.",
            units::day(&tested.meta.started),
            tested.meta.tool.version
        ),
    ];
    if tested.findings.len() < tested.meta.planned {
        intro.push(format!(
            "It was stopped before its end: {} of {} have a result.",
            tested.findings.len(),
            tested.meta.planned
        ));
    }
    if !tested.meta.sandbox {
        intro.push("The guests ran without the sandbox (--no-sandbox).".to_owned());
    }
    intro
}

/// One row per attack, one column per engine: how it ended.
fn table(tested: &Tested) -> Table {
    let engines = tested.engines();
    let mut table = Table::new("How each attack ended on each engine; all but NOT CONTAINED is well", ["attack"]);
    table.head.extend(engines.iter().map(|engine| engine.name().to_owned()));
    table.head.push("what it does".to_owned());
    // Those of this version in their order, then those that only another knows.
    let known = attacks().iter().map(|attack| (attack.name, attack.summary));
    let others = tested.findings.iter().map(|finding| (finding.attack.as_str(), ""));
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for (name, summary) in known.chain(others) {
        let is_in = tested.findings.iter().any(|finding| finding.attack == name);
        if is_in && !shown.iter().any(|(other, _)| *other == name) {
            shown.push((name, summary));
        }
    }
    for (name, summary) in shown {
        let mut row = vec![Cell::code(name)];
        row.extend(engines.iter().map(|&engine| {
            let finding = tested.findings.iter().find(|finding| finding.attack == name && finding.engine == engine);
            finding.map_or_else(|| Cell::text(""), cell)
        }));
        row.push(Cell { class: "wide", ..Cell::text(summary) });
        table.rows.push(row);
    }
    table
}

fn cell(finding: &Finding) -> Cell {
    match finding.contained {
        None => Cell { class: "none", ..Cell::text("–") },
        Some(true) => Cell::text(&finding.outcome),
        Some(false) => Cell::bad("NOT CONTAINED"),
    }
}

/// Why attacks do not apply, each reason once.
fn notes(tested: &Tested) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for finding in tested.findings.iter().filter(|finding| finding.contained.is_none()) {
        let what = format!("{} on {}", finding.attack, finding.engine);
        match reasons.iter_mut().find(|(reason, _)| *reason == finding.outcome) {
            Some((_, list)) => list.push(what),
            None => reasons.push((&finding.outcome, vec![what])),
        }
    }
    reasons.into_iter().map(|(reason, list)| format!("– {reason}: {}.", list.join(", "))).collect()
}
