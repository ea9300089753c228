//! The command line: what users type, and the help that teaches it.

// Help texts are for the terminal: <host> is no HTML there.
#![allow(rustdoc::invalid_html_tags)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use emu_min::Model;

use crate::model::EngineId;

mod calibrate;
mod comfort;
mod compare;
mod cpu;
mod crowd;
mod debug;
mod emu;
mod explain;
mod gate;
mod isolation;
mod measure;
mod micro;
mod nearest;
mod trace;
mod walk;
mod warmup;

pub use calibrate::CalibrateArgs;
pub use comfort::{CompletionsArgs, ManArgs};
pub use compare::CompareArgs;
pub use cpu::{CpuArgs, NoEmulatedCpu};
pub use crowd::CrowdArgs;
pub use debug::{DebugArgs, DebugConsole, DebugStart};
pub use emu::{EmuArgs, EmuError};
pub use explain::{CostArgs, ExplainArgs, PredictArgs, ProfileArgs};
pub use gate::{GateArgs, WorkArgs};
pub use isolation::{AttackArgs, IsolationArgs, SandboxArgs};
pub use measure::{DesignArgs, MeasureArgs};
pub use micro::{EventArgs, MicroArgs};
pub use nearest::nearest;
pub use trace::TraceArgs;
pub use walk::WalkArgs;
pub use warmup::WarmupArgs;

/// Emulation versus virtualization, measured: the same guest on every engine
#[derive(Debug, Parser)]
#[command(name = "evlab", version, long_about = LONG_ABOUT, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
Emulation versus virtualization, measured.

The same guest bytes run natively, on KVM, on an emulator and on QEMU; every run yields a time, an exit count and a \
checked result. Each engine removes one cost of the one before it, so the differences say what each cost is.";

const AFTER_HELP: &str = "\
Start here:
  evlab doctor                          what this host can run, and what it lacks
  evlab list                            the workloads and the engines
  evlab run sieve --engine kvm          one workload on one engine
  evlab studio --quick                  the whole experiment in about a minute
  evlab ablate --quick                  what each mechanism of the emulator is worth
  evlab micro --quick                   what one event costs: system call, exit, page fault
  evlab explain sieve                   where its time goes on each engine, and why
  evlab walk two_processes 0xabcd       one address, two processes, two frames: the page tables
  evlab trace noop --ring 3             every instruction of a program, with what it did
  evlab debug two_processes             gdb on program and kernel of a guest

Exit codes: 0 well; 1 the thing asked about is bad (a mismatch, a failed guest); 2 usage or
environment error; 3 inconclusive; 130 stopped by Ctrl-C.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole experiment: every workload on every engine, then charts and a report
    Studio(StudioArgs),
    /// Measure what each mechanism of the emulator is worth, from the naive interpreter to the CPU
    Ablate(AblateArgs),
    /// Run one workload, or a program of your own, once on one engine
    Run(RunArgs),
    /// List the workloads and the engines
    List(ListArgs),
    /// Describe this host and its engines, and say how to get what is missing
    Doctor(DoctorArgs),
    /// Render the report of a results folder again
    Report(ReportArgs),
    /// Compare two results folders, cell by cell
    Compare(CompareArgs),
    /// Fail on a regression against a baseline or another build, and stay silent on noise
    Gate(GateArgs),
    /// Measure how small a change is noticed on this host, and how often there is a false alarm
    Calibrate(CalibrateArgs),
    /// Debug a guest and its kernel with gdb
    Debug(DebugArgs),
    /// Show how an address becomes a physical one in each process of a guest: page tables, frame, TLB
    Walk(WalkArgs),
    /// Show what a guest's processor does: every instruction of an emulated one, every exit of KVM's
    Trace(TraceArgs),
    /// Run raw machine code in ring 3 on an engine, and print the final state
    Exec(crate::exec::ExecArgs),
    /// Compare this processor with the emulator on random machine code
    Fuzz(crate::fuzz::FuzzArgs),
    /// Measure what one event costs on each engine: system call, exit, fault, TLB miss and others
    Micro(MicroArgs),
    /// Find out on each engine whether a program becomes faster while it runs, and from when on it is steady
    Warmup(WarmupArgs),
    /// Run hostile guests on every engine, and say whether each is contained
    Isolation(IsolationArgs),
    /// Run more and more guests side by side: throughput, fairness, memory per guest
    Crowd(CrowdArgs),
    /// Say where the time of a program goes on each engine, and why it is slower
    Explain(ExplainArgs),
    /// Predict the time of a program from all others, and compare with what is measured
    Predict(PredictArgs),
    /// Print the completions of commands and options for a shell
    Completions(CompletionsArgs),
    /// Write the man pages, one for each command
    Man(ManArgs),
    /// One attack of the isolation suite.
    #[command(hide = true)]
    Attack(AttackArgs),
    /// One run of a micro-benchmark.
    #[command(hide = true)]
    Event(EventArgs),
    /// What a program does, counted instruction by instruction.
    #[command(hide = true)]
    Profile(ProfileArgs),
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Do it.
    On,
    /// Do not.
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }

    /// The word users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// The machine that a guest gets, the same for `run` and `studio`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guest")]
pub struct MachineArgs {
    /// Scale the work of every workload by this factor
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = parse_size)]
    pub size: f64,
    /// Guest RAM in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=3072))]
    pub ram: u32,
    /// Stop a run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Back guest RAM with host memory before anything is measured
    #[arg(long, value_name = "ON|OFF", value_enum, default_value_t = Switch::On, hide_possible_values = true)]
    pub prefault: Switch,
    /// Timer interrupts per second in the guest, 19 to 5000, or 0 for none [default: what the
    /// workload needs, none for most]
    #[arg(long, value_name = "N", value_parser = parse_hz)]
    pub hz: Option<u32>,
    /// On emu-naive, emu-interp and emu-dbt, let time pass in the guest with its instructions alone, 1 ns
    /// each: every run, on every host, then counts the same [--cpu is v1 then, unless it is given]
    #[arg(long)]
    pub deterministic: bool,
    /// The emulated CPU.
    #[command(flatten)]
    pub cpu: CpuArgs,
    /// Its mechanisms.
    #[command(flatten)]
    pub emu: EmuArgs,
    /// What its process may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// The emulated CPU is spoken of, and no engine has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelChoiceError {
    /// By `--deterministic`.
    #[error(
        "--deterministic is about emu-naive, emu-interp and emu-dbt, which are not among the engines chosen; choose one, or \
         leave --deterministic out"
    )]
    Deterministic,
    /// By `--cpu`.
    #[error(transparent)]
    Cpu(#[from] NoEmulatedCpu),
}

impl MachineArgs {
    /// The model of the emulated CPU, on these engines. One that every host can execute, where runs are to be the same on all.
    ///
    /// # Errors
    /// [`ModelChoiceError`].
    pub fn model(&self, engines: &[EngineId]) -> Result<Model, ModelChoiceError> {
        let emulated = engines.iter().map(|engine| engine.has_emulated_cpu());
        if self.deterministic && !emulated.clone().any(|emulated| emulated) {
            return Err(ModelChoiceError::Deterministic);
        }
        match self.cpu.cpu {
            None if self.deterministic => Ok(Model::V1),
            _ => Ok(self.cpu.model(emulated)?),
        }
    }
}

/// `evlab studio`
#[derive(Debug, Args)]
#[command(after_help = STUDIO_HELP)]
pub struct StudioArgs {
    /// Smaller work and 3 runs of each cell: an answer in about a minute
    #[arg(long)]
    pub quick: bool,
    /// First install what is missing (QEMU, through apt)
    #[arg(long)]
    pub install: bool,
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only these workloads, separated by commas
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Print cells and means as JSON
    #[arg(long)]
    pub json: bool,
    /// When enough is measured.
    #[command(flatten)]
    pub design: DesignArgs,
    /// How often, in which order, on which machine, and where to.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

const STUDIO_HELP: &str = "\
Every run is a process of its own. Runs are interleaved: each round holds every pair of an engine and a \
workload once, in an order shuffled by the seed, so that a slow phase of the host hits all engines alike. \
An engine that this host lacks is listed with its reason; it never fails the experiment. \
All engines must compute the same checksum, else the run is void and the exit code 1.

Ctrl-C stops the current run, keeps what was measured and renders it (exit code 130).

Examples:
  evlab studio                                   everything, 5 runs of each, under 6 minutes
  evlab studio --quick                           everything, smaller, in about a minute
  evlab studio --engines native,kvm --runs 15    two engines, tighter intervals
  evlab studio --precision 2% --budget 20m       until each ratio is known to 2%, at most 20 minutes
  evlab studio --workloads dense_mm,random_access --size 4 --out results/big";

/// `evlab ablate`
#[derive(Debug, Args)]
// The mechanisms are what is varied.
#[command(
    after_help = ABLATE_HELP,
    mut_arg("emu", |arg| arg.hide(true)),
    mut_arg("runs", |arg| arg.help("Runs of each step of each workload [default: 5, with --quick 3]")),
)]
pub struct AblateArgs {
    /// The workloads (see evlab list) [default: 8 programs, with --quick 3]
    #[arg(value_name = "WORKLOADS", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Smaller work and 3 runs of each step: an answer in half a minute
    #[arg(long)]
    pub quick: bool,
    /// Print cells, means and steps as JSON
    #[arg(long)]
    pub json: bool,
    /// When enough is measured.
    #[command(flatten)]
    pub design: DesignArgs,
    /// How often, in which order, on which machine, and where to.
    #[command(flatten)]
    pub measure: MeasureArgs,
}

const ABLATE_HELP: &str = "\
The ladder: emu-naive decodes every instruction and walks the page tables at every access. To it \
are added, one after another: decoded blocks, the software TLB, lazy flags, block links, fused \
pairs, bulk strings (that is emu-interp), translation, chained blocks, inline caches, shared \
lookups (that is emu-dbt); then come kvm and native. A factor is the time of the step before over the time of this one.

From the top: emu-interp and emu-dbt without one mechanism each. A factor is the time without it \
over the time with it. The two differ where mechanisms need or replace one another.

All steps of a workload do the same work. Runs are separate processes, interleaved in a seeded \
order; all must compute the same checksum, else the run is void and the exit code 1. \
docs/ablation.md says how to read the charts.

Examples:
  evlab ablate                                   the whole ladder on 8 programs, about 6 minutes
  evlab ablate --quick                           on 3 programs, smaller, in half a minute
  evlab ablate sieve,qsort --runs 11             two programs, tighter intervals
  evlab ablate tlb --out results/tlb             what the software TLB is worth when it misses
  evlab run sieve -e emu-interp --emu link=off   one step by hand";

/// `evlab run`
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF")]
    pub workload: String,
    /// The engine to run it on
    #[arg(long, short, value_name = "ENGINE")]
    pub engine: String,
    /// Print the record of the run as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw where stack and program lie from this seed: how large the environment is, and on kvm and emu-*
    /// how far up in RAM the program is loaded [default: no environment, no way up]
    #[arg(long, value_name = "SEED")]
    pub setup: Option<u64>,
    /// Arguments of the program, instead of its defaults
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// The guest machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

const RUN_HELP: &str = "\
A program of your own is a static, non-PIE ELF64 executable that uses the system calls of
docs/guest-contract.md; a name with a slash is taken as a path.

Examples:
  evlab run sieve --engine kvm                   with the defaults of the catalogue
  evlab run dense_mm --engine emu-interp -- 64   64 x 64 matrices
  evlab run ./hello --engine kvm -- world        your own program, here with one argument
  evlab run sieve --engine emu-dbt --hz 1000     with a thousand timer interrupts a second
  evlab run port_io -e kvm --json                the record, with all counters, as JSON";

/// `evlab list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// `evlab doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Install what is missing (QEMU, through apt)
    #[arg(long)]
    pub install: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// `evlab report`
#[derive(Debug, Args)]
#[command(after_help = REPORT_HELP)]
pub struct ReportArgs {
    /// A results folder of evlab studio, ablate, micro, isolation, crowd or warmup
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Show in the report what evlab micro or evlab isolation wrote into this folder [default: the newest
    /// of the same host and KVM backend beside DIR]
    #[arg(long, value_name = "DIR")]
    pub with: Vec<PathBuf>,
    /// Print cells and means as JSON
    #[arg(long)]
    pub json: bool,
}

const REPORT_HELP: &str = "\
The page, report.html, is one file that needs no other: open it in a browser, print it, send it. \
With the results of an experiment it also shows micro-benchmarks and the isolation suite, if they \
were measured on the same host with the same KVM backend, and what evlab calibrate found out.

Examples:
  evlab report results/reference                 render it again
  evlab micro --quick && evlab isolation         measure what the report shows besides, then
  evlab report results/20260304T050607Z-lab      render the experiment again: both are in it
  evlab report results/mine --with results/m1 --with results/i1";

fn parse_size(text: &str) -> Result<f64, String> {
    let size: f64 = text.parse().map_err(|_| "give a number such as 0.5 or 4".to_owned())?;
    if size.is_finite() && (0.001..=1000.0).contains(&size) {
        Ok(size)
    } else {
        Err("give a factor from 0.001 to 1000".to_owned())
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.1..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("give per cent from 0.1 to 1000".to_owned()),
    }
}

fn parse_hz(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(hz @ (0 | 19..=5000)) => Ok(hz),
        _ => Err("give a number from 19 to 5000, or 0 for no timer interrupts".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_timer_has_a_range() {
        assert_eq!(["0", "19", "1000", "5000"].map(parse_hz), [Ok(0), Ok(19), Ok(1000), Ok(5000)]);
        for bad in ["18", "5001", "-1", "", "1k"] {
            assert!(parse_hz(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn per_cent_are_bounded() {
        assert_eq!([parse_percent("5"), parse_percent("2.5%")], [Ok(5.0), Ok(2.5)]);
        for bad in ["0", "-1", "nan", "inf", "much", "1001"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(parse_size("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "1e9", "big"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
