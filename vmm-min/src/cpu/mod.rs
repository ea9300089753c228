//! Virtual CPUs: whatever executes guest instructions until the machine must serve an exit.

mod mock;
mod registers;

pub(crate) mod emu;
mod emu_debug;
pub(crate) mod kvm;
mod kvm_debug;
mod kvm_debug_cpu;
mod kvm_kick;
pub(crate) mod kvm_state;
mod kvm_stats;
mod kvm_xsave;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use emu_min::{DebugStop, Rings};

pub use mock::{MockCpu, Step};
pub use registers::{Registers, Segment};

use crate::boot::BootState;
use crate::counters::Counter;
use crate::debug::DebugCpu;

/// A kind of virtual CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CpuKind {
    /// The host's processor, through /dev/kvm.
    Kvm,
    /// emu-min, decoding every instruction every time.
    EmuNaive,
    /// emu-min with decoded blocks, a soft TLB and lazy flags.
    EmuInterp,
    /// emu-min with all that, and hot code translated to host code.
    EmuDbt,
}

impl CpuKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Kvm, Self::EmuDbt, Self::EmuInterp, Self::EmuNaive];
}

/// Why a virtual CPU returned to the machine.
#[derive(Debug)]
pub enum Exit<'a> {
    /// The guest writes to a port: one or more accesses of `size` bytes each (`rep outs`).
    IoOut {
        /// The port.
        port: u16,
        /// Bytes of one access: 1, 2 or 4.
        size: usize,
        /// The bytes of all accesses, in order.
        data: &'a [u8],
    },
    /// The guest reads from a port; the machine fills `data` before the next `run`.
    IoIn {
        /// The port.
        port: u16,
        /// Bytes of one access: 1, 2 or 4.
        size: usize,
        /// Room for all accesses, in order.
        data: &'a mut [u8],
    },
    /// The guest reads physical memory outside RAM; the machine fills `data` before the next `run`.
    MmioRead {
        /// Guest-physical address.
        gpa: u64,
        /// Room for the value.
        data: &'a mut [u8],
    },
    /// The guest writes physical memory outside RAM.
    MmioWrite {
        /// Guest-physical address.
        gpa: u64,
        /// The value.
        data: &'a [u8],
    },
    /// The guest waits for an interrupt.
    Hlt,
    /// A fault while delivering a double fault: the processor shuts down.
    Shutdown,
    /// The guest can take an interrupt now.
    IrqWindow,
    /// Somebody kicked the CPU, or the host had to interrupt it.
    Interrupted,
    /// The instruction budget is used up.
    BudgetExhausted,
    /// What a debugger asked for has happened.
    Debug(DebugStop),
}

/// Why a virtual CPU cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The host has no /dev/kvm.
    #[error(
        "this host has no /dev/kvm: load the kvm module, enable virtualization in the firmware, or use an emulator (--engine emu-interp)"
    )]
    NoKvm,
    /// /dev/kvm may not be opened.
    #[error(
        "no permission to open /dev/kvm: add yourself to the group that owns it (sudo usermod -aG kvm $USER, then log in again)"
    )]
    KvmPermission,
    /// A request to KVM failed.
    #[error("KVM refused {request}: {source}")]
    Kvm {
        /// What was asked.
        request: &'static str,
        /// The host's answer.
        source: std::io::Error,
    },
    /// KVM gave up on the guest (KVM_EXIT_INTERNAL_ERROR).
    #[error("KVM cannot run the guest any further: internal error {suberror} ({what}), data {data:x?}")]
    KvmInternal {
        /// KVM's suberror number.
        suberror: u32,
        /// Its name.
        what: &'static str,
        /// The words KVM gives with it.
        data: Vec<u64>,
    },
    /// The processor refused the guest's state (KVM_EXIT_FAIL_ENTRY).
    #[error("the processor refused to enter the guest: hardware reason {reason:#x}")]
    FailedEntry {
        /// The hardware's reason.
        reason: u64,
    },
    /// An exit that no machine of this kind expects.
    #[error("unexpected exit from the virtual CPU: {0}")]
    Unexpected(String),
    /// The virtual CPU has no such ability.
    #[error("{cpu} cannot {ability}")]
    Unsupported {
        /// The virtual CPU.
        cpu: &'static str,
        /// What it cannot do.
        ability: &'static str,
    },
}

/// Makes a running virtual CPU return [`Exit::Interrupted`] soon; usable from any thread.
pub trait Kick: Send + Sync + fmt::Debug {
    /// Kicks. A kick before `run` makes that `run` return at once; kicks do not add up.
    fn kick(&self);
}

/// Something that executes guest instructions.
///
/// Rules: `run` executes until an [`Exit`]; data that the machine filled in takes effect at the next `run`; after an
/// error the CPU is not run again, but its registers can still be read.
pub trait VirtualCpu: Send + fmt::Debug {
    /// Puts the CPU into the state in which PVH starts a guest.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn boot(&mut self, state: BootState) -> Result<(), CpuError>;

    /// Says that the calling thread is the one that will call `run`, so that a kick can find it.
    fn bind_to_thread(&mut self) {}

    /// Runs until the machine is needed.
    ///
    /// # Errors
    /// The guest did something that this CPU cannot do, or the host failed.
    fn run(&mut self) -> Result<Exit<'_>, CpuError>;

    /// Whether the guest can take an external interrupt now: the CPU is between two instructions, interrupts are enabled,
    /// and none has been handed over that was not delivered yet.
    fn is_interruptible(&mut self) -> bool;

    /// Hands over an external interrupt, which the guest takes before its next instruction. Only where
    /// [`Self::is_interruptible`] says so.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn interrupt(&mut self, vector: u8) -> Result<(), CpuError>;

    /// Makes `run` return [`Exit::IrqWindow`] once the guest can take an interrupt, or no longer do so.
    fn request_irq_window(&mut self, wanted: bool);

    /// The registers now.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    fn registers(&mut self) -> Result<Registers, CpuError>;

    /// The processor itself, if it is emu-min's: to look at what no other kind tells, such as its TLB.
    fn emulated(&self) -> Option<&emu_min::Cpu> {
        None
    }

    /// Takes in what the machine has filled in, where that is possible before the next `run`: registers are then those after
    /// the instruction.
    fn settle(&mut self) {}

    /// Makes each `run` do one thing alone, an instruction or the delivery of an event, and then return
    /// [`Exit::Interrupted`] unless the machine is needed; or no longer so.
    ///
    /// # Errors
    /// [`CpuError::Unsupported`] if this CPU cannot be stepped.
    fn set_stepping(&mut self, on: bool) -> Result<(), CpuError> {
        if on { Err(CpuError::Unsupported { cpu: "this virtual CPU", ability: "be stepped" }) } else { Ok(()) }
    }

    /// A handle that interrupts `run` from another thread.
    fn kicker(&self) -> Arc<dyn Kick>;

    /// Frequency of the guest's time-stamp counter, kHz, if known.
    fn tsc_khz(&self) -> Option<u32>;

    /// Guest instructions executed so far, if this CPU counts them.
    fn instructions(&self) -> Option<u64>;

    /// Where the CPU says, whenever `run` returns, how many instructions the guest has retired; `None` if it cannot keep the
    /// guest's own time.
    fn retired(&self) -> Option<Arc<AtomicU64>> {
        None
    }

    /// Lets the guest's own time go on as if it had retired so many instructions more.
    fn skip_time(&mut self, _instructions: u64) {}

    /// Makes `run` return [`Exit::BudgetExhausted`] after that many more instructions.
    ///
    /// # Errors
    /// [`CpuError::Unsupported`] if this CPU does not count instructions.
    fn set_budget(&mut self, instructions: u64) -> Result<(), CpuError>;

    /// Where instructions and time of an emulated CPU went by ring, until a reading of the time-stamp counter; `None` of
    /// one that does not know.
    fn rings(&self, _now: u64) -> Option<Rings> {
        None
    }

    /// So many ticks of the time-stamp counter since the last return of `run` were spent on other things than the guest.
    fn away(&mut self, _ticks: u64) {}

    /// The means of a debugger, where this CPU has them.
    fn debug(&mut self) -> Option<&mut dyn DebugCpu> {
        None
    }

    /// What this CPU has counted so far.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    fn counters(&mut self) -> Result<Vec<Counter>, CpuError>;
}
