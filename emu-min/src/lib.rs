//! An x86-64 processor in software.
//!
//! It knows nothing of machines, devices or files: [`Cpu::run`] executes guest instructions until something outside the
//! processor must act, and returns why as an [`Exit`], as `KVM_RUN` does.
//!
//! Rules that the code obeys:
//! - Semantics are written once. An instruction is decoded into an internal operation; the [`Mechanisms`] decide only
//!   how often that happens and what is cached.
//! - Exceptions are precise: at a fault all registers are those before the instruction.
//! - No guest can make the host panic, reach host memory outside [`GuestRam`], or keep [`StopHandle::stop`] from working.
//! - CPUID advertises what is implemented. Anything else raises #UD and is counted by mnemonic in [`Counters`].
//! - SIMD instructions are executed by the host's own, so that results are the silicon's. Those beyond SSE2 are copied, with
//!   other registers, into memory that is executable and never writable at the same address; where a host refuses that
//!   memory, CPUID does not advertise them.
//!
//! What is left out: real and virtual-8086 mode, 32-bit paging (PAE tables serve long mode only), task switches, call
//! gates, 16-bit interrupt gates, performance counters, branch records, and data breakpoints on what the processor itself
//! stores while it delivers an event. Of what caches translations only the TLB is modelled, so that the processor sees
//! some changes of page tables sooner than it must.

mod alu;
mod atomic;
mod avx_gather;
mod avx_mask;
mod avx_mov;
mod avx_zero;
mod bcd;
mod bits;
mod block;
mod bmi;
mod clock;
mod code;
mod control;
mod control_register;
mod core;
mod counters;
mod cpu;
mod cpuid;
mod crc32;
mod dbt;
mod debug;
mod debugger;
mod decode;
mod delivery;
mod descriptor;
mod ea;
mod exception;
mod exit;
mod far;
mod fast;
mod features;
mod flags;
mod fpu;
mod host_code;
mod int;
mod invalidate;
mod io;
mod link;
mod mechanisms;
mod mem;
mod mmio;
mod mmx;
mod mmx_ssse3;
mod model;
mod mov;
mod msr;
mod muldiv;
mod observe;
mod op;
mod paging;
mod planted;
mod ram;
mod rights;
mod rings;
mod run;
mod segment;
mod shadow;
mod shift;
mod simd;
mod simd_run;
mod simd_stub;
mod sse;
mod sse_convert;
mod sse_dot;
mod sse_half;
mod sse_mov;
mod sse_ops;
mod sse_range;
mod sse_scalar;
mod sse_shuffle;
mod sse_steps;
mod stack;
mod state;
mod string;
mod string_bulk;
mod syscall;
mod system;
mod tlb;
mod tlb_level;
mod tlb_probe;
mod x87;
mod xsave;

pub use clock::Clock;
pub use counters::{Counters, EXCEPTION_NAMES, Flushes, Translation};
pub use cpu::{Config, Cpu, StopHandle, Strategy};
pub use debugger::{DebugStop, Trigger, Watchpoint};
pub use delivery::{Delivery, Event, EventSource};
pub use exit::Exit;
pub use host_code::available as host_code_available;
pub use mechanisms::{Decode, FlagEvaluation, MechanismError, Mechanisms, Mmu};
pub use model::{Model, ModelError};
pub use observe::{MemoryView, Observer, Sight};
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use planted::Planted;
pub use ram::GuestRam;
pub use rings::{Ring, Rings};
pub use state::{Fpu, Gpr, Msrs, Segment, State, Table};
pub use tlb_probe::{TlbAccess, TlbEntry, TlbRights};
