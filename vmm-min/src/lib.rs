//! A minimal machine for one guest: memory map, PVH boot, three ports, a timer with
//! interrupts, exit accounting, and any virtual CPU.
//!
//! The machine is that of the guest contract (`docs/guest-contract.md`), the same for every kind of CPU: KVM's vCPU and
//! an emulated one run the same loop, the same devices and the same accounting.
//!
//! ```no_run
//! use std::time::Duration;
//! use vmm_min::{CpuKind, GuestSpec, Limits, Machine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = GuestSpec::new(std::fs::read("kernel.elf")?)
//!     .with_module(std::fs::read("program.elf")?)
//!     .with_cmdline("-- program 10");
//! let machine = Machine::new(&spec, CpuKind::Kvm)?;
//! let outcome = machine.run(Limits { wall: Duration::from_secs(10), instructions: None }, &mut ())?;
//! println!("{}: {} exits", outcome.end, outcome.counter("total.exit.total").unwrap_or(0));
//! # Ok(())
//! # }
//! ```

mod accounting;
mod boot;
mod bus;
mod cause;
mod clock;
mod counters;
mod cpu;
mod debug;
mod devices;
mod dump;
mod elf;
#[cfg(test)]
#[path = "../tests/support/elf_image.rs"]
mod elf_image;
mod fence;
mod guest_time;
mod interrupts;
mod latency;
mod machine;
mod memory;
mod outcome;
pub mod probe;
mod program;
pub mod quadrants;
mod spec;
mod stop;
mod ticker;
mod walk;
mod witness;

pub use boot::{BOOT_INFO, BootError, BootState};
pub use clock::host_tsc_khz;
pub use counters::{Counter, Nature, Source};
pub use cpu::kvm::kvm_tsc_khz;
pub use cpu::kvm_state::{BareKvm, FullState, Halt, SegmentState, XSAVE_BYTES};
pub use cpu::{CpuError, CpuKind, Exit, Kick, MockCpu, Registers, Segment, Step, VirtualCpu};
pub use debug::{DebugCpu, DebugStop, Debuggee, FloatRegisters, InsertError, Patch, Start, Stop, Trigger, Watchpoint};
pub use devices::marker::Marker;
pub use devices::serial::CONSOLE_LIMIT;
pub use dump::Dump;
pub use elf::ElfError;
pub use emu_min::Model as CpuModel;
pub use fence::FenceReport;
pub use interrupts::TickerError;
pub use latency::{Bucket, LatencyHistogram};
pub use machine::{Limits, Machine, MachineError, Observer, RunError};
pub use memory::{GuestRam, MemoryError};
pub use outcome::{End, Outcome, Roi};
pub use program::{PROGRAM_HIGH, PROGRAM_LOW, ProgramError, ProgramInfo, check_program};
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use spec::Bug;
#[cfg(any(debug_assertions, feature = "planted"))]
#[doc(hidden)]
pub use spec::Regression;
pub use spec::{
    DEFAULT_RAM_MIB, GuestSpec, MAX_MODULE_OFFSET_PAGES, MAX_MODULES, MAX_RAM_MIB, Module, SpecError, TscKhz,
};
pub use stop::StopHandle;
pub use walk::{Page, PageTableEntry, Walk, WalkError, WalkStep, translate, walk};
pub use witness::{Scene, SeenExit, Why, Witness};
