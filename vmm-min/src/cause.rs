//! Why the guest left its CPU, as finely as exits are told apart: by reason, and port I/O by device and direction too.

use crate::bus::Device;
use crate::cpu::Exit;

/// The reasons that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Io,
    Mmio,
    Hlt,
    Shutdown,
    IrqWindow,
    Intr,
    Error,
}

impl Reason {
    pub(crate) const ALL: [Self; 7] =
        [Self::Io, Self::Mmio, Self::Hlt, Self::Shutdown, Self::IrqWindow, Self::Intr, Self::Error];

    /// Its name, after `exit.`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Mmio => "mmio",
            Self::Hlt => "hlt",
            Self::Shutdown => "shutdown",
            Self::IrqWindow => "irq_window",
            Self::Intr => "intr",
            Self::Error => "error",
        }
    }
}

/// The way of a port access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Out,
    In,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Out, Self::In];

    /// Its name, after `exit.io.`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// Why one exit happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    /// Of port I/O, whose port and which way. An access that spans devices belongs to the first.
    pub(crate) port: Option<(Device, Direction)>,
}

impl Cause {
    /// The virtual CPU could not go on.
    pub(crate) const ERROR: Self = Self::plain(Reason::Error);

    const fn plain(reason: Reason) -> Self {
        Self { reason, port: None }
    }

    #[inline]
    pub(crate) const fn of(exit: &Exit<'_>) -> Self {
        Self::plain(match exit {
            Exit::IoOut { port, .. } => return Self::io(*port, Direction::Out),
            Exit::IoIn { port, .. } => return Self::io(*port, Direction::In),
            Exit::MmioRead { .. } | Exit::MmioWrite { .. } => Reason::Mmio,
            Exit::Hlt => Reason::Hlt,
            Exit::Shutdown => Reason::Shutdown,
            Exit::IrqWindow => Reason::IrqWindow,
            Exit::Interrupted | Exit::BudgetExhausted | Exit::Debug(_) => Reason::Intr,
        })
    }

    const fn io(port: u16, direction: Direction) -> Self {
        Self { reason: Reason::Io, port: Some((Device::at(port), direction)) }
    }
}
