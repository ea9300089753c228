//! Why [`crate::Cpu::run`] returned, in the style of `KVM_RUN`.

use crate::debugger::DebugStop;

/// What the machine around the CPU must serve before it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The guest wrote `size` bytes (1, 2 or 4) of `value` to a port; RIP is past the instruction (or, for `rep outs`
    /// with elements left, at it).
    IoOut {
        /// Port number.
        port: u16,
        /// Bytes: 1, 2 or 4.
        size: u8,
        /// The value written, zero-extended.
        value: u32,
    },
    /// The guest reads `size` bytes from a port: call [`crate::Cpu::complete_in`] before the next run.
    IoIn {
        /// Port number.
        port: u16,
        /// Bytes: 1, 2 or 4.
        size: u8,
    },
    /// The guest reads guest-physical memory outside RAM: call [`crate::Cpu::complete_mmio_read`] before the next run.
    MmioRead {
        /// Guest-physical address.
        gpa: u64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
    },
    /// The guest wrote guest-physical memory outside RAM.
    MmioWrite {
        /// Guest-physical address.
        gpa: u64,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// The value written, zero-extended.
        value: u64,
    },
    /// The guest executed `hlt`; running on continues after it.
    Halt,
    /// A fault during the delivery of a double fault: the state is that at the first fault of the three.
    TripleFault,
    /// [`crate::StopHandle::stop`] was called; the next run continues.
    Stopped,
    /// The instruction budget is used up.
    BudgetExhausted,
    /// The guest can take an interrupt now, as asked by [`crate::Cpu::request_irq_window`].
    IrqWindow,
    /// What a debugger asked for has happened ([`crate::Cpu::set_watchpoints`], [`crate::Cpu::set_stepping`]).
    Debug(DebugStop),
}
