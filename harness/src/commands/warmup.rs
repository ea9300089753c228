//! `evlab warmup`: from when on a program no longer becomes faster.

use std::io::Write;

use anyhow::bail;
use evlab::cli::WarmupArgs;
use evlab::engines::StopFlag;
use evlab::host::{self, HostInfo};
use evlab::model::EngineId;
use evlab::report::{self, REPORT_HTML, units};
use evlab::results::EngineMeta;
use evlab::stats::Interval;
use evlab::studio::{self, ChildExecutor, Work};
use evlab::warmup::{self, Cell, Class, Files, Plan, WARMUP_CSV};
use serde_json::json;
use workloads::{Group, Profile, Workload};

use super::list::{plain_table, trimmed};
use super::{Verdict, experiment};

/// Runs of each cell.
const RUNS: u32 = 5;

/// Measures the laps and prints what became of them.
pub(crate) fn execute(args: &WarmupArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let mut chosen = studio::select("engine", &args.engines, &EngineId::ALL, |engine| engine.name())?;
    if args.engines.is_empty() {
        // It has nothing that could warm up, and takes most of the time.
        chosen.retain(|&engine| engine != EngineId::EmuNaive);
    }
    let programs = programs(&args.workloads)?;
    let machine = &args.measure.machine;
    let settings = experiment::settings(machine, &chosen)?;
    let setups = machine.emu.setups(chosen.iter().copied())?;
    // With --json, standard output is for JSON alone.
    let mut errors = std::io::stderr();
    let notes: &mut dyn Write = if args.json { &mut errors } else { out };
    let engines = experiment::look_for(&chosen, notes)?;
    let usable = experiment::usable(&engines);
    let setups: Vec<_> = setups.into_iter().filter(|setup| usable.contains(&setup.id)).collect();
    let host = host::describe();
    for caution in host.cautions() {
        writeln!(notes, "note: {caution}")?;
    }
    let works: Vec<Work> = programs.iter().map(|w| Work::of(w, Profile::Quick, machine.size)).collect();
    let plan = Plan {
        cells: studio::cells(&setups, &works),
        runs: args.measure.runs.unwrap_or(RUNS),
        laps: args.laps,
        seed: experiment::seed(args.measure.seed),
    };
    if setups.is_empty() {
        bail!("this host has none of the chosen engines; evlab doctor says how to get them");
    }
    if plan.cells.is_empty() {
        bail!("none of the chosen workloads runs on the chosen engines; evlab list says which do");
    }
    let name = host.hostname.as_deref().unwrap_or_default();
    let folder = studio::prepare(args.measure.out.as_deref(), name, jiff::Timestamp::now())?;
    let dir = folder.path.clone();
    let mut files = match Files::create(&dir) {
        Ok(files) => files,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    files.write_meta(&meta(&plan, &programs, &engines, &host, args))?;
    let runs = plan.cells.len() * plan.runs as usize;
    writeln!(
        notes,
        "{runs} runs of {} laps: {} cells x {}, seed {}, results in {}",
        plan.laps,
        plan.cells.len(),
        plan.runs,
        plan.seed,
        dir.display()
    )?;
    notes.flush()?;

    let mut executor = ChildExecutor::of_this_program(settings);
    let mut progress = studio::for_terminal(u32::try_from(runs)?);
    let measured = warmup::measure(&plan, &mut executor, &mut files, progress.as_mut(), stop);
    progress.finish();
    let (cells, mismatches) = measured?;
    files.write_cells(&cells)?;
    report::render_warmup(&dir)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &cells)?;
        writeln!(out)?;
    } else {
        print(&cells, out)?;
        writeln!(out, "report: {}", dir.join(REPORT_HTML).display())?;
        writeln!(out, "all values with their intervals: {}", dir.join(WARMUP_CSV).display())?;
    }
    if stop.is_stopped() {
        return Ok(Verdict::Interrupted);
    }
    let bad = !mismatches.is_empty() || cells.iter().any(|cell| cell.note.is_some());
    Ok(if bad { Verdict::Bad } else { Verdict::Well })
}

/// The workloads of that name; all that measure a program rather than the system, where none is named.
fn programs(wanted: &[String]) -> anyhow::Result<Vec<Workload>> {
    let chosen = studio::select("workload", wanted, workloads::catalogue(), |w| w.name)?;
    if wanted.is_empty() {
        return Ok(chosen.into_iter().filter(|w| w.laps && w.group != Group::System).collect());
    }
    if let Some(once) = chosen.iter().find(|w| !w.laps) {
        bail!("{} cannot do its work several times in one process; leave it out of --workloads", once.name);
    }
    Ok(chosen)
}

/// Prints the table, and what went wrong.
pub(super) fn print(cells: &[Cell], out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = plain_table();
    table.set_header(["WORKLOAD", "ENGINE", "CLASS", "FROM", "STEADY", "FIRST/STEADY"]);
    for cell in cells.iter().filter(|cell| cell.n > 0) {
        let steady = cell.steady_ns.map_or_else(dash, |ns| match (cell.steady_low_ns, cell.steady_high_ns) {
            (Some(low), Some(high)) => {
                format!("{} ({})", units::time(ns), units::time_interval(Interval { low, high }))
            }
            _ => units::time(ns),
        });
        table.add_row([
            cell.workload.clone(),
            cell.engine.name(),
            class(cell),
            cell.steady_from.map_or_else(dash, |lap| lap.to_string()),
            steady,
            cell.first_over_steady.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        ]);
    }
    writeln!(out, "{}\n", trimmed(&table))?;
    for cell in cells {
        if let Some(note) = &cell.note {
            writeln!(out, "{} on {}: {note}", cell.workload, cell.engine)?;
        }
    }
    Ok(())
}

fn dash() -> String {
    "-".to_owned()
}

/// The class; with the runs of each where they differ.
fn class(cell: &Cell) -> String {
    match cell.class {
        Some(Class::Inconsistent) => {
            let parts: Vec<String> =
                cell.classes.occurring().iter().map(|(class, runs)| format!("{runs} {class}")).collect();
            format!("inconsistent: {}", parts.join(", "))
        }
        Some(class) => class.to_string(),
        None => dash(),
    }
}

/// What the measurement rests on.
fn meta(
    plan: &Plan,
    programs: &[Workload],
    engines: &[EngineMeta],
    host: &HostInfo,
    args: &WarmupArgs,
) -> serde_json::Value {
    let tool = experiment::tool();
    let machine = &args.measure.machine;
    json!({
        "tool": tool.version,
        "git_commit": tool.git_commit,
        "started": jiff::Timestamp::now().to_string(),
        "seed": plan.seed,
        "runs": plan.runs,
        "laps": plan.laps,
        "tolerance": warmup::TOLERANCE,
        "size": machine.size,
        "ram_mib": machine.ram,
        "timeout_s": machine.timeout,
        "emu": machine.emu.emu,
        "deterministic": machine.deterministic,
        "sandbox": !machine.sandbox.no_sandbox,
        "cells": plan.cells,
        "images": experiment::images(programs),
        "engines": engines,
        "host": host,
    })
}
