//! What must be equal, or within a stated tolerance.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::plan::label;
use crate::model::{EngineId, RunRecord, Setup};
use crate::results::Cell;

/// What one run of a cell counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactCell {
    /// The engine and the workload.
    #[serde(flatten)]
    pub cell: Cell,
    /// SHA-256 of the program's ELF.
    pub image_sha256: String,
    /// The program's checksum.
    pub checksum: Option<String>,
    /// `guest_instructions`, and every exact counter as `source:counter`.
    pub counts: BTreeMap<String, u64>,
}

/// Counters that depend on the host: how much code the translator makes is up to the instructions that the host has.
const OF_THE_HOST: [&str; 2] = ["code.bytes", "flush.host_code"];

impl ExactCell {
    /// What a run says that was made for it: on the emulators in the guest's own time.
    #[must_use]
    pub fn of(cell: &Cell, record: &RunRecord) -> Self {
        let emulated = cell.engine.id.has_emulated_cpu();
        let mut counts = BTreeMap::new();
        if emulated {
            counts.extend(record.guest_instructions.map(|count| ("guest_instructions".to_owned(), count)));
        }
        for counter in record.counters.iter().filter(|counter| is_exact(cell.engine.id, &counter.counter)) {
            counts.insert(format!("{}:{}", counter.source, counter.counter), counter.value);
        }
        Self {
            cell: cell.clone(),
            image_sha256: record.image_sha256.clone(),
            checksum: record.checksum.clone(),
            counts,
        }
    }
}

/// Whether a counter is the guest's doing alone.
fn is_exact(engine: EngineId, counter: &str) -> bool {
    if counter.ends_with("_ns") {
        return false;
    }
    if engine.has_emulated_cpu() {
        return !counter.starts_with("quadrant.") && !OF_THE_HOST.contains(&counter);
    }
    // The hardware adds exits of its own: for interrupts of the host, and for what the backend cannot do.
    engine == EngineId::Kvm
        && ["exit.io", "exit.mmio"]
            .iter()
            .any(|name| counter.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// How far a counter may be from the baseline's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// Its name as in a report, or the beginning of it and a star.
    counter: String,
    /// The part by which it may differ.
    part: f64,
}

/// A tolerance that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no tolerance; give the name of a counter, or the beginning of it and a star, and per cent: emu:tlb.*=1%"
)]
pub struct ToleranceError(String);

impl FromStr for Tolerance {
    type Err = ToleranceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ToleranceError(text.to_owned());
        let (counter, percent) = text.split_once('=').ok_or_else(wrong)?;
        let percent: f64 = percent.trim_end_matches('%').parse().map_err(|_| wrong())?;
        if counter.is_empty() || !(0.0..=1000.0).contains(&percent) {
            return Err(wrong());
        }
        Ok(Self { counter: counter.to_owned(), part: percent / 100.0 })
    }
}

impl Tolerance {
    fn covers(&self, counter: &str) -> bool {
        self.counter.strip_suffix('*').map_or(self.counter == counter, |start| counter.starts_with(start))
    }
}

/// Something that is not as in the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// The engine.
    pub engine: Setup,
    /// The workload, with its arguments.
    pub workload: String,
    /// `image_sha256`, `checksum`, `guest_instructions`, or a counter.
    pub what: String,
    /// In the baseline; empty where it was not there.
    pub base: String,
    /// Now; empty where it is not there.
    pub head: String,
}

/// What differs between the cells of a baseline and those of now. A counter that is not there is 0.
#[must_use]
pub(super) fn deviations(base: &[ExactCell], head: &[ExactCell], tolerances: &[Tolerance]) -> Vec<Deviation> {
    let mut found = Vec::new();
    for old in base {
        let mut add = |what: &str, base: String, head: String| {
            let (engine, workload) = (old.cell.engine, label(&old.cell));
            found.push(Deviation { engine, workload, what: what.to_owned(), base, head });
        };
        // A run that failed is told as such.
        let Some(new) = head.iter().find(|new| new.cell == old.cell) else { continue };
        if old.image_sha256 != new.image_sha256 {
            add("image_sha256", old.image_sha256.clone(), new.image_sha256.clone());
        }
        if old.checksum != new.checksum {
            let text = |checksum: &Option<String>| checksum.clone().unwrap_or_default();
            add("checksum", text(&old.checksum), text(&new.checksum));
        }
        let names: BTreeSet<&String> = old.counts.keys().chain(new.counts.keys()).collect();
        for name in names {
            let value = |cell: &ExactCell| cell.counts.get(name).copied().unwrap_or(0);
            let part = tolerances.iter().filter(|t| t.covers(name)).map(|t| t.part).fold(0.0, f64::max);
            if value(old).abs_diff(value(new)) as f64 > value(old) as f64 * part {
                add(name, value(old).to_string(), value(new).to_string());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Counter;
    use crate::results::testing::record;

    fn cell(engine: EngineId, counters: &[(&str, u64)]) -> ExactCell {
        let mut record = record(1, engine);
        record.guest_instructions = Some(1000);
        record.counters = counters
            .iter()
            .map(|&(name, value)| Counter { source: "vmm".into(), counter: name.into(), value })
            .collect();
        ExactCell::of(&Cell { engine: engine.into(), workload: "sieve".into(), args: vec!["1000".into()] }, &record)
    }

    fn found(base: &ExactCell, head: &ExactCell, tolerances: &[Tolerance]) -> Vec<Deviation> {
        deviations(std::slice::from_ref(base), std::slice::from_ref(head), tolerances)
    }

    #[test]
    fn only_what_the_guest_alone_decides_is_exact() {
        let all = [
            ("exit.io", 3),
            ("exit.io.p50_ns", 7),
            ("exit.io.console.out", 2),
            ("exit.ioport", 1),
            ("exit.intr", 4),
            ("serve_ns", 9),
        ];
        let names = |engine| cell(engine, &all).counts.into_keys().collect::<Vec<_>>();
        assert_eq!(names(EngineId::Kvm), ["vmm:exit.io", "vmm:exit.io.console.out"]);
        assert_eq!(names(EngineId::EmuInterp).len(), 5, "all but the time, and the instructions");
        assert!(names(EngineId::Native).is_empty());
    }

    #[test]
    fn one_more_exit_is_a_deviation_on_every_engine() {
        for engine in [EngineId::Kvm, EngineId::EmuInterp, EngineId::EmuNaive] {
            let (base, head) = (cell(engine, &[("exit.io", 3)]), cell(engine, &[("exit.io", 4)]));
            let found = self::found(&base, &head, &[]);
            assert_eq!(found.len(), 1);
            assert_eq!(
                (found[0].what.as_str(), found[0].base.as_str(), found[0].head.as_str()),
                ("vmm:exit.io", "3", "4")
            );
            assert_eq!(self::found(&base, &base, &[]), []);
        }
    }

    #[test]
    fn a_counter_that_is_not_there_is_zero() {
        let (without, with) = (cell(EngineId::EmuInterp, &[]), cell(EngineId::EmuInterp, &[("exception.pf", 1)]));
        assert_eq!(found(&without, &with, &[]).len(), 1);
        assert_eq!(found(&with, &without, &[])[0].head, "0");
    }

    #[test]
    fn a_tolerance_is_for_the_counters_it_names() {
        let (base, head) = (
            cell(EngineId::EmuInterp, &[("tlb.miss", 100), ("tlb.hit", 50)]),
            cell(EngineId::EmuInterp, &[("tlb.miss", 101), ("tlb.hit", 50)]),
        );
        let within = |text: &str| found(&base, &head, &[text.parse().expect("a tolerance")]).is_empty();
        assert!(within("vmm:tlb.miss=1%") && within("vmm:tlb.*=1") && within("*=2%"));
        assert!(!within("vmm:tlb.miss=0.5%") && !within("vmm:tlb.hit=5%"));
        for bad in ["tlb.miss", "=1%", "x=much", "x=-1", "x=nan", ""] {
            assert!(bad.parse::<Tolerance>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_program_and_another_result_are_told() {
        let base = cell(EngineId::Native, &[]);
        let head = ExactCell { image_sha256: "cd".repeat(32), checksum: None, ..base.clone() };
        let what: Vec<String> = found(&base, &head, &[]).into_iter().map(|d| d.what).collect();
        assert_eq!(what, ["image_sha256", "checksum"]);
    }
}
