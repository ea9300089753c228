//! The port bus: which device answers which port.

use crate::devices::{exit, marker, pit, scratch, serial};
use crate::interrupts::Interrupts;

/// What a port write means to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that concerns the machine.
    None,
    /// A byte went out on the console.
    Console(u8),
    /// A byte arrived on the marker channel.
    Marker(u8),
    /// The machine ends with this exit code.
    Exit(u8),
}

/// Who answers a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Scratch,
    Console,
    Marker,
    Exit,
    Pit,
    Pic,
    Nobody,
}

impl Device {
    pub(crate) const ALL: [Self; 7] =
        [Self::Scratch, Self::Console, Self::Marker, Self::Exit, Self::Pit, Self::Pic, Self::Nobody];

    /// Its name, after `exit.io.`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Console => "console",
            Self::Marker => "marker",
            Self::Exit => "exit",
            Self::Pit => "pit",
            Self::Pic => "pic",
            Self::Nobody => "nobody",
        }
    }

    /// The device behind a port.
    #[inline]
    pub(crate) const fn at(port: u16) -> Self {
        match port {
            scratch::PORT => Self::Scratch,
            marker::PORT => Self::Marker,
            exit::PORT => Self::Exit,
            serial::PORT..=serial::LAST_PORT => Self::Console,
            pit::PORT..=pit::LAST_PORT => Self::Pit,
            port if Interrupts::has_port(port) => Self::Pic,
            _ => Self::Nobody,
        }
    }
}

/// All devices behind ports.
#[derive(Debug)]
pub(crate) struct PortBus {
    console: serial::Console,
    /// Timer and interrupt controllers.
    pub(crate) interrupts: Interrupts,
}

impl PortBus {
    pub(crate) fn new(interrupts: Interrupts) -> Self {
        Self { console: serial::Console::new(), interrupts }
    }

    /// Writes one byte. Wider accesses arrive as bytes at consecutive ports, as an 8-bit ISA device sees them.
    #[inline]
    pub(crate) fn write(&mut self, port: u16, value: u8) -> Effect {
        match port {
            scratch::PORT => Effect::None,
            marker::PORT => Effect::Marker(value),
            exit::PORT => Effect::Exit(value),
            serial::PORT..=serial::LAST_PORT => self.console.write(port, value).map_or(Effect::None, Effect::Console),
            port if Interrupts::has_port(port) => {
                self.interrupts.write(port, value);
                Effect::None
            }
            _ => Effect::None,
        }
    }

    /// Reads one byte; a port that nothing answers reads as all ones.
    #[inline]
    pub(crate) fn read(&mut self, port: u16) -> u8 {
        match port {
            serial::PORT..=serial::LAST_PORT => self.console.read(port),
            // QEMU's debug console answers with its own port number, by which a guest can recognise it.
            marker::PORT => marker::PORT as u8,
            port if Interrupts::has_port(port) => self.interrupts.read(port),
            _ => 0xff,
        }
    }

    /// The console's output so far.
    pub(crate) fn console_output(&self) -> Vec<u8> {
        self.console.output()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cpu::{MockCpu, VirtualCpu};
    use crate::ticker::Bell;

    #[test]
    fn each_port_has_its_device() {
        let kick = MockCpu::new([]).kicker();
        let mut bus = PortBus::new(Interrupts::start(Arc::new(Bell::new(kick))).expect("the host has threads left"));
        let mut write = |port, value| bus.write(port, value);
        assert_eq!(write(0x80, 7), Effect::None);
        assert_eq!(write(0xe9, b'B'), Effect::Marker(b'B'));
        assert_eq!(write(0xf4, 7), Effect::Exit(7));
        assert_eq!(write(0x3f8, b'c'), Effect::Console(b'c'));
        assert_eq!(write(0x1234, 1), Effect::None);
        assert_eq!(write(0x21, 0xa5), Effect::None);
        assert_eq!(write(0xa1, 0x5a), Effect::None);
        assert_eq!(bus.console_output(), b"c");
        assert_eq!(bus.read(0x1234), 0xff);
        assert_eq!((bus.read(0x21), bus.read(0xa1)), (0xa5, 0x5a), "the masks of the controllers");
        assert_eq!(bus.read(0x40), 0, "a timer without a count");
        assert_eq!(bus.read(0x80), 0xff);
        assert_eq!(bus.read(0xe9), 0xe9);
        assert_eq!(bus.read(0x3ff), 0);
        let at = [0x80, 0xe9, 0xf4, 0x3f8, 0x43, 0xa1, 0x1234].map(|port| Device::at(port).name());
        assert_eq!(at, ["scratch", "marker", "exit", "console", "pit", "pic", "nobody"]);
    }
}
