//! Equal work on every engine, or the run is void.

use std::collections::BTreeMap;

use super::RunRow;
use crate::model::{EngineId, Setup, Status};

/// A run whose checksum is not the reference's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Number of the run.
    pub run: u32,
    /// Its engine.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Its checksum.
    pub found: String,
    /// The checksum of the reference.
    pub expected: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, engine, workload, found, expected } = self;
        write!(f, "run {run}: {workload} on {engine} computed {found}, expected {expected}")
    }
}

/// Compares the checksums of all runs of the same workload and arguments, sets the status of each to `ok` or
/// `mismatch`, and returns those that differ.
///
/// The reference is what most runs of `native` computed, since those are the bytes on the real CPU; where `native`
/// computed nothing, it is what most runs computed, and in a tie what the first engine of the usual order computed.
/// Judging again, with more rows, may change a verdict.
pub fn judge(rows: &mut [RunRow]) -> Vec<Mismatch> {
    let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let judged = matches!(row.status, Status::Ok | Status::Mismatch);
        if judged && row.checksum.is_some() {
            let key = (row.workload.clone(), row.args.clone());
            groups.entry(key).or_default().push(index);
        }
    }
    let mut mismatches = Vec::new();
    for members in groups.into_values() {
        let Some(expected) = reference(rows, &members) else {
            continue;
        };
        for index in members {
            let row = &mut rows[index];
            let found = row.checksum.clone().unwrap_or_default();
            row.status = if found == expected { Status::Ok } else { Status::Mismatch };
            if row.status == Status::Mismatch {
                mismatches.push(Mismatch {
                    run: row.run,
                    engine: row.engine,
                    workload: row.workload.clone(),
                    found,
                    expected: expected.clone(),
                });
            }
        }
    }
    mismatches.sort_by_key(|m| m.run);
    mismatches
}

/// The checksum that the others are held against.
fn reference(rows: &[RunRow], members: &[usize]) -> Option<String> {
    let native: Vec<usize> = members.iter().copied().filter(|&i| rows[i].engine == EngineId::Native).collect();
    let voters = if native.is_empty() { members } else { &native };
    // Per checksum: how many runs computed it, and the first engine of the usual order that did.
    let mut votes: BTreeMap<&str, (usize, Setup)> = BTreeMap::new();
    for &index in voters {
        let checksum = rows[index].checksum.as_deref()?;
        let engine = rows[index].engine;
        let vote = votes.entry(checksum).or_insert((0, engine));
        vote.0 += 1;
        vote.1 = vote.1.min(engine);
    }
    votes
        .into_iter()
        .max_by_key(|&(_, (count, engine))| (count, std::cmp::Reverse(engine)))
        .map(|(checksum, _)| checksum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: u32, engine: EngineId, checksum: &str) -> RunRow {
        RunRow {
            run,
            engine: engine.into(),
            workload: "sieve".into(),
            args: "1000".into(),
            image_sha256: String::new(),
            status: Status::Ok,
            checksum: Some(checksum.into()),
            roi_host_ns: Some(1),
            roi_guest_ns: None,
            wall_ns: 2,
            startup_ns: None,
            guest_instructions: None,
        }
    }

    #[test]
    fn native_is_the_reference() {
        let mut rows = vec![row(1, EngineId::Kvm, "b"), row(2, EngineId::EmuNaive, "b"), row(3, EngineId::Native, "a")];
        let found = judge(&mut rows);
        assert_eq!(found.iter().map(|m| m.run).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found[0].expected, "a");
        assert_eq!(rows[0].status, Status::Mismatch);
        assert_eq!(rows[2].status, Status::Ok);
    }

    #[test]
    fn without_native_the_majority_is_and_in_a_tie_the_hardware() {
        let mut rows =
            vec![row(1, EngineId::Kvm, "a"), row(2, EngineId::EmuNaive, "b"), row(3, EngineId::EmuInterp, "b")];
        assert_eq!(judge(&mut rows)[0].run, 1);
        rows.pop();
        let found = judge(&mut rows);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].run, 2, "the verdict changes with the rows");
        assert_eq!(rows[0].status, Status::Ok);
    }

    #[test]
    fn failed_runs_have_no_say_and_other_arguments_are_other_work() {
        let mut rows = vec![row(1, EngineId::Native, "a"), row(2, EngineId::Kvm, "b"), row(3, EngineId::Kvm, "c")];
        rows[1].status = Status::Timeout;
        rows[2].args = "2000".into();
        assert!(judge(&mut rows).is_empty());
        assert_eq!(rows[1].status, Status::Timeout);
    }
}
