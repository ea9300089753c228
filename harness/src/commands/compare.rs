//! `evlab compare`: two experiments, cell by cell.

use std::io::Write;

use anyhow::{Context, bail};
use evlab::cli::CompareArgs;
use evlab::compare::{self, Basis, Compared, Comparison};
use evlab::model::EngineId;
use evlab::results;
use evlab::studio;

use super::Verdict;
use super::list::{plain_table, trimmed};
use super::run::engine_named;

/// Compares two results folders.
pub(crate) fn execute(args: &CompareArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engines = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    let reference = args.reference.as_deref().map(engine_named).transpose()?;
    let read = |dir: &std::path::Path| results::read(dir).with_context(|| format!("cannot compare {}", dir.display()));
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let (old_name, new_name) = (args.old.display().to_string(), args.new.display().to_string());
    let basis = Basis::of((&old_name, &old), (&new_name, &new), &engines, reference)?;
    let comparison = compare::compare(&old, &new, basis, &engines, args.threshold / 100.0);
    if comparison.cells.is_empty() {
        bail!(
            "{old_name} and {new_name} have no workload with the same arguments on the same engine; evlab studio measures \
             the same cells if it gets the same options"
        );
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &comparison)?;
        writeln!(out)?;
    } else if args.markdown {
        write!(out, "{}", compare::to_markdown(&comparison))?;
    } else {
        print(&comparison, out)?;
    }
    Ok(match (comparison.is_worse(), comparison.is_inconclusive()) {
        (true, _) => Verdict::Bad,
        (false, true) => Verdict::Inconclusive,
        (false, false) => Verdict::Well,
    })
}

fn print(comparison: &Comparison, out: &mut dyn Write) -> std::io::Result<()> {
    // With too few runs every p-value of a cell is near 1, and says nothing beyond that.
    let with_p = comparison.cells.iter().any(|cell| cell.old_n.min(cell.new_n) >= comparison.runs_needed);
    let mut table = plain_table();
    let columns = ["ENGINE", "WORKLOAD", "NEW/OLD", "INTERVAL", "RUNS", "P", "VERDICT"];
    table.set_header(columns.into_iter().filter(|&column| with_p || column != "P"));
    let mut add = |cell: &Compared, runs: String| {
        let mut row = vec![
            cell.engine.name(),
            cell.workload.clone(),
            format!("{:.3}", cell.ratio),
            compare::interval(cell),
            runs,
        ];
        row.extend(with_p.then(|| compare::p_value(cell)));
        row.push(compare::verdict(cell));
        table.add_row(row);
    };
    for cell in &comparison.cells {
        add(cell, format!("{}, {}", cell.old_n, cell.new_n));
    }
    for mean in &comparison.means {
        add(mean, String::new());
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    for change in &comparison.changes {
        writeln!(
            out,
            "count changed: {} of {} on {}: {} became {}",
            change.counter, change.workload, change.engine, change.old, change.new
        )?;
    }
    for mismatch in &comparison.mismatches {
        writeln!(out, "WRONG RESULT: {mismatch}")?;
    }
    if comparison.unpaired > 0 {
        writeln!(out, "{} cells are in one of the two only", comparison.unpaired)?;
    }
    if let Some(shortage) = compare::shortage(comparison) {
        writeln!(out, "{shortage}")?;
    }
    writeln!(out, "{}", compare::sentence(comparison))
}
