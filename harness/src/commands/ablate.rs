//! `evlab ablate`: what each mechanism of the emulator is worth.

use std::io::Write;

use anyhow::bail;
use evlab::ablation;
use evlab::cli::AblateArgs;
use evlab::engines::StopFlag;
use evlab::model::EngineId;
use evlab::studio;

use super::Verdict;
use super::experiment::{self, Design, Output};

/// Workloads where none is named: each leans on another mechanism.
const USUAL: [&str; 8] = ["dense_mm", "random_access", "sieve", "fib", "qsort", "bytecode", "strings", "tlb"];
/// The same with `--quick`.
const USUAL_QUICK: [&str; 3] = ["dense_mm", "sieve", "bytecode"];

/// The engines of the ladder.
const LADDER: [EngineId; 5] =
    [EngineId::EmuNaive, EngineId::EmuInterp, EngineId::EmuDbt, EngineId::Kvm, EngineId::Native];

/// Measures every step on every workload, then renders the report.
pub(crate) fn execute(args: &AblateArgs, stop: &StopFlag, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let wanted: Vec<String> = if args.workloads.is_empty() {
        let usual: &[&str] = if args.quick { &USUAL_QUICK } else { &USUAL };
        usual.iter().map(|&name| name.to_owned()).collect()
    } else {
        args.workloads.clone()
    };
    let programs = studio::select("workload", &wanted, workloads::catalogue(), |w| w.name)?;
    if args.measure.machine.emu.emu.is_some() {
        bail!("evlab ablate chooses the mechanisms itself, one after another; leave --emu out, or use evlab studio");
    }
    let settings = experiment::settings(&args.measure.machine, &LADDER)?;
    let mut output = Output::new(out, args.json);
    let engines = experiment::look_for(&LADDER, output.notes())?;
    let steps = ablation::steps(&experiment::usable(&engines));
    let design = Design {
        programs,
        setups: ablation::setups(&steps),
        ablation: steps,
        ..Design::new(args.quick, &args.measure, &args.design)
    };
    experiment::run(&design, settings, engines, args.measure.out.as_deref(), stop, &mut output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_workloads_are_in_the_catalogue() {
        for name in USUAL.iter().chain(&USUAL_QUICK) {
            assert!(workloads::find(name).is_some_and(|w| w.native), "{name}");
        }
    }
}
