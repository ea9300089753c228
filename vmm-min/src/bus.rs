//! The port bus: which device answers which port.

use crate::devices::{exit, marker, scratch, serial};

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

/// All devices behind ports.
#[derive(Debug)]
pub(crate) struct PortBus {
    console: serial::Console,
}

impl PortBus {
    pub(crate) fn new() -> Self {
        Self { console: serial::Console::new() }
    }

    /// Writes one byte. Wider accesses arrive as bytes at consecutive ports, as an 8-bit ISA device sees them.
    #[inline]
    pub(crate) fn write(&mut self, port: u16, value: u8) -> Effect {
        match port {
            scratch::PORT => Effect::None,
            marker::PORT => Effect::Marker(value),
            exit::PORT => Effect::Exit(value),
            serial::PORT..=serial::LAST_PORT => self.console.write(port, value).map_or(Effect::None, Effect::Console),
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
    use super::*;

    #[test]
    fn each_port_has_its_device() {
        let mut bus = PortBus::new();
        assert_eq!(bus.write(0x80, 7), Effect::None);
        assert_eq!(bus.write(0xe9, b'B'), Effect::Marker(b'B'));
        assert_eq!(bus.write(0xf4, 7), Effect::Exit(7));
        assert_eq!(bus.write(0x3f8, b'c'), Effect::Console(b'c'));
        assert_eq!(bus.write(0x1234, 1), Effect::None);
        assert_eq!(bus.console_output(), b"c");
        assert_eq!(bus.read(0x1234), 0xff);
        assert_eq!(bus.read(0x80), 0xff);
        assert_eq!(bus.read(0xe9), 0xe9);
        assert_eq!(bus.read(0x3ff), 0);
    }
}
