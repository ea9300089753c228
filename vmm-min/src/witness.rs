//! Who looks into a machine while it runs: at each exit, when the guest stands still.
//!
//! A [`Witness`] is a type, not a `dyn`, so that the loop of a machine without one has nothing of this in it.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::bus::Device;
use crate::cpu::{CpuError, Exit, Registers, VirtualCpu};
use crate::memory::GuestRam;
use crate::outcome::End;

/// Looks into a machine at each of its exits.
pub trait Witness {
    /// Whether it looks at all.
    const WATCHES: bool = true;

    /// The guest's first instruction is next.
    fn ready(&mut self, _scene: &mut Scene<'_>) {}

    /// The machine has served an exit; the guest goes on after this, unless the answer is to stop the machine, whose end is
    /// then [`End::Stopped`].
    fn exit(&mut self, exit: &SeenExit, scene: &mut Scene<'_>) -> ControlFlow<()>;

    /// The machine has come to its end.
    fn ended(&mut self, _end: &End, _scene: &mut Scene<'_>) {}
}

/// Sees nothing.
impl Witness for () {
    const WATCHES: bool = false;

    fn exit(&mut self, _exit: &SeenExit, _scene: &mut Scene<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A machine that stands still.
pub struct Scene<'a> {
    pub(crate) cpu: &'a mut dyn VirtualCpu,
    pub(crate) ram: &'a GuestRam,
}

impl Scene<'_> {
    /// The registers now. After port I/O on KVM, RIP may still be at the instruction, which KVM completes when it runs on.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    pub fn registers(&mut self) -> Result<Registers, CpuError> {
        self.cpu.registers()
    }

    /// The guest's RAM.
    pub const fn ram(&self) -> &GuestRam {
        self.ram
    }

    /// From now on each step of the processor is an exit, [`Why::Interrupted`] unless the machine is needed; or no longer so.
    /// A step is an instruction, or the delivery of an event: see [`emu_min::Cpu::single_step`].
    ///
    /// # Errors
    /// [`CpuError::Unsupported`] unless the CPU is emu-min's in a machine of [`GuestSpec::stepped`](crate::GuestSpec::stepped).
    pub fn set_stepping(&mut self, on: bool) -> Result<(), CpuError> {
        self.cpu.set_stepping(on)
    }

    /// The processor, if it is emu-min's.
    pub fn emulated(&self) -> Option<&emu_min::Cpu> {
        self.cpu.emulated()
    }
}

/// An exit that has been served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenExit {
    /// When the virtual CPU returned.
    pub at: Instant,
    /// Why.
    pub why: Why,
}

/// Why a virtual CPU returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Port I/O: one or more accesses of `size` bytes each.
    Port {
        /// The port.
        port: u16,
        /// The guest wrote; else it read.
        out: bool,
        /// Bytes of one access: 1, 2 or 4.
        size: usize,
        /// The bytes of all accesses, in order: what was written, or what the machine answered.
        data: Vec<u8>,
    },
    /// An access to physical memory outside RAM.
    Memory {
        /// Guest-physical address.
        gpa: u64,
        /// The guest wrote; else it read.
        write: bool,
        /// What was written, or what the machine answered.
        data: Vec<u8>,
    },
    /// The guest waits for an interrupt.
    Halt,
    /// A fault while delivering a double fault.
    Shutdown,
    /// The guest can take an interrupt now.
    IrqWindow,
    /// Somebody kicked the CPU, or it is stepped and has done a step.
    Interrupted,
    /// The instruction budget is used up.
    BudgetExhausted,
}

impl Why {
    /// What is known before the exit is served: of an access that reads, not yet the data.
    pub(crate) fn of(exit: &Exit<'_>) -> Self {
        match exit {
            Exit::IoOut { port, size, data } => Self::Port { port: *port, out: true, size: *size, data: data.to_vec() },
            Exit::IoIn { port, size, .. } => Self::Port { port: *port, out: false, size: *size, data: Vec::new() },
            Exit::MmioRead { gpa, .. } => Self::Memory { gpa: *gpa, write: false, data: Vec::new() },
            Exit::MmioWrite { gpa, data } => Self::Memory { gpa: *gpa, write: true, data: data.to_vec() },
            Exit::Hlt => Self::Halt,
            Exit::Shutdown => Self::Shutdown,
            Exit::IrqWindow => Self::IrqWindow,
            // What a debugger asked for is between it and the CPU.
            Exit::Interrupted | Exit::Debug(_) => Self::Interrupted,
            Exit::BudgetExhausted => Self::BudgetExhausted,
        }
    }

    /// Adds what the machine answered to a read.
    pub(crate) fn answered(&mut self, answer: &[u8]) {
        if let Self::Port { data, .. } | Self::Memory { data, .. } = self {
            data.extend_from_slice(answer);
        }
    }

    /// The device behind the port, as counters name it: `console`, `marker`, ...; `None` of what is no port I/O.
    pub const fn device(&self) -> Option<&'static str> {
        match self {
            Self::Port { port, .. } => Some(Device::at(*port).name()),
            _ => None,
        }
    }
}
