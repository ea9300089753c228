//! Options of the analysis of warm-up.

use clap::Args;

use super::MeasureArgs;

/// `evlab warmup`
#[derive(Debug, Args)]
#[command(
    after_help = WARMUP_HELP,
    mut_arg("runs", |arg| arg.help("Runs of each workload on each engine [default: 5]")),
    mut_arg("seed", |arg| arg.help("Seed of the order of runs [default: drawn, and recorded in warmup.json]")),
)]
pub struct WarmupArgs {
    /// Only these engines, separated by commas [default: those that the host has, but emu-naive]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only these workloads, separated by commas [default: those of the groups studio, compute and memory]
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Laps of each run: how often a process does the work
    #[arg(long, value_name = "K", default_value_t = 40, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub laps: u32,
    /// Print the cells as JSON
    #[arg(long)]
    pub json: bool,
    /// How often, in which order, on which machine, and where to.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

const WARMUP_HELP: &str = "\
Each run is a process that does the same work K times; each lap is timed by the guest's time-stamp \
counter, without the preparation of its data. A changepoint analysis divides the laps of a run into \
levels. flat: the same level from the first lap on. warm-up: it became steady and was never faster. \
slow-down: it became steady and was faster before. no steady state: it changed in the last quarter \
of the laps. inconsistent: the runs differ; then the number of runs of each class is given.

FROM is the lap from which every run is steady, STEADY the time of a lap from there on with its 95% \
interval (bootstrap of runs and of laps in them), FIRST/STEADY what the first lap takes. The work of \
a lap is that of a quick run (--size scales it). Levels within 2% count as the same. docs/method.md \
has the details.

Exit codes: 0 well, whatever the classes; 1 a run failed or computed another result; 2 usage or \
environment error.

Examples:
  evlab warmup                                       every engine but emu-naive, in minutes
  evlab warmup --engines emu-dbt,qemu-tcg --workloads sieve,qsort
  evlab warmup --laps 200 --runs 10 --workloads fib --json
  evlab run sieve --engine emu-dbt -- 240000 laps=5  the laps of one run, in ticks";
