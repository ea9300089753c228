//! The table for the terminal: a row for each event, a column for each engine.

use std::fmt::Write;

use super::benchmark::{Benchmark, Group};
use super::cell::Cell;
use crate::model::EngineId;

/// The cells of one row, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The event.
    pub event: String,
    /// The ring.
    pub ring: String,
    /// What one operation is.
    pub summary: &'static str,
    /// Guest instructions of one operation, where an engine counted them.
    pub instructions: String,
    /// Exits of one operation.
    pub exits: String,
    /// A value for each engine.
    pub values: Vec<String>,
}

/// The rows of one group.
#[must_use]
pub fn rows(group: Group, benchmarks: &[Benchmark], cells: &[Cell], engines: &[EngineId]) -> Vec<Row> {
    benchmarks
        .iter()
        .filter(|benchmark| benchmark.group == group)
        .map(|benchmark| Row {
            event: benchmark.event.name().to_owned(),
            ring: benchmark.ring.number().to_string(),
            summary: benchmark.summary,
            instructions: instructions(benchmark, engines, cells),
            exits: match benchmark.exits.total() {
                0 => String::new(),
                some => some.to_string(),
            },
            values: engines.iter().map(|&engine| value(find(benchmark, engine, cells))).collect(),
        })
        .collect()
}

/// What the first engine that counts instructions says; it is the same on all.
fn instructions(benchmark: &Benchmark, engines: &[EngineId], cells: &[Cell]) -> String {
    if benchmark.group == Group::Time {
        return String::new(); // as many as a busy loop does meanwhile
    }
    let count = engines.iter().find_map(|&engine| find(benchmark, engine, cells)?.instructions);
    // What the region of interest holds besides is a few hundredths of an operation where these are dear.
    count.map_or_else(String::new, |count| if count < 9.5 { format!("{count:.1}") } else { format!("{count:.0}") })
}

/// Why there are no values: each reason once, with those that it is about.
#[must_use]
pub fn reasons(benchmarks: &[Benchmark], cells: &[Cell], engines: &[EngineId]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for benchmark in benchmarks.iter().filter(|benchmark| !benchmark.is_control()) {
        let with_note = |&engine: &EngineId| {
            let note = find(benchmark, engine, cells)?.note.as_deref()?;
            Some((note, engine))
        };
        let mut here: Vec<(&str, Vec<&str>)> = Vec::new();
        for (note, engine) in engines.iter().filter_map(with_note) {
            match here.iter_mut().find(|(known, _)| *known == note) {
                Some((_, names)) => names.push(engine.name()),
                None => here.push((note, vec![engine.name()])),
            }
        }
        for (note, names) in here {
            let what = format!("{} ({})", benchmark.event.name(), names.join(", "));
            match reasons.iter_mut().find(|(known, _)| *known == note) {
                Some((_, list)) if list.contains(&what) => {}
                Some((_, list)) => list.push(what),
                None => reasons.push((note, vec![what])),
            }
        }
    }
    reasons.into_iter().map(|(note, whom)| format!("{note}: {}", together(&whom))).collect()
}

/// `a (native), b (native)` as `a, b (native)`.
fn together(whom: &[String]) -> String {
    let mut text = String::new();
    for (i, what) in whom.iter().enumerate() {
        let (event, engines) = what.split_once(' ').unwrap_or((what, ""));
        let next = whom.get(i + 1).and_then(|next| next.split_once(' ')).map(|(_, engines)| engines);
        let last = next.is_none_or(|next| next != engines);
        // Writing to a String cannot fail.
        let _ = match (last, i + 1 == whom.len()) {
            (false, _) => write!(text, "{event}, "),
            (true, false) => write!(text, "{event} {engines}, "),
            (true, true) => write!(text, "{event} {engines}"),
        };
    }
    text
}

fn find<'a>(benchmark: &Benchmark, engine: EngineId, cells: &'a [Cell]) -> Option<&'a Cell> {
    cells.iter().find(|c| c.event == benchmark.event.name() && c.ring == benchmark.ring && c.engine == engine)
}

fn value(cell: Option<&Cell>) -> String {
    match cell {
        None => String::new(),
        Some(Cell { wrong: true, ns: None, .. }) => "failed".to_owned(),
        Some(Cell { ns: None, .. }) => "-".to_owned(),
        Some(Cell { ns: Some(ns), ci_low_ns, ci_high_ns, wrong, .. }) => {
            let mark = if *wrong { " !" } else { "" };
            match (ci_low_ns, ci_high_ns) {
                // Not told apart from nothing: all that is known is how much it is at most.
                (Some(low), Some(high)) if *low <= 0.0 && *high >= 0.0 => format!("< {}{mark}", time(high.max(*ns))),
                _ => format!("{}{mark}", time(*ns)),
            }
        }
    }
}

/// A time with three digits and the unit that suits it.
#[must_use]
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        below if below < 999.5 => (ns, "ns"),
        below if below < 999_500.0 => (ns / 1e3, "us"),
        _ => (ns / 1e6, "ms"),
    };
    let digits = match value.abs() {
        below if below < 9.995 => 2,
        below if below < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use workloads::Event;

    use super::*;
    use crate::micro::{Ring, benchmarks};

    #[test]
    fn times_have_three_digits() {
        assert_eq!(
            [0.314, 12.34, 999.6, 24_830.0, 1.5e6].map(time),
            ["0.31 ns", "12.3 ns", "1.00 us", "24.8 us", "1.50 ms"]
        );
        assert_eq!(time(-0.02), "-0.02 ns");
    }

    #[test]
    fn a_row_has_a_value_or_a_sign_for_each_engine() {
        let all = benchmarks();
        let port = all.iter().find(|b| b.event == Event::PortOut && b.ring == Ring::Three).expect("it is measured");
        let mut kvm = Cell::absent(port, EngineId::Kvm, "");
        (kvm.ns, kvm.note) = (Some(24_800.0), None);
        let cells = [Cell::absent(port, EngineId::Native, "no devices"), kvm];
        let engines = [EngineId::Native, EngineId::Kvm, EngineId::EmuDbt];
        let rows = rows(Group::Devices, std::slice::from_ref(port), &cells, &engines);
        assert_eq!(rows[0].values, ["-", "24.8 us", ""]);
        let mut unclear = cells[1].clone();
        (unclear.ci_low_ns, unclear.ci_high_ns) = (Some(-3.0), Some(7.5));
        assert_eq!(value(Some(&unclear)), "< 24.8 us");
        (unclear.ns, unclear.wrong) = (Some(1.0), true);
        assert_eq!(value(Some(&unclear)), "< 7.50 ns !");
        assert_eq!(rows[0].instructions, "", "nobody counted");
        assert_eq!((rows[0].exits.as_str(), rows[0].ring.as_str()), ("1", "3"));
        assert_eq!(reasons(&all, &cells, &engines), ["no devices: port-out (native)"]);
    }

    #[test]
    fn reasons_are_told_once() {
        let whom = ["a (native)", "b (native)", "c (kvm, qemu-kvm)"].map(str::to_owned);
        assert_eq!(together(&whom), "a, b (native), c (kvm, qemu-kvm)");
    }
}
