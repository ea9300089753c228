//! `evlab walk`: an address in each process of a guest, on one engine in this process or on several in children.

mod tables;

use std::io::Write;

use anyhow::bail;
use evlab::cli::WalkArgs;
use evlab::engines::{EngineError, StopFlag, WATCHED};
use evlab::model::EngineId;
use evlab::walk::{Hex, Report, in_children, watch};
use workloads::Profile;

use super::Verdict;
use super::run::{engine_named, job};

/// Makes the pictures and prints them.
pub(crate) fn execute(args: &WalkArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let engines = engines(&args.engine)?;
    let Some(&first) = engines.first() else { bail!("no engine is named; give one, such as --engine emu-interp") };
    let setups = args.machine.emu.setups(engines.iter().copied())?;
    args.machine.model(&engines)?;
    // Options of emulated CPUs are for an engine that has one; the rest is checked the same for all.
    let lead = engines.iter().copied().find(|engine| engine.has_emulated_cpu()).unwrap_or(first);
    let mut job = job(&args.workload, &args.args, lead, &args.machine, Profile::Quick)?;
    job.request.prefault = false;
    let words = job.request.args.clone();
    let pictures = if let [_] = setups[..] {
        vec![watch(&job, stop, args.address, args.at)?]
    } else {
        setups.iter().map(|&setup| in_children(args, setup)).collect::<Result<_, _>>()?
    };
    let report = Report {
        workload: args.workload.clone(),
        args: words,
        address: Hex(args.address),
        at: args.at,
        engines: pictures,
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        tables::print(&report, out)?;
    }
    if stop.is_stopped() {
        return Ok(Verdict::Interrupted);
    }
    let well = report.engines.iter().all(|picture| picture.ended_well && !picture.processes.is_empty());
    Ok(if well { Verdict::Well } else { Verdict::Bad })
}

/// The engines of these names, each once, that let themselves be looked into.
fn engines(names: &[String]) -> anyhow::Result<Vec<EngineId>> {
    let mut engines = Vec::new();
    for name in names {
        let engine = engine_named(name.trim())?;
        if !WATCHED.contains(&engine) {
            return Err(EngineError::Closed { engine }.into());
        }
        if !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    Ok(engines)
}
