//! `evlab list`: the workloads with their parameters, and the engines.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use comfy_table::{ContentArrangement, Table, presets};
use evlab::cli::ListArgs;
use evlab::model::EngineId;
use serde_json::{Value, json};
use workloads::{Param, Scale, Workload};

use super::Verdict;

/// Lists what can be run.
pub(crate) fn execute(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    if args.json {
        let workloads: Vec<Value> = workloads::catalogue().iter().map(workload_json).collect();
        let engines: Vec<Value> =
            EngineId::ALL.iter().map(|e| json!({ "name": e.name(), "summary": e.summary() })).collect();
        serde_json::to_writer_pretty(&mut *out, &json!({ "workloads": workloads, "engines": engines }))?;
        writeln!(out)?;
    } else {
        print(out)?;
    }
    Ok(Verdict::Well)
}

fn print(out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = plain_table();
    table.set_header(["WORKLOAD", "GROUP", "ARGUMENTS", "WHAT IT SHOWS"]);
    for workload in workloads::catalogue() {
        let args: Vec<String> = workload.params.iter().map(|p| format!("{}={}", p.name, p.default)).collect();
        let native = if workload.native { "" } else { " (not on native)" };
        table.add_row([
            workload.name.to_owned(),
            workload.group.name().to_owned(),
            args.join(" "),
            format!("{}{native}", workload.summary),
        ]);
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    let mut table = plain_table();
    table.set_header(["ENGINE", "WHAT IT IS"]);
    for engine in EngineId::ALL {
        table.add_row([engine.name(), engine.summary()]);
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    writeln!(out, "evlab doctor says which engines this host has; evlab list --json gives the bounds of the arguments.")
}

/// Columns of the terminal, if standard output is one.
static WIDTH: OnceLock<Option<u16>> = OnceLock::new();

/// Asks the terminal how wide it is: before the sandbox, which has no rule for that system call.
pub(crate) fn ask_for_width() {
    let terminal = std::io::stdout().is_terminal();
    WIDTH.get_or_init(|| console::Term::stdout().size_checked().filter(|_| terminal).map(|(_, width)| width));
}

/// A table of aligned columns without lines, as wide as the terminal allows; elsewhere no line is broken.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    // There is nothing to style.
    table.load_style(presets::NOTHING).force_no_tty();
    if let Some(&Some(width)) = WIDTH.get() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// The text of a table without the blanks that pad its last column.
pub(crate) fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(|l| l.trim_end().strip_prefix(' ').unwrap_or(l.trim_end())).collect();
    lines.join("\n")
}

/// A text in lines of at most `width` characters.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn workload_json(workload: &Workload) -> Value {
    json!({
        "name": workload.name,
        "group": workload.group.name(),
        "summary": workload.summary,
        "native": workload.native,
        "processes": workload.processes,
        "hz": workload.hz,
        "params": workload.params.iter().map(param_json).collect::<Vec<_>>(),
    })
}

fn param_json(param: &Param) -> Value {
    json!({
        "name": param.name,
        "doc": param.doc,
        "unit": param.unit,
        "default": param.default,
        "quick": param.quick,
        "min": param.min,
        "max": param.max,
        "scale": match param.scale {
            Scale::Linear => "linear",
            Scale::Sqrt => "sqrt",
            Scale::Cbrt => "cbrt",
            Scale::Fixed => "fixed",
        },
    })
}
