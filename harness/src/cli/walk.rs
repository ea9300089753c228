//! Options of `evlab walk`.

use clap::Args;

use super::MachineArgs;
use crate::exec::parse_number;
use crate::walk::Moment;

/// `evlab walk`
#[derive(Debug, Args)]
#[command(
    after_help = WALK_HELP,
    mut_arg("size", |arg| arg.help("Scale the work of the workload, which is that of a quick run, by this factor")),
    mut_arg("prefault", |arg| arg.hide(true)),
)]
pub struct WalkArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF")]
    pub workload: String,
    /// The guest-virtual address: decimal, or 0x-hexadecimal
    #[arg(value_name = "ADDRESS", value_parser = parse_number)]
    pub address: u64,
    /// The engines, separated by commas: kvm, emu-dbt, emu-interp, emu-naive
    #[arg(long, short, alias = "engines", value_name = "A,B", value_delimiter = ',', default_value = "emu-interp")]
    pub engine: Vec<String>,
    /// Which look at each process to show: at the first or last exit of the machine at which the address is
    /// mapped in it, or at the last up to the beginning or end of the region of interest
    #[arg(long, value_name = "MOMENT", value_enum, default_value = "last", hide_possible_values = true)]
    pub at: Moment,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Arguments of the program, instead of those of a quick run
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// The guest machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

const WALK_HELP: &str = "\
A process stores 4 at 0xabcd, another stores 5 at 0xabcd, and each reads its own value back: CR3 names \
other page tables for each. This command shows them: every entry on the way with its address, value \
and bits, the frame behind the address, what is in memory there, and what the TLB has to say.

A guest is looked at when its machine exits (a byte on the console, a marker, its end), which is at the \
same places on every engine. Each exit belongs to the process whose tables CR3 names; --at says which \
look at a process is kept: first, begin, end or last. The default, last, shows what the process leaves \
behind. Nothing is looked at before the first entry into ring 3.

emu-interp and emu-dbt have a soft TLB, which is asked: a hit is a translation that it holds at that \
moment. emu-naive has none, and the processor's cannot be asked: there, and everywhere, you are told what \
the architecture lets a TLB hold. docs/lab.md explains the picture.

Exit codes: 0 well, also if the address is not mapped; 1 the guest failed or had no process; 2 usage or
environment error.

Examples:
  evlab walk two_processes 0xabcd                        the lecture's example
  evlab walk two_processes 0xabcd -e emu-interp,kvm      on two engines
  evlab walk two_processes 0xabcd --at first             when each has just touched the address
  evlab walk sieve 0x400000                              where a program's code lies
  evlab walk sieve 0xffffffff80100000                    the kernel's half: large pages, the same for all
  evlab walk sieve 0x1234 --json                         not mapped: where the walk ends
  evlab walk ./my-program.elf 0x7fffffffe000 -- 10       the stack of a program of your own";
