//! What `evlab run` prints of a run.

use std::io::Write;

use evlab::host::KvmBackend;
use evlab::meaning;
use evlab::meaning::quadrant::{self, PARTS};
use evlab::model::{RunRecord, Status};

use crate::commands::list::{plain_table, trimmed, wrapped};

/// Prints the guest's console and tables of what was measured.
pub(super) fn print(record: &RunRecord, backend: Option<KvmBackend>, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{}", record.console)?;
    if !record.console.is_empty() && !record.console.ends_with('\n') {
        writeln!(out)?;
    }
    writeln!(out)?;
    let mut table = plain_table();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.add_row([name.to_owned(), value]);
        }
    };
    let what: Vec<&str> =
        std::iter::once(record.workload.as_str()).chain(record.args.iter().map(String::as_str)).collect();
    row("run", Some(format!("{} on {}", what.join(" "), record.engine)));
    row("status", Some(status(record)));
    row("checksum", record.checksum.clone());
    row("time, host clock", record.roi_host_ns.map(time));
    row("time, guest clock", record.roi_guest_ns.map(time));
    row("start to ring 3", record.startup_ns.map(time));
    row("start to end", Some(time(record.wall_ns)));
    row(
        "guest instructions",
        record.guest_instructions.map(|n| instructions(n, record.roi_guest_ns.or(record.roi_host_ns))),
    );
    writeln!(out, "{}", trimmed(&table))?;
    quadrants(record, backend, out)?;
    exits(record, out)?;
    counters(record, backend, out)
}

/// Whose time the region of interest was, and how the engine knows.
fn quadrants(record: &RunRecord, backend: Option<KvmBackend>, out: &mut dyn Write) -> std::io::Result<()> {
    let get = |name: &str| record.counters.iter().find(|c| c.counter == name).map(|c| c.value);
    let parts = PARTS.into_iter().filter_map(|(name, title)| Some((title, get(name).filter(|&ns| ns > 0)?)));
    let parts: Vec<_> = parts.collect();
    let all: u64 = parts.iter().map(|p| p.1).sum();
    if all == 0 {
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["GUEST AND HOST", "", ""]);
    for (title, ns) in parts {
        table.add_row([title.to_owned(), time(ns), format!("{:.1}%", ns as f64 * 100.0 / all as f64)]);
    }
    if let Some(error) = get(quadrant::ERROR) {
        table.add_row(["(error of a part, at most)".to_owned(), time(error), String::new()]);
    }
    writeln!(out, "\n{}", trimmed(&table))?;
    let method = quadrant::method(record.engine.id, backend);
    writeln!(out, "{}", wrapped(method, 100))
}

/// The exits in the region of interest by reason, and of port I/O by device, with their latencies.
fn exits(record: &RunRecord, out: &mut dyn Write) -> std::io::Result<()> {
    let get = |name: &str| record.counters.iter().find(|c| c.source == "vmm" && c.counter == name).map(|c| c.value);
    let mut table = plain_table();
    table.set_header(["EXITS", "COUNT", "SERVED IN", "90%", "99%", "LONGEST", "INSIDE BEFORE", "99%"]);
    for counter in record.counters.iter().filter(|c| c.source == "vmm" && c.value > 0) {
        // Those that have a time are a reason (`io`) or a device (`io.pit`).
        let name = &counter.counter;
        let Some(reason) = name.strip_prefix("exit.").filter(|_| get(&format!("{name}_ns")).is_some()) else {
            continue;
        };
        let latency = |of: &str, end: &str| get(&format!("{of}.{reason}.{end}")).map_or_else(String::new, time);
        table.add_row([
            reason.to_owned(),
            grouped(counter.value),
            latency("exit", "p50_ns"),
            latency("exit", "p90_ns"),
            latency("exit", "p99_ns"),
            latency("exit", "max_ns"),
            latency("run", "p50_ns"),
            latency("run", "p99_ns"),
        ]);
    }
    if table.is_empty() { Ok(()) } else { writeln!(out, "\n{}", trimmed(&table)) }
}

/// Everything that was counted in the region of interest and is not 0, with what it means.
fn counters(record: &RunRecord, backend: Option<KvmBackend>, out: &mut dyn Write) -> std::io::Result<()> {
    let shown = |name: &str| !name.starts_with("total.") && !is_latency(name) && !name.starts_with("quadrant.");
    let mut inside: Vec<_> = record.counters.iter().filter(|c| shown(&c.counter) && c.value > 0).collect();
    if inside.is_empty() {
        return Ok(());
    }
    inside.sort_by(|a, b| (&a.source, b.value, &a.counter).cmp(&(&b.source, a.value, &b.counter)));
    let mut table = plain_table();
    table.set_header(["COUNTED BY", "IN THE REGION OF INTEREST", "", "WHAT IT IS"]);
    for counter in inside {
        let value = if counter.counter.ends_with("_ns") { time(counter.value) } else { grouped(counter.value) };
        let what = meaning::text(&counter.source, &counter.counter, backend);
        table.add_row([counter.source.clone(), counter.counter.clone(), value, what]);
    }
    writeln!(out, "\n{}", trimmed(&table))
}

/// Whether a counter is a percentile or a maximum, which the table of exits shows.
fn is_latency(name: &str) -> bool {
    [".p50_ns", ".p90_ns", ".p99_ns", ".max_ns"].iter().any(|end| name.ends_with(end))
}

fn status(record: &RunRecord) -> String {
    let word = match record.status {
        Status::Ok => "ok",
        Status::Mismatch => "mismatch",
        Status::Failed => "failed",
        Status::Timeout => "timeout",
        Status::Interrupted => "interrupted",
    };
    record.message.as_ref().map_or_else(|| word.to_owned(), |m| format!("{word}: {m}"))
}

/// A time with four digits and the unit that suits it.
fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {unit}")
}

/// A count with its rate.
fn instructions(count: u64, roi_ns: Option<u64>) -> String {
    let count_text = grouped(count);
    match roi_ns {
        Some(ns) if ns > 0 => format!("{count_text} ({:.1} million a second)", count as f64 * 1e3 / ns as f64),
        _ => count_text,
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped_between_words() {
        assert_eq!(wrapped("", 10), "");
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("a_word_too_long ok", 5), "a_word_too_long\nok");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_500), "1.500 us");
        assert_eq!(time(123_456_789), "123.5 ms");
        assert_eq!(instructions(2_000, Some(1_000)), "2,000 (2000.0 million a second)");
    }
}
