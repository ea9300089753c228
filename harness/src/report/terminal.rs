//! The summary as a table for the terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table};

use super::clocks::Clocks;
use super::counters::Counters;
use super::data::Data;
use super::summary::{self, Summary};
use super::terminal_ablation;
use super::units;
use crate::model::{EngineId, Status};
use crate::results::{Experiment, State};

/// Width where the output is no terminal.
const DEFAULT_WIDTH: u16 = 100;

/// How a table is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal.
    pub width: u16,
    /// Whether to use colour.
    pub colour: bool,
}

impl Look {
    /// What standard output can show; colour is off where `NO_COLOR` is set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            width: Table::new().width().filter(|_| terminal).unwrap_or(DEFAULT_WIDTH),
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }
}

/// The table for standard output; see [`table`].
#[must_use]
pub fn terminal_table(experiment: &Experiment) -> String {
    table(experiment, Look::of_stdout())
}

/// Per workload and engine the median time with its interval, the slowdown and the exits; then means, what is missing
/// and what went wrong.
#[must_use]
pub fn table(experiment: &Experiment, look: Look) -> String {
    let data = Data::new(experiment);
    let mut out = String::new();
    if data.summary.cells.iter().all(|c| c.n == 0 && c.lost.is_empty()) {
        out.push_str("No run has ended yet.\n");
    } else if let Some(analysis) = &data.analysis {
        out.push_str(&terminal_ablation::tables(analysis, &data.summary, look));
    } else {
        out.push_str(&cells(&data.summary, &data.counters, look));
        out.push('\n');
    }
    footer(&mut out, &data);
    out
}

fn cells(summary: &Summary, counters: &Counters, look: Look) -> String {
    let head = ["workload", "engine", "n", "time (95% interval)", "slowdown (95% interval)", "exits"];
    let mut table = styled(look, head);
    for workload in &summary.workloads {
        let mut name = plain(&workload.label);
        let cells = summary.cells.iter().filter(|c| c.workload == workload.label);
        for cell in cells.filter(|c| c.n > 0 || !c.lost.is_empty()) {
            let against_kvm = workload.baseline == Some(EngineId::Kvm);
            let slowdown = match &cell.ratio {
                Some(_) if workload.baseline.is_some_and(|b| cell.engine == b) => "baseline".to_owned(),
                Some(r) if against_kvm => format!("{} of kvm", units::ratio_with_interval(r)),
                Some(r) => units::ratio_with_interval(r),
                None => "–".to_owned(),
            };
            let exits = counters.exits(cell.engine, &cell.workload);
            let exits = exits.map_or("–".to_owned(), |e| {
                let mark = if e.whole_run { "*" } else { "" };
                format!("{}{mark}", units::count(e.total as u64))
            });
            table.add_row([
                Cell::new(std::mem::take(&mut name)),
                Cell::new(cell.engine.name()),
                Cell::new(cell.n),
                time(cell, cell.median.as_ref()),
                Cell::new(slowdown),
                Cell::new(exits),
            ]);
        }
    }
    table.to_string()
}

/// An empty table whose columns but the first two are numbers.
pub(crate) fn styled(look: Look, head: [&str; 6]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(look.width)
        .set_header(head);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for column in [2, 3, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A cell's median, and above it in red the runs that do not count, if any went wrong.
pub(super) fn time(cell: &summary::Cell, median: Option<&crate::stats::Estimate>) -> Cell {
    let bad = cell.lost.iter().any(|l| l.0 != Status::Ok);
    let time = Cell::new(match (median, bad) {
        (Some(m), false) => with_interval(m),
        (Some(m), true) => format!("{}\n{}", lost(cell), with_interval(m)),
        (None, _) => lost(cell),
    });
    if bad { time.fg(Color::Red).add_attribute(Attribute::Bold) } else { time }
}

fn with_interval(median: &crate::stats::Estimate) -> String {
    match median.interval {
        Some(i) => format!("{} ({})", units::time(median.value), units::time_interval(i)),
        None => units::time(median.value),
    }
}

/// Runs that do not count: `5 MISMATCH, 1 timeout`.
fn lost(cell: &summary::Cell) -> String {
    let words: Vec<String> = cell.lost.iter().map(|&(status, n)| format!("{n} {}", word(status))).collect();
    words.join(", ")
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "untimed",
        status => status.shown(),
    }
}

fn footer(out: &mut String, data: &Data<'_>) {
    let (experiment, summary) = (data.experiment, data.engines().1);
    if !summary.means.is_empty() {
        out.push_str("\nGeometric mean slowdown against native (95% interval)\n");
    }
    for &engine in &summary.engines {
        let parts: Vec<String> = [(false, "programs"), (true, "system")]
            .into_iter()
            .filter_map(|(system, name)| {
                let m = summary.mean(engine, system)?;
                Some(format!("{name} {} over {}", units::ratio_with_interval(&m.estimate), m.workloads))
            })
            .collect();
        if !parts.is_empty() {
            push(out, &format!("  {:<12}{}", engine.name(), parts.join("; ")));
        }
    }
    let (found, runs) = summary.outliers();
    if found.total() > 0 {
        let severe = if found.severe > 0 { format!(", {} of them severe", found.severe) } else { String::new() };
        let are = if found.total() == 1 { "run is an outlier" } else { "runs are outliers" };
        push(out, &format!("{} of {runs} {are} by Tukey's fences{severe}; all stay in", found.total()));
    }
    if experiment.meta.plan.ablation.is_empty() && Counters::new(experiment).any_whole_run() {
        push(out, "* KVM's own count over the whole run, boot included; the others are of the region of interest");
    }
    if data.clocks.judged > 0 {
        push(out, &clocks(&data.clocks));
    }
    for engine in &experiment.meta.engines {
        if let Some(reason) = &engine.missing {
            let fix = engine.fix.as_ref().map(|f| format!("; to get it: {f}")).unwrap_or_default();
            push(out, &format!("missing: {}: {}{}", engine.id, plain(reason), plain(&fix)));
        }
    }
    let plan = &experiment.meta.plan;
    let planned = (plan.cells.len() * plan.runs_per_cell as usize).max(experiment.meta.order.len());
    if experiment.runs.len() < planned {
        let how = if experiment.meta.state == State::Interrupted { "interrupted" } else { "unfinished" };
        push(out, &format!("{how}: {} of {planned} runs", experiment.runs.len()));
    }
    for warning in &experiment.warnings {
        push(out, &format!("warning: {}", plain(warning)));
    }
}

/// How many runs have two clocks that disagree.
fn clocks(clocks: &Clocks) -> String {
    let (flagged, judged) = (clocks.flagged.len(), units::count(clocks.judged as u64));
    if flagged == 0 {
        return format!("host and guest clock agree in all {judged} runs that have both");
    }
    let flagged = units::count(flagged as u64);
    format!(
        "host and guest clock disagree in {flagged} of {judged} runs, which count all the same; see Clocks in the report"
    )
}

fn push(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

/// Text from a results file without control characters, which could drive the terminal.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    const LOOK: Look = Look { width: 100, colour: false };

    #[test]
    fn snapshots() {
        insta::assert_snapshot!("full", table(&synthetic::full(), LOOK));
        insta::assert_snapshot!("partial", table(&synthetic::partial(), LOOK));
        insta::assert_snapshot!("empty", table(&synthetic::empty(), LOOK));
    }

    #[test]
    fn what_went_wrong_is_marked() {
        let text = table(&synthetic::mismatch(), LOOK);
        assert!(text.contains("5 MISMATCH") && text.contains("5 FAILED"), "{text}");
        let colour = table(&synthetic::mismatch(), Look { colour: true, ..LOOK });
        assert!(colour.contains("\u{1b}["), "colour was asked for");
    }

    #[test]
    fn names_do_not_drive_the_terminal() {
        let text = table(&synthetic::hostile(), LOOK);
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'));
    }

    #[test]
    fn narrow_terminals_are_respected() {
        let text = table(&synthetic::full(), Look { width: 72, colour: false });
        let table = text.split("Geometric").next().unwrap();
        assert!(table.lines().all(|l| l.chars().count() <= 72), "{table}");
    }
}
