//! Options of `evlab trace`.

use std::ops::Range;

use clap::Args;

use super::MachineArgs;
use super::micro::parse_ring;
use crate::trace::{EventKind, Options, parse_exception, parse_range};

/// Steps that are shown unless another limit is given.
const LIMIT: u64 = 1000;
/// Steps around a fault unless another number is given.
const AROUND: &str = "16";

/// `evlab trace`
#[derive(Debug, Args)]
#[command(
    after_help = TRACE_HELP,
    mut_arg("size", |arg| arg.help("Scale the work of the workload, which is that of a quick run, by this factor")),
    mut_arg("prefault", |arg| arg.hide(true)),
)]
pub struct TraceArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF")]
    pub workload: String,
    /// The engine: emu-interp, emu-naive or emu-dbt, instruction by instruction; kvm, exit by exit
    #[arg(long, short, value_name = "ENGINE", default_value = "emu-interp")]
    pub engine: String,
    /// Only where the instruction pointer is in A..B, B not included; or at A alone
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub address: Option<Range<u64>>,
    /// Only in this ring, 0 or 3
    #[arg(long, value_name = "RING", value_parser = parse_ring)]
    pub ring: Option<u8>,
    /// Only these events, separated by commas: insn, mem, walk, exception, interrupt, io [default: all but
    /// walk]
    #[arg(long, value_name = "A,B", value_enum, value_delimiter = ',', hide_possible_values = true)]
    pub events: Vec<EventKind>,
    /// Only these exceptions, by vector or name, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = parse_exception)]
    pub exception: Vec<u8>,
    /// Only the region of interest of the program
    #[arg(long)]
    pub roi: bool,
    /// Only the last N steps before each exception, and as many after it [N: 16]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = AROUND, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub around_fault: Option<u32>,
    /// End after this many steps that were shown; a step is an instruction, an interrupt, or an exit
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Print as JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Arguments of the program, instead of those of a quick run
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// The guest machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

impl TraceArgs {
    /// What is to be traced.
    #[must_use]
    pub fn options(&self) -> Options {
        let usual = || EventKind::USUAL.to_vec();
        Options {
            events: if self.events.is_empty() { usual() } else { self.events.clone() },
            range: self.address.clone(),
            ring: self.ring,
            exceptions: self.exception.clone(),
            roi: self.roi,
            around: self.around_fault.map(|steps| steps as usize),
            limit: self.limit,
            json: self.json,
        }
    }
}

const TRACE_HELP: &str = "\
On an emulated CPU every instruction is shown with what it did: number of instructions before it, ring, \
instruction pointer, instruction, then the registers that it changed and its loads (r), stores (w) and \
both (rw) with size, address and value. Below it stand exceptions and interrupts with their handler, \
exits to the machine, and with --events walk the walks of the page tables: at every access on \
emu-naive, at misses of the TLB on the others.

On kvm the processor runs freely, and only its exits can be shown: number, ring, instruction pointer \
(at the instruction or behind it), the nanoseconds that the guest ran before, and what the exit was for.

Without a choice a trace begins with the first instruction of the guest kernel; --ring 3 shows the \
program alone. Tracing takes a guest's time: with --hz use --deterministic. docs/lab.md has more.

Exit codes: 0 well, also at the limit and when nobody reads on; 1 the guest failed, hung until --timeout or \
triple-faulted; 2 usage or environment error.

Examples:
  evlab trace noop --ring 3                              the first 1000 instructions of a program
  evlab trace sieve --roi --limit 40                     how its region of interest begins
  evlab trace syscall --roi --events insn,exception      into the kernel and back
  evlab trace pagefault --around-fault=8 --exception pf  page faults: what leads to them, and then
  evlab trace tlb --roi -e emu-interp --events walk      which accesses miss the TLB
  evlab trace sieve --address 0x400000..0x401000 --json  a range of code, for other programs
  evlab trace port_io --engine kvm --roi                 exits on KVM, and what each took
  evlab trace ./my-program.elf --ring 3 | head           a program of your own";
