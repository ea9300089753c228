//! What a gate measures, and how: the same for a baseline and for everything that is held against it.

use serde::{Deserialize, Serialize};

use crate::cli::Switch;
use crate::model::EngineId;
use crate::report::groups::{Group, group};
use crate::results::Cell;
use crate::studio::Settings;

/// The cells, and the machine that their guests get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Factor on the work of the quick profile.
    pub size: f64,
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Time limit of one run, seconds.
    pub timeout_s: u64,
    /// Whether guest RAM is backed before the region of interest.
    pub prefault: bool,
    /// Timer interrupts per second; absent: what each workload needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
    /// Whether guests run in the sandbox: `on` or `off`.
    pub sandbox: String,
    /// The engine whose times the others' are divided by.
    pub reference: EngineId,
    /// The workload by whose time on the reference all others are divided besides; absent beside another build, and in older
    /// baselines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<String>,
    /// Engines whose counts are compared and whose times are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted_only: Vec<EngineId>,
    /// Each pair of an engine and a workload.
    pub cells: Vec<Cell>,
}

/// A plan that this program cannot carry out on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A workload is not known.
    #[error(
        "the baseline has the workload '{0}', which this evlab does not have; leave it out with --workloads, or write a new one with --update"
    )]
    Workload(String),
    /// Nothing is left of it.
    #[error("none of the chosen engines and workloads is in the baseline, which has {0}")]
    Nothing(String),
    /// An engine of it is not on this host.
    #[error("the baseline has {engine}, which this host lacks: {reason}; {fix}, or leave it out with --engines")]
    Engine {
        /// The engine.
        engine: EngineId,
        /// Why it is missing.
        reason: String,
        /// How to get it.
        fix: String,
    },
    /// Virtualization is another thing on each side.
    #[error(
        "the baseline was measured on the KVM backend {base} and this host has {head}; what virtualization costs on one says \
         nothing about the other: leave out kvm and qemu-kvm with --engines, or write a baseline here with --update"
    )]
    Backend {
        /// The baseline's.
        base: String,
        /// This host's.
        head: String,
    },
}

impl Plan {
    /// How its runs are made, on the CPU model that every host can execute: for exact counts, all alike; for times, each
    /// placed as it is drawn from `seed`, so that no build is judged by one chance layout.
    #[must_use]
    pub fn settings(&self, exact: bool, seed: u64) -> Settings {
        Settings {
            ram_mib: self.ram_mib,
            timeout_s: self.timeout_s,
            prefault: self.prefault,
            cpu: emu_min::Model::V1,
            hz: self.hz,
            deterministic: exact,
            setup_seed: (!exact).then_some(seed),
            sandbox: self.sandbox != Switch::Off.name(),
        }
    }

    /// Whether a cell is timed: the empty region and the sleeper have no time of their own.
    #[must_use]
    pub fn is_timed(&self, cell: usize) -> bool {
        self.cells.get(cell).is_some_and(|cell| {
            !self.counted_only.contains(&cell.engine.id)
                && !matches!(group(&cell.workload), Group::Empty | Group::Sleep)
        })
    }

    /// The cells that are timed.
    #[must_use]
    pub fn timed(&self) -> Vec<usize> {
        (0..self.cells.len()).filter(|&cell| self.is_timed(cell)).collect()
    }

    /// The place of the reference's cell with the same workload and arguments.
    #[must_use]
    pub fn reference_of(&self, cell: usize) -> Option<usize> {
        let of = self.cells.get(cell)?;
        self.cells.iter().position(|c| c.engine == self.reference && c.workload == of.workload && c.args == of.args)
    }

    /// The place of the yardstick.
    #[must_use]
    pub fn yardstick(&self) -> Option<usize> {
        let name = self.yardstick.as_ref()?;
        self.cells.iter().position(|cell| cell.engine == self.reference && cell.workload == *name)
    }

    /// Leaves out the cells that are not wanted, but not the reference and the yardstick if they are `needed`.
    pub fn retain(&mut self, engines: &[EngineId], workloads: &[String], needed: bool) {
        let Self { reference, yardstick, .. } = self;
        self.cells.retain(|cell| {
            let is_reference = needed && cell.engine == *reference;
            (engines.contains(&cell.engine.id) || is_reference)
                && (workloads.is_empty() || workloads.contains(&cell.workload))
                || is_reference && yardstick.as_ref() == Some(&cell.workload)
        });
    }

    /// The engines in it.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineId> {
        EngineId::ALL.into_iter().filter(|&id| self.cells.iter().any(|cell| cell.engine.id == id)).collect()
    }

    /// The workloads in it, in the order of the plan.
    #[must_use]
    pub fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.workload.as_str()) {
                names.push(&cell.workload);
            }
        }
        names
    }
}

/// The workload of a cell with its arguments, for people.
#[must_use]
pub(super) fn label(cell: &Cell) -> String {
    if cell.args.is_empty() { cell.workload.clone() } else { format!("{} {}", cell.workload, cell.args.join(" ")) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A plan of these engines with these workloads.
    pub(in crate::gate) fn plan(engines: &[EngineId], workloads: &[&str]) -> Plan {
        let cell = |workload: &str, engine: EngineId| Cell {
            engine: engine.into(),
            workload: workload.to_owned(),
            args: vec!["10".to_owned()],
        };
        Plan {
            size: 1.0,
            ram_mib: 64,
            timeout_s: 60,
            prefault: true,
            hz: None,
            sandbox: "on".to_owned(),
            reference: EngineId::Native,
            yardstick: None,
            counted_only: vec![EngineId::EmuNaive],
            cells: workloads.iter().flat_map(|w| engines.iter().map(|&e| cell(w, e))).collect(),
        }
    }

    #[test]
    fn the_reference_stays_when_engines_are_chosen() {
        let mut plan = plan(&[EngineId::Native, EngineId::Kvm, EngineId::EmuInterp], &["sieve", "fib", "noop"]);
        assert_eq!(plan.reference_of(4), Some(3));
        assert!(plan.is_timed(0) && !plan.is_timed(7), "an empty region has no time of its own");
        plan.retain(&[EngineId::EmuInterp], &["fib".to_owned()], true);
        assert_eq!(plan.engines(), [EngineId::Native, EngineId::EmuInterp]);
        assert_eq!(plan.workloads(), ["fib"]);
        assert_eq!(plan.yardstick(), None);
    }

    #[test]
    fn the_yardstick_stays_when_workloads_are_chosen() {
        let mut plan = plan(&[EngineId::Native, EngineId::Kvm, EngineId::EmuInterp], &["sieve", "fib", "bytecode"]);
        plan.yardstick = Some("bytecode".to_owned());
        plan.retain(&[EngineId::Kvm], &["fib".to_owned()], true);
        let cells: Vec<_> = plan.cells.iter().map(|cell| (cell.engine.id, cell.workload.as_str())).collect();
        assert_eq!(cells, [(EngineId::Native, "fib"), (EngineId::Kvm, "fib"), (EngineId::Native, "bytecode")]);
        assert_eq!(plan.yardstick(), Some(2));
        plan.retain(&[EngineId::Kvm], &["fib".to_owned()], false);
        assert_eq!((plan.cells.len(), plan.yardstick()), (1, None));
    }

    #[test]
    fn counts_are_taken_in_the_guests_own_time() {
        let plan = plan(&[EngineId::Native], &["sieve"]);
        let (timed, exact) = (plan.settings(false, 7), plan.settings(true, 7));
        assert!(!timed.deterministic && exact.deterministic);
        assert_eq!((timed.setup_seed, exact.setup_seed), (Some(7), None));
        assert_eq!((timed.cpu, exact.cpu), (emu_min::Model::V1, emu_min::Model::V1));
    }
}
