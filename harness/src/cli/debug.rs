//! `evlab debug`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::MachineArgs;

/// `evlab debug`
#[derive(Debug, Args)]
#[command(
    after_help = DEBUG_HELP,
    mut_arg("timeout", |arg| {
        arg.default_value("86400").hide_default_value(true).help("End the session after this many seconds [default: a day]")
    }),
    mut_arg("prefault", |arg| arg.hide(true)),
)]
pub struct DebugArgs {
    /// A workload of the catalogue (see evlab list), or the path of a program
    #[arg(value_name = "WORKLOAD|ELF")]
    pub workload: String,
    /// The engine to run it on: emu-naive, emu-interp, emu-dbt or kvm
    #[arg(long, short, value_name = "ENGINE", default_value = "emu-interp")]
    pub engine: String,
    /// Listen for gdb at this port of this host; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1234")]
    pub listen: String,
    /// Listen at a Unix socket instead, which must not exist
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub unix: Option<PathBuf>,
    /// Allow --listen an address that other hosts reach: whoever connects reads and writes the guest
    #[arg(long)]
    pub allow_remote: bool,
    /// Where the guest waits for gdb: before its first instruction in ring 3, or before the kernel's first
    #[arg(long, value_name = "ring3|boot", value_enum, default_value_t = DebugStart::Ring3, hide_possible_values = true)]
    pub from: DebugStart,
    /// Where the guest's console goes: to standard output, or into gdb
    #[arg(long, value_name = "stdout|gdb", value_enum, default_value_t = DebugConsole::Stdout, hide_possible_values = true)]
    pub console: DebugConsole,
    /// Write the ELF files that gdb reads symbols from to this folder [default: ~/.cache/evlab/images]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Arguments of the program, instead of its defaults
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    /// The guest machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Where a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DebugStart {
    /// Before the first instruction in ring 3.
    Ring3,
    /// Before the kernel's first instruction.
    Boot,
}

/// Where the guest's console goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DebugConsole {
    /// To standard output.
    Stdout,
    /// Into gdb.
    Gdb,
}

const DEBUG_HELP: &str = "\
evlab prints the gdb command that loads the symbols of program and kernel and connects. A session
of both processes of two_processes, which each store a value at the same address:

  $ evlab debug two_processes
  evlab debug: two_processes on emu-interp waits for gdb at 127.0.0.1:1234; in another terminal:
    gdb -q -ex 'file ...' -ex 'add-symbol-file ...' -ex 'target remote 127.0.0.1:1234'

  (gdb) rbreak syscall::frame             a function of the program, by a part of its name
  (gdb) continue                          ring 3, process 1
  (gdb) x/gx 0xabcd                       through the page tables in use: 4
  (gdb) continue
  (gdb) x/gx 0xabcd                       process 2: 5
  (gdb) break syscall_entry               the kernel's system-call handler
  (gdb) stepi                             one instruction; over syscall, into the kernel
  (gdb) watch *(char *)0xabcd             (emu-* and KVM with VT-x or AMD-V)
  (gdb) monitor walk 0xabcd               the page-table entries; monitor help lists more

While a breakpoint is set emu-* execute one instruction at a time, about as fast as emu-naive.
detach lets the guest run to its end, kill ends it. One gdb may connect; it needs no password, so
keep to this host's own addresses. docs/debug.md has more, and what KVM's PVM backend lacks.

Exit codes: 0 the guest ended well, or gdb killed it; 1 the guest failed; 2 usage or environment
error; 3 gdb went away without a word.";
