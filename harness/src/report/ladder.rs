//! The ladder from the naive emulator to the processor itself: how much time each rung takes away.

use super::summary::Summary;
use crate::model::{EngineId, Setup};
use crate::stats::Estimate;

/// The rungs from the bottom; each removes a cost of the one before.
pub const RUNGS: [EngineId; 5] =
    [EngineId::EmuNaive, EngineId::EmuInterp, EngineId::EmuDbt, EngineId::Kvm, EngineId::Native];

/// What a rung does or does away with, in words.
#[must_use]
pub const fn what(rung: EngineId) -> &'static str {
    match rung {
        EngineId::EmuNaive => "decodes every instruction and walks the page tables at every access, every time",
        EngineId::EmuInterp => "no second decoding, few page walks: decoded blocks, software TLB, lazy flags",
        EngineId::EmuDbt => "no interpreter where it matters: hot code becomes code of the host",
        EngineId::Kvm => {
            "no software CPU: the processor executes the guest, and what traps goes through the hypervisor"
        }
        EngineId::Native => "no guest: the program is a process, its system calls and page faults are Linux's own",
        EngineId::QemuTcg | EngineId::QemuKvm => "",
    }
}

/// One rung, over all workloads of the ladder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// The engine.
    pub engine: EngineId,
    /// Geometric mean of the times against native.
    pub slowdown: Estimate,
    /// Time of the rung below over that of this one, geometric mean; `None` at the bottom.
    pub factor: Option<Estimate>,
}

/// The rungs that were measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// Over the system workloads, not the programs.
    pub system: bool,
    /// The workloads that every rung has a time of.
    pub workloads: Vec<String>,
    /// From the slowest kind to the processor itself.
    pub rungs: Vec<Rung>,
}

impl Ladder {
    /// The ladder over the programs or over the system workloads; `None` without native, or with nothing to set against it.
    #[must_use]
    pub fn of(summary: &Summary, system: bool) -> Option<Self> {
        let has = |engine: EngineId, workload: &str| summary.cell(engine, workload).is_some_and(|cell| cell.n > 0);
        let usable: Vec<&str> = summary
            .workloads
            .iter()
            .filter(|w| w.group.in_mean(system) && w.baseline == Some(EngineId::Native))
            .map(|w| w.label.as_str())
            .collect();
        let engines: Vec<EngineId> =
            RUNGS.into_iter().filter(|&engine| usable.iter().any(|w| has(engine, w))).collect();
        let shared: Vec<&str> = usable.into_iter().filter(|w| engines.iter().all(|&engine| has(engine, w))).collect();
        if engines.len() < 2 || shared.is_empty() {
            return None;
        }
        let mean = |engine: EngineId, against: EngineId| {
            summary.mean_ratio(&format!("ladder/{engine}/{against}"), &shared, engine.into(), against.into())
        };
        let mut rungs: Vec<Rung> = Vec::new();
        for &engine in &engines {
            let slowdown = match engine {
                EngineId::Native => Estimate { value: 1.0, interval: None },
                _ => mean(engine, EngineId::Native)?,
            };
            let factor = rungs.last().and_then(|below| mean(below.engine, engine));
            rungs.push(Rung { engine, slowdown, factor });
        }
        Some(Self { system, workloads: shared.into_iter().map(str::to_owned).collect(), rungs })
    }

    /// The factors of one workload: its slowdown on each rung, and the time of the rung below over it.
    #[must_use]
    pub fn steps(&self, summary: &Summary, workload: &str) -> Vec<(EngineId, Option<f64>, Option<f64>)> {
        let time = |engine: EngineId| Some(summary.cell(Setup::plain(engine), workload)?.median?.value);
        let native = time(EngineId::Native);
        let mut below: Option<f64> = None;
        let step = |rung: &Rung| {
            let own = time(rung.engine);
            let factor = below.zip(own).map(|(below, own)| below / own);
            below = own;
            (rung.engine, own.zip(native).map(|(own, native)| own / native), factor)
        };
        self.rungs.iter().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn each_rung_is_held_against_the_one_below() {
        let summary = Summary::new(&synthetic::full());
        let ladder = Ladder::of(&summary, false).expect("it has all rungs");
        assert_eq!(ladder.rungs.iter().map(|r| r.engine).collect::<Vec<_>>(), RUNGS);
        assert_eq!(ladder.workloads.len(), 8);
        let product: f64 = ladder.rungs.iter().filter_map(|r| r.factor).map(|f| f.value).product();
        let whole = ladder.rungs[0].slowdown.value;
        assert!((product / whole - 1.0).abs() < 1e-9, "the factors multiply to the whole: {product} {whole}");
        let steps = ladder.steps(&summary, "sieve");
        assert_eq!(steps.len(), 5);
        assert!(steps[0].2.is_none() && steps[4].1 == Some(1.0), "{steps:?}");
        let system = Ladder::of(&summary, true).expect("syscall runs natively");
        assert_eq!(system.workloads, ["syscall"]);
        assert!(system.rungs[3].factor.expect("kvm against emu-dbt").value < 1.0, "on PVM it is dearer");
    }

    #[test]
    fn without_native_there_is_no_ladder() {
        assert_eq!(Ladder::of(&Summary::new(&synthetic::empty()), false), None);
        let mut experiment = synthetic::full();
        experiment.runs.retain(|run| run.engine != EngineId::Native);
        assert_eq!(Ladder::of(&Summary::new(&experiment), false), None);
    }

    #[test]
    fn a_rung_that_is_missing_is_stepped_over() {
        let summary = Summary::new(&synthetic::partial());
        if let Some(ladder) = Ladder::of(&summary, false) {
            assert!(ladder.rungs.iter().all(|r| r.engine != EngineId::EmuDbt && r.engine != EngineId::EmuNaive));
        }
        let mut experiment = synthetic::full();
        experiment.runs.retain(|run| run.engine != EngineId::EmuDbt);
        let ladder = Ladder::of(&Summary::new(&experiment), false).expect("four rungs");
        assert_eq!(ladder.rungs.len(), 4);
    }
}
