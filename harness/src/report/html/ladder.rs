//! The ladder in numbers: every workload on every rung.

use super::view::{Cell, Table};
use crate::report::ladder::{Ladder, Rung};
use crate::report::summary::Summary;
use crate::report::units;
use crate::stats::{Estimate, Interval};

/// One row per workload, one column per rung: the time against native, and below it the time of the rung before over it.
pub(super) fn table(summary: &Summary) -> Table {
    let ladders: Vec<Ladder> = [false, true].into_iter().filter_map(|system| Ladder::of(summary, system)).collect();
    let mut table = Table::new("The ladder of each workload: time against native", ["workload"]);
    // Both have the same rungs in nearly every experiment; where not, a column is empty in one.
    let mut engines: Vec<_> = ladders.iter().flat_map(|ladder| &ladder.rungs).map(|rung| rung.engine).collect();
    engines.sort_by_key(|engine| crate::report::ladder::RUNGS.iter().position(|rung| rung == engine));
    engines.dedup();
    table.head.extend(engines.iter().map(|engine| engine.name().to_owned()));
    for ladder in &ladders {
        for workload in &ladder.workloads {
            let steps = ladder.steps(summary, workload);
            let mut row = vec![Cell::code(workload)];
            row.extend(engines.iter().map(|engine| {
                let step = steps.iter().find(|step| step.0 == *engine);
                let slowdown = step.and_then(|step| step.1);
                Cell::number(slowdown, units::ratio).with_note(step.and_then(|step| step.2).map_or(String::new(), sign))
            }));
            table.rows.push(row);
        }
        let group = if ladder.system { "system" } else { "programs" };
        let mut row = vec![Cell::text("geometric mean").with_note(group)];
        row.extend(engines.iter().map(|engine| mean(ladder.rungs.iter().find(|rung| rung.engine == *engine))));
        table.foot.push(row);
    }
    table
}

fn mean(rung: Option<&Rung>) -> Cell {
    let factor = |f: Estimate| {
        let ends = |i: Interval| if f.value >= 1.0 { (i.low, i.high) } else { (1.0 / i.high, 1.0 / i.low) };
        let interval = f.interval.map(ends);
        let interval = interval.map(|(low, high)| format!(" ({}–{})", units::number(low), units::number(high)));
        format!("{}{}", sign(f.value), interval.unwrap_or_default())
    };
    let cell = Cell::number(rung.map(|rung| rung.slowdown.value), units::ratio);
    cell.with_note(rung.and_then(|rung| rung.factor).map_or(String::new(), factor))
}

/// `÷ 3.2` where the rung is faster than the one before, `× 1.5` where it is slower.
fn sign(factor: f64) -> String {
    if factor >= 1.0 { format!("÷ {}", units::number(factor)) } else { format!("× {}", units::number(1.0 / factor)) }
}
