//! `evlab studio`: the whole experiment.

use std::io::Write;

use evlab::cli::StudioArgs;
use evlab::engines::StopFlag;
use evlab::model::EngineId;
use evlab::studio;

use super::Verdict;
use super::experiment::{self, Design, Output};

/// Measures everything that was asked for, then renders the report.
pub(crate) fn execute(args: &StudioArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let chosen = studio::select("engine", &args.engines, &EngineId::ALL, |e| e.name())?;
    let programs = studio::select("workload", &args.workloads, workloads::catalogue(), |w| w.name)?;
    let machine = &args.measure.machine;
    let settings = experiment::settings(machine, &chosen)?;
    let setups = machine.emu.setups(chosen.iter().copied())?;
    let mut output = Output::new(out, args.json);
    if args.install {
        // Where it cannot be installed the experiment runs with what is there.
        if let Err(error) = super::doctor::install(output.notes()) {
            writeln!(output.notes(), "{error}")?;
        }
    }
    let engines = experiment::look_for(&chosen, output.notes())?;
    let usable = experiment::usable(&engines);
    let design = Design {
        programs,
        setups: setups.into_iter().filter(|setup| usable.contains(&setup.id)).collect(),
        emu: machine.emu.emu.clone(),
        ..Design::new(args.quick, &args.measure, &args.design)
    };
    experiment::run(&design, settings, engines, args.measure.out.as_deref(), stop, &mut output)
}
