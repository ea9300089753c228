//! Options of the micro-benchmarks.

use std::path::PathBuf;

use clap::Args;

use super::SandboxArgs;

/// `evlab micro`
#[derive(Debug, Args)]
#[command(after_help = MICRO_HELP)]
pub struct MicroArgs {
    /// The events (see --list) [default: all]
    #[arg(value_name = "EVENTS", value_delimiter = ',')]
    pub events: Vec<String>,
    /// Say what each event is, and measure nothing
    #[arg(long, conflicts_with_all = ["engines", "ring", "quick", "runs", "seed", "out"])]
    pub list: bool,
    /// Shorter regions of interest and 3 runs of each
    #[arg(long)]
    pub quick: bool,
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only events of this ring, 0 or 3
    #[arg(long, value_name = "RING", value_parser = parse_ring)]
    pub ring: Option<u8>,
    /// Runs of each event on each engine [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: Option<u32>,
    /// Seed of the order of runs [default: drawn, and recorded in micro.json]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write the results into this folder [default: results/<UTC time>-<host>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    /// What the processes may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

const MICRO_HELP: &str = "\
What one event costs: a system call, a port access, a page fault, a TLB miss, an instruction that a \
hypervisor intercepts. Each is a loop in the guest, in ring 3 or in ring 0. The cost of the loop is \
measured by a control and subtracted; the number of iterations is found for each engine. Runs are \
separate processes, interleaved in a seeded order.

INSTR is how many guest instructions one operation takes, EXITS how many exits to the monitor; kvm \
and emu-* must take exactly those, else the exit code is 1. '-' marks what an engine cannot do; the \
reasons stand below the table. docs/micro-benchmarks.md describes every event.

Examples:
  evlab micro --quick                            every event on every engine
  evlab micro --list                             what each event is
  evlab micro syscall,port-out --runs 15         two events, tighter intervals
  evlab micro --engines kvm,emu-dbt --ring 0     the events of ring 0 on two engines
  evlab micro page-fault --json                  as JSON, with intervals";

/// `evlab event`
#[derive(Debug, Args)]
pub struct EventArgs {
    /// The event.
    pub name: String,
    /// The ring it happens in.
    #[arg(long, default_value_t = 3)]
    pub ring: u8,
    /// The engine to run it on.
    #[arg(long, short)]
    pub engine: String,
    /// How many iterations.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// What the process may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

pub(super) fn parse_ring(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(ring @ (0 | 3)) => Ok(ring),
        _ => Err("give 0 or 3".to_owned()),
    }
}
