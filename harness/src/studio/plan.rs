//! What is measured: the cells of an experiment.

use workloads::{Profile, Workload};

use crate::cli::nearest;
use crate::model::{EngineId, Setup};
use crate::results::Cell;

/// A name that the plan does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} '{name}'{}; known: {known}", hint.as_ref().map(|h| format!(", did you mean '{h}'?")).unwrap_or_default())]
pub struct PlanError {
    /// `engine` or `workload`.
    kind: &'static str,
    /// What the user typed.
    name: String,
    /// The nearest known name.
    hint: Option<String>,
    /// All known names.
    known: String,
}

impl PlanError {
    /// The error for a `name` that is not among `known`.
    pub fn unknown<'a>(kind: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        Self {
            kind,
            name: name.to_owned(),
            hint: nearest(name, known.iter().copied()).map(str::to_owned),
            known: known.join(", "),
        }
    }
}

/// A workload as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Its name.
    pub name: String,
    /// Its arguments at the chosen size.
    pub args: Vec<String>,
    /// Whether it runs as a Linux process.
    pub native: bool,
}

impl Work {
    /// A workload of the catalogue, with the arguments of a profile and a factor on its work.
    #[must_use]
    pub fn of(workload: &Workload, profile: Profile, size: f64) -> Self {
        Self { name: workload.name.to_owned(), args: workload.args(profile, size), native: workload.native }
    }
}

/// What all runs of an experiment share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Time limit of a run, seconds.
    pub timeout_s: u64,
    /// Whether guest RAM is backed before the region of interest.
    pub prefault: bool,
    /// The model of the CPU, on engines where it is emu-min's.
    pub cpu: emu_min::Model,
    /// Timer interrupts per second in every guest; `None`: what each workload needs.
    pub hz: Option<u32>,
    /// Whether the guest's own time passes, where the CPU is emu-min's.
    pub deterministic: bool,
    /// The seed from which each run's placement is drawn; `None`: all runs have the plain one.
    pub setup_seed: Option<u64>,
    /// Whether the process of a run enters the sandbox.
    pub sandbox: bool,
}

/// Those of `known` that are named in `wanted`, in the order of `known`; all of them if nothing is named.
///
/// # Errors
/// [`PlanError`] for the first name that is not known.
pub fn select<T: Clone>(
    kind: &'static str,
    wanted: &[String],
    known: &[T],
    name: impl Fn(&T) -> &str,
) -> Result<Vec<T>, PlanError> {
    for word in wanted {
        if !known.iter().any(|k| name(k) == word.trim()) {
            return Err(PlanError::unknown(kind, word.trim(), known.iter().map(&name)));
        }
    }
    let chosen = |k: &&T| wanted.is_empty() || wanted.iter().any(|w| w.trim() == name(k));
    Ok(known.iter().filter(chosen).cloned().collect())
}

/// The cells: every engine with every workload that it can run.
#[must_use]
pub fn cells(engines: &[Setup], works: &[Work]) -> Vec<Cell> {
    works
        .iter()
        .flat_map(|work| {
            engines.iter().filter(|engine| engine.id != EngineId::Native || work.native).map(|&engine| Cell {
                engine,
                workload: work.name.clone(),
                args: work.args.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works() -> Vec<Work> {
        [("sieve", true), ("port_io", false)]
            .map(|(name, native)| Work { name: name.into(), args: vec!["10".into()], native })
            .into()
    }

    #[test]
    fn native_takes_only_what_runs_as_a_process() {
        let cells = cells(&[EngineId::Native.into(), EngineId::Kvm.into()], &works());
        let names: Vec<_> = cells.iter().map(|c| format!("{}/{}", c.engine, c.workload)).collect();
        assert_eq!(names, ["native/sieve", "kvm/sieve", "kvm/port_io"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_the_list() {
        let wanted = ["siev".to_owned()];
        let error = select("workload", &wanted, &works(), |w| &w.name).expect_err("no such workload");
        assert_eq!(error.to_string(), "unknown workload 'siev', did you mean 'sieve'?; known: sieve, port_io");
    }

    #[test]
    fn a_selection_keeps_the_usual_order() {
        let wanted = ["port_io".to_owned(), " sieve".to_owned()];
        let chosen = select("workload", &wanted, &works(), |w| &w.name).expect("both are known");
        assert_eq!(chosen, works());
        let all = select("workload", &[], &works(), |w| &w.name).expect("nothing is named");
        assert_eq!(all, works());
    }
}
