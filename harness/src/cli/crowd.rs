//! Options of `evlab crowd`.

use std::path::PathBuf;

use clap::Args;

use super::{CpuArgs, EmuArgs, MachineArgs, SandboxArgs, Switch, parse_hz, parse_size};
use crate::crowd::Growth;

/// `evlab crowd`
#[derive(Debug, Args)]
#[command(after_help = CROWD_HELP)]
pub struct CrowdArgs {
    /// Only these engines, separated by commas [default: those that the host has, but emu-naive]
    #[arg(long, short, visible_alias = "engine", value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Most guests: 8 means 1, 2, 4 and 8; or a list of numbers, to which 1 is added
    #[arg(long, short, value_name = "N|LIST", default_value = "8")]
    pub guests: Growth,
    /// What each guest runs: a workload of the catalogue (see evlab list)
    #[arg(long, short, value_name = "WORKLOAD", default_value = "fib")]
    pub workload: String,
    /// Rounds of each engine with each number of guests
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// Seed of the order of rounds [default: drawn, and recorded in experiment.json]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write the results into this folder [default: results/<UTC time>-<host>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Scale the work by this factor, on every engine alike [default: half a second of work for
    /// one guest, on each engine]
    #[arg(long, value_name = "X", value_parser = parse_size, help_heading = "Guest")]
    pub size: Option<f64>,
    /// Guest RAM in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=3072), help_heading = "Guest")]
    pub ram: u32,
    /// Stop a run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Guest")]
    pub timeout: u64,
    /// Back guest RAM with host memory before it is used: a guest then takes all of it
    #[arg(long, value_name = "ON|OFF", value_enum, default_value_t = Switch::Off, hide_possible_values = true, help_heading = "Guest")]
    pub prefault: Switch,
    /// Timer interrupts per second in the guest, 19 to 5000, or 0 for none [default: what the
    /// workload needs, none for most]
    #[arg(long, value_name = "N", value_parser = parse_hz, help_heading = "Guest")]
    pub hz: Option<u32>,
    /// The emulated CPU.
    #[command(flatten, next_help_heading = "Guest")]
    pub cpu: CpuArgs,
    /// Its mechanisms.
    #[command(flatten, next_help_heading = "Guest")]
    pub emu: EmuArgs,
    /// What its process may do.
    #[command(flatten, next_help_heading = "Guest")]
    pub sandbox: SandboxArgs,
}

impl CrowdArgs {
    /// The machine of each guest.
    #[must_use]
    pub fn machine(&self) -> MachineArgs {
        MachineArgs {
            size: self.size.unwrap_or(1.0),
            ram: self.ram,
            timeout: self.timeout,
            prefault: self.prefault,
            hz: self.hz,
            deterministic: false,
            cpu: self.cpu,
            emu: self.emu.clone(),
            sandbox: self.sandbox.clone(),
        }
    }
}

const CROWD_HELP: &str = "\
Guests run side by side on one engine, each in a process of its own, all started at once. How much \
work do they get done together, is it divided fairly, and what does each cost in memory? \
Throughput is held against one guest and against the processors of the host. A guest that has \
ended is started again until all have ended once, so that all are measured on a full host. \
docs/consolidation.md says how to read the tables.

Every guest of an engine does the same work; all must compute the same checksum, else the exit \
code is 1. If the host's memory cannot take the guests, nothing is started (exit code 2). \
Ctrl-C stops all guests and keeps what was measured (exit code 130).

Examples:
  evlab crowd                                      1, 2, 4, 8 guests on every engine, in minutes
  evlab crowd --guests 16 --engine kvm             how many guests one engine carries
  evlab crowd --guests 1,2,3,4 --engines kvm,emu-dbt --runs 11
  evlab crowd --workload random_access --ram 128   guests that compete for caches and memory";
