//! Options of the cost model.

use std::path::PathBuf;

use clap::Args;

use super::{SandboxArgs, parse_percent};

/// Where costs come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Costs")]
pub struct CostArgs {
    /// The folder whose costs.json to use [default: the newest of this host in results/, else they are measured, in some minutes]
    #[arg(long, value_name = "DIR")]
    pub costs: Option<PathBuf>,
    /// A folder of evlab micro whose events to use in place of those measured with the costs
    #[arg(long, value_name = "DIR")]
    pub micro: Option<PathBuf>,
    /// Measure the costs again, whatever there is
    #[arg(long, conflicts_with = "costs")]
    pub measure: bool,
    /// Where they are measured: small work, and one run of each
    #[arg(long, conflicts_with = "costs")]
    pub quick: bool,
    /// Where they are measured: runs of each program and each micro-benchmark [default: 3, with --quick 1]
    #[arg(long, value_name = "N", conflicts_with = "costs", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub cost_runs: Option<u32>,
    /// Where they are measured: write them into this folder [default: results/<UTC time>-<host>]
    #[arg(long, value_name = "DIR", conflicts_with = "costs")]
    pub out: Option<PathBuf>,
    /// Seed of the order of runs [default: drawn]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
}

/// `evlab explain`
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_HELP)]
pub struct ExplainArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF")]
    pub workload: String,
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Runs on each engine
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Arguments of the program, instead of its defaults
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// Where costs come from.
    #[command(flatten)]
    pub costs: CostArgs,
    /// What the processes may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

const EXPLAIN_HELP: &str = "\
Time is a sum of events: each occurs so many times, and costs so much each time. How often, emu-min \
counts, instruction by instruction, and it is the same for all engines. What it costs on an engine, \
a fit to all workloads and micro-benchmarks on this host says. What the events do not explain is \
shown as the rest. docs/explain.md describes every event.

The costs are measured once, in some minutes, and kept in costs.json. Costs of another host or of \
another KVM backend are refused.

Examples:
  evlab explain sieve                            where its time goes, on every engine
  evlab explain tlb --engines native,qemu-tcg    why QEMU is so much slower here
  evlab explain ./my-program.elf -- 100          a program of your own
  evlab explain qsort --json                     as JSON";

/// `evlab predict`
#[derive(Debug, Args)]
#[command(after_help = PREDICT_HELP)]
pub struct PredictArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF", required_unless_present = "all")]
    pub workload: Option<String>,
    /// Every workload, each predicted from the others
    #[arg(long, conflicts_with_all = ["workload", "args"])]
    pub all: bool,
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// How far off a prediction may be, per cent of the measured time
    #[arg(long, value_name = "PERCENT", default_value_t = 25.0, value_parser = parse_percent)]
    pub within: f64,
    /// Runs on each engine, where the program has to be run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Arguments of the program, instead of those that the costs were measured with
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// Where costs come from.
    #[command(flatten)]
    pub costs: CostArgs,
    /// What the processes may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

const PREDICT_HELP: &str = "\
How far can the model of evlab explain be trusted? The workload is left out, at all its sizes, the \
costs are fitted to the others and to the micro-benchmarks, and its time is predicted from its \
profile alone. With a program of your own, or with arguments, it is then run to compare.

The exit code is 1 if a prediction that was asked for is farther off than --within says.

Examples:
  evlab predict qsort                            on every engine
  evlab predict --all                            every workload from the others
  evlab predict --all --engines emu-dbt          on one engine
  evlab predict ./my-program.elf                 a program of your own";

/// `evlab profile`
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// A workload, the path of a program, or with --ring an event.
    pub name: String,
    /// The ring of the event.
    #[arg(long, requires = "count")]
    pub ring: Option<u8>,
    /// Nanoseconds of the guest's time that an instruction takes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pace: u32,
    /// How many iterations of the event.
    #[arg(long, requires = "ring", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Arguments of the program.
    #[arg(last = true)]
    pub args: Vec<String>,
    /// What the process may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}
