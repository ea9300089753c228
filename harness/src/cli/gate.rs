//! Options of the gate.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::measure::parse_budget;
use super::{SandboxArgs, parse_percent, parse_size};
use crate::gate::{Times, Tolerance, output};

/// `evlab gate`
#[derive(Debug, Args)]
#[command(after_help = GATE_HELP)]
pub struct GateArgs {
    /// The baseline to hold this build against
    #[arg(long, value_name = "FILE", required_unless_present = "base_bin")]
    pub baseline: Option<PathBuf>,
    /// Measure, and write the baseline anew
    #[arg(long, requires = "baseline")]
    pub update: bool,
    /// Hold a build against this one, side by side, without a baseline
    #[arg(long, value_name = "EVLAB", conflicts_with = "baseline")]
    pub base_bin: Option<PathBuf>,
    /// The build that is held against it [default: this one]
    #[arg(long, value_name = "EVLAB", requires = "base_bin", conflicts_with = "baseline")]
    pub head_bin: Option<PathBuf>,
    /// Only these engines, separated by commas [default: those of the baseline; for a new one native, kvm,
    /// emu-dbt, emu-interp, and emu-naive for its counts]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only these workloads, separated by commas
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// What becomes of the times: judge, tell (they fail nothing) or off (only counts)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Times::Judge, hide_possible_values = true)]
    pub times: Times,
    /// So many per cent may a time grow
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0, value_parser = parse_percent)]
    pub threshold: f64,
    /// So many per cent may the geometric mean of an engine over the programs grow
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = parse_percent)]
    pub mean_threshold: f64,
    /// Let a counter differ, as in emu:tlb.miss=1% or emu:tlb.*=1%; may be given again
    #[arg(long, value_name = "COUNTER=PERCENT")]
    pub tolerance: Vec<Tolerance>,
    /// Rounds of the first measurement
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub runs: u32,
    /// Rounds of a look of the second, of suspects alone, of which there are up to three; a baseline has
    /// twice as many
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub rerun: u32,
    /// Begin no round of the second measurement that would end later than this, such as 90s or 5m, after the
    /// beginning: what is in doubt then is inconclusive
    #[arg(long, value_name = "TIME", default_value = "110s", value_parser = parse_budget, conflicts_with = "update")]
    pub budget: Duration,
    /// Seed of the order of runs [default: drawn, and told]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write the report: json=FILE, markdown=FILE (appended), junit=FILE, benchmark=FILE for
    /// github-action-benchmark, bencher=FILE; may be given again
    #[arg(long, value_name = "FORMAT=FILE")]
    pub write: Vec<output::Target>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// What is measured, where no baseline says it.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// What is measured, where no baseline says it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "With --update or --base-bin")]
pub struct WorkArgs {
    /// The engine whose times the others' are divided by [default: native]
    #[arg(long, value_name = "ENGINE")]
    pub reference: Option<String>,
    /// Factor on the work of the quick workloads [default: 3]
    #[arg(long, value_name = "X", value_parser = parse_size)]
    pub size: Option<f64>,
    /// Guest RAM in MiB [default: 64]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=3072))]
    pub ram: Option<u32>,
    /// Stop a run after this many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// What the processes that run guests may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

impl WorkArgs {
    /// An option that a baseline decides, if one was given.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            (self.reference.is_some(), "--reference"),
            (self.size.is_some(), "--size"),
            (self.ram.is_some(), "--ram"),
            (self.timeout.is_some(), "--timeout"),
            (self.sandbox.no_sandbox, "--no-sandbox"),
        ];
        options.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

const GATE_HELP: &str = "\
First the counts. Image hashes, checksums and, on the emulators, guest instructions, exits and every \
other counter must be equal; guests then live in a time of their own (--deterministic), so that \
every host counts the same. On kvm the exits of port and memory-mapped I/O are compared.

Then the times. Against a baseline they are ratios to native in the same minute, so that a \
baseline of another day serves, and to some extent one of another host. Suspect is a cell whose ratio grew beyond \
--threshold, or an engine whose geometric mean over the programs grew beyond --mean-threshold, with an \
interval above 1. Suspects are measured again, longer, up to three times; a time fails the gate only if its \
interval then lies beyond the threshold. What is in doubt when --budget is spent is inconclusive. A baseline \
of another KVM backend is refused.

Two builds side by side (--base-bin) are compared by their times directly, run in turn: the \
sharpest test there is.

Exit codes: 0 pass; 1 a count differs, a run failed or a time is slower; 2 usage or environment \
error; 3 nothing is surely worse, but something may be. evlab calibrate says how small a change \
is noticed on a host, and how often there is a false alarm.

Examples:
  evlab gate --baseline base.json --update       measure and write a baseline, in 5 minutes
  evlab gate --baseline base.json                hold this build against it, in less than 2 minutes
  evlab gate --baseline base.json --times off    counts only, in seconds, on any host
  evlab gate --baseline base.json --write markdown=$GITHUB_STEP_SUMMARY --write junit=gate.xml
  evlab gate --base-bin old/evlab --head-bin new/evlab --engines emu-interp";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn parse(words: &str) -> Result<GateArgs, String> {
        let cli = Cli::try_parse_from(format!("evlab gate {words}").split_whitespace()).map_err(|e| e.to_string())?;
        match cli.command {
            Command::Gate(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn there_is_one_thing_to_be_held_against() {
        assert!(parse("--baseline b.json").is_ok() && parse("--base-bin evlab").is_ok());
        for bad in ["", "--update", "--baseline b --base-bin e", "--head-bin e --baseline b", "--baseline b --runs 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_budget_is_for_verdicts() {
        let budget = |words: &str| parse(words).map(|args| args.budget.as_secs());
        assert_eq!((budget("--baseline b"), budget("--base-bin e --budget 5m")), (Ok(110), Ok(300)));
        assert_eq!(budget("--baseline b --update"), Ok(110), "a default is in nobody's way");
        assert!(budget("--baseline b --update --budget 5m").is_err() && budget("--baseline b --budget 5").is_err());
    }

    #[test]
    fn what_the_baseline_decides_is_named() {
        let given = |words: &str| parse(words).expect("it parses").work.given();
        assert_eq!(given("--baseline b"), None);
        assert_eq!(given("--baseline b --ram 128"), Some("--ram"));
        assert_eq!(given("--baseline b --no-sandbox"), Some("--no-sandbox"));
    }
}
