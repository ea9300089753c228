//! `evlab ablate`: what each mechanism of the emulator is worth.

use std::io::Write;

use anyhow::bail;
use evlab::ablation;
use evlab::cli::AblateArgs;
use evlab::engines::StopFlag;
use evlab::model::EngineId;
use evlab::studio;

use super::Verdict;
use super::experiment::{self, Design};

/// Runs of each step, full and quick.
const RUNS: u32 = 5;
const RUNS_QUICK: u32 = 3;

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
    if args.machine.emu.emu.is_some() {
        bail!("evlab ablate chooses the mechanisms itself, one after another; leave --emu out, or use evlab studio");
    }
    let settings = experiment::settings(&args.machine, &LADDER)?;
    let engines = experiment::look_for(&LADDER, out)?;
    let steps = ablation::steps(&experiment::usable(&engines));
    let design = Design {
        quick: args.quick,
        runs: args.runs.unwrap_or(if args.quick { RUNS_QUICK } else { RUNS }),
        seed: args.seed,
        size: args.machine.size,
        programs,
        setups: ablation::setups(&steps),
        emu: None,
        ablation: steps,
    };
    experiment::run(&design, settings, engines, args.out.as_deref(), stop, out)
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
