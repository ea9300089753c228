//! The section on clocks: what an empty region of interest costs, and the runs whose clocks disagree.

use super::verdict::list;
use super::view::{Cell, Table};
use crate::report::clocks::{ASSUMED_NS, Clocks, MULTIPLE, MULTIPLE_BY_PIPE, SHARE};
use crate::report::units;

/// Most runs that are listed; `runs.csv` has them all.
const MOST: usize = 40;

/// Sentences on how far the clocks agree.
pub(super) fn sentences(clocks: &Clocks) -> Vec<String> {
    let mut sentences = Vec::new();
    if clocks.judged == 0 {
        sentences.push("No run has both a host and a guest time to compare.".to_owned());
    } else {
        sentences.push(
            "The host stamps both ends of the region of interest, and the guest reads its time-stamp counter there. The \
             host's time has the markers' way in it; the empty region of interest (noop) is nothing but that."
                .to_owned(),
        );
        sentences.push(format!("{} Such runs stay in the statistics.", verdict(clocks)));
    }
    if !clocks.assumed.is_empty() {
        let names: Vec<String> = clocks.assumed.iter().map(ToString::to_string).collect();
        sentences.push(format!(
            "No empty region was measured on {}; {} was allowed there instead.",
            list(&names),
            units::time(ASSUMED_NS)
        ));
    }
    if clocks.own_time > 0 {
        sentences.push(format!(
            "{} on emu-* had a time of the guest's own (--deterministic), which no host clock can check.",
            runs(clocks.own_time)
        ));
    }
    if clocks.flagged.len() > MOST {
        sentences.push(format!("The worst {MOST} are listed."));
    }
    sentences
}

fn verdict(clocks: &Clocks) -> String {
    format!(
        "In {} of {} the two disagree by more than {}% and the way of the markers: {MULTIPLE} times the empty region's \
         difference, {MULTIPLE_BY_PIPE} times where a thread must be woken to read them (native, qemu-*).",
        clocks.flagged.len(),
        runs(clocks.judged),
        SHARE * 100.0
    )
}

fn runs(n: usize) -> String {
    if n == 1 { "1 run".to_owned() } else { format!("{} runs", units::count(n as u64)) }
}

/// What the empty region costs on each engine, by both clocks.
pub(super) fn empty(clocks: &Clocks) -> Table {
    let mut table = Table::new(
        "The empty region of interest, by both clocks",
        ["engine", "n", "host clock", "guest clock", "difference", "allowed besides 0.5%"],
    );
    for empty in &clocks.empty {
        table.rows.push(vec![
            Cell::code(empty.engine.name()),
            Cell::number(Some(empty.n as f64), |n| format!("{n}")),
            Cell::number(Some(empty.host_ns), units::time),
            Cell::number(Some(empty.guest_ns), units::time),
            Cell::number(Some(empty.difference_ns), units::time),
            Cell::number(clocks.way(empty.engine), units::time),
        ]);
    }
    table
}

/// The runs whose clocks disagree, the worst first.
pub(super) fn flagged(clocks: &Clocks) -> Table {
    let mut table = Table::new(
        "Runs whose clocks disagree",
        ["run", "workload", "engine", "host clock", "guest clock", "difference", "share", "allowed"],
    );
    for run in clocks.flagged.iter().take(MOST) {
        let share = Cell::number(Some(run.share()), |s| format!("{:+.2}%", s * 100.0));
        table.rows.push(vec![
            Cell::number(Some(f64::from(run.run)), |n| format!("{n}")),
            Cell::code(&run.workload),
            Cell::code(run.engine.name()),
            Cell::number(Some(run.host_ns), units::time),
            Cell::number(Some(run.guest_ns), units::time),
            Cell::number(Some(run.host_ns - run.guest_ns), units::time),
            Cell { class: "num bad", ..share },
            Cell::number(Some(run.allowed_ns), units::time),
        ]);
    }
    table
}
