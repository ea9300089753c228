//! The micro-benchmarks: what one event costs on each engine.

use super::view::{Cell, Figure, Part, Table};
use crate::micro::table::{Row, reasons, rows};
use crate::micro::{Benchmark, Group, Measured};
use crate::report::charts::{self, ChartError};
use crate::report::units;

/// What to do where they were not measured.
pub(super) const ABSENT: &str = "What one system call, one exit, one page fault and some seventy other events cost was not \
    measured on this host, or not beside this folder. evlab micro --quick does it in a few minutes; evlab report then shows \
    it here.";

const CAPTION: &str = "Each row is one event, each marker an engine: the time of one operation with the loop around it \
    subtracted, and its 95% interval. Events that are plain instructions lie close together on native and on KVM; those that \
    a hypervisor must intercept lie far to the right on KVM and where every other instruction lies on an emulator.";

/// The part of the page; `None` says how to get it.
pub(super) fn part(measured: Option<&Measured>) -> Result<Part, ChartError> {
    let Some(measured) = measured else {
        return Ok(Part { intro: vec![ABSENT.to_owned()], ..Part::default() });
    };
    let benchmarks = measured.benchmarks();
    let charts = charts::of_events(&benchmarks, &measured.cells);
    // The same words below each would tire.
    let caption = |i: usize| if i == 0 { CAPTION } else { "" };
    let figures = charts.iter().enumerate().map(|(i, c)| Figure::of(c, caption(i))).collect::<Result<_, _>>()?;
    Ok(Part {
        is_there: true,
        intro: intro(measured),
        figures,
        tables: vec![table(measured, &benchmarks)],
        notes: reasons(&benchmarks, &measured.cells, &measured.engines()).into_iter().map(|r| r + ".").collect(),
    })
}

fn intro(measured: &Measured) -> Vec<String> {
    let meta = &measured.meta;
    let mut intro = vec![format!(
        "evlab micro measured this on {} ({}): the median of {} runs of each event on each engine, the loop around the event \
         subtracted. Where an event is not told apart from that loop, < says how much it is at most.",
        units::day(&meta.started),
        meta.tool,
        meta.runs
    )];
    let checked = measured.cells.iter().filter(|cell| cell.exits.is_some()).count();
    let wrong = measured.cells.iter().filter(|cell| cell.exits.is_some() && cell.wrong).count();
    match (checked, wrong) {
        (0, _) => {}
        (_, 0) => intro.push(format!("Exits are as expected in all {checked} cells where they can be counted.")),
        _ => intro.push(format!("Exits are NOT as expected in {wrong} of {checked} cells.")),
    }
    intro
}

/// One row per event and ring, one column per engine.
fn table(measured: &Measured, benchmarks: &[Benchmark]) -> Table {
    let engines = measured.engines();
    let mut table = Table::new("The time of one event on each engine", ["event", "ring"]);
    table.head.extend(engines.iter().map(|engine| engine.name().to_owned()));
    table.head.extend(["exits", "instructions", "about", "what one operation is"].map(str::to_owned));
    for group in Group::SHOWN {
        for row in rows(group, benchmarks, &measured.cells, &engines) {
            let value = |(engine, text): (&crate::model::EngineId, &String)| {
                let is = |c: &&crate::micro::Cell| {
                    c.engine == *engine && c.event == row.event && c.ring.number().to_string() == row.ring
                };
                let cell = measured.cells.iter().find(is);
                let ns = cell.and_then(|c| c.ns);
                let shown = if cell.is_some_and(|c| c.wrong) { "num bad" } else { "num" };
                match ns {
                    Some(ns) => Cell { sort: ns.to_string(), class: shown, ..Cell::text(micro(text)) },
                    None if shown == "num bad" => Cell::bad(text),
                    None => Cell::number(None, units::time),
                }
            };
            let values: Vec<Cell> = engines.iter().zip(&row.values).map(value).collect();
            table.rows.push(line(&row, group, values));
        }
    }
    table.long()
}

fn line(row: &Row, group: Group, values: Vec<Cell>) -> Vec<Cell> {
    let number = |text: &str| Cell { class: "num", ..Cell::text(text) };
    let mut line = vec![Cell::code(&row.event), number(&row.ring)];
    line.extend(values);
    line.extend([number(&row.exits), number(&row.instructions), Cell::text(group.name())]);
    line.push(Cell { class: "wide", ..Cell::text(row.summary) });
    line
}

/// The unit as the rest of the page writes it.
fn micro(text: &str) -> String {
    text.replace(" us", " µs")
}
