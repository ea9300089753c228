//! `evlab studio`: the whole experiment.

use std::io::Write;

use evlab::cli::StudioArgs;
use evlab::engines::StopFlag;
use evlab::model::EngineId;
use evlab::studio;

use super::Verdict;
use super::experiment::{self, Design};

/// Runs of each cell, full and quick.
const RUNS: u32 = 5;
const RUNS_QUICK: u32 = 3;

/// Measures everything that was asked for, then renders the report.
pub(crate) fn execute(args: &StudioArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let chosen = studio::select("engine", &args.engines, &EngineId::ALL, |e| e.name())?;
    let programs = studio::select("workload", &args.workloads, workloads::catalogue(), |w| w.name)?;
    let settings = experiment::settings(&args.machine, &chosen)?;
    let setups = args.machine.emu.setups(chosen.iter().copied())?;
    if args.install {
        // Where it cannot be installed the experiment runs with what is there.
        if let Err(error) = super::doctor::install(out) {
            writeln!(out, "{error}")?;
        }
    }
    let engines = experiment::look_for(&chosen, out)?;
    let usable = experiment::usable(&engines);
    let design = Design {
        quick: args.quick,
        runs: args.runs.unwrap_or(if args.quick { RUNS_QUICK } else { RUNS }),
        seed: args.seed,
        size: args.machine.size,
        programs,
        setups: setups.into_iter().filter(|setup| usable.contains(&setup.id)).collect(),
        emu: args.machine.emu.emu.clone(),
        ablation: Vec::new(),
    };
    experiment::run(&design, settings, engines, args.out.as_deref(), stop, out)
}
