//! COM1, the console: a 16550 whose output is kept in a bounded buffer.

use std::convert::Infallible;
use std::io::{self, Write};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// First port of the device.
pub(crate) const PORT: u16 = 0x3f8;
/// Last port of the device.
pub(crate) const LAST_PORT: u16 = 0x3ff;
/// Console output that is kept, bytes.
pub const CONSOLE_LIMIT: usize = 1 << 20;

/// The machine has no interrupt controller, so the UART's interrupt line leads nowhere.
#[derive(Debug)]
struct Unconnected;

impl Trigger for Unconnected {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Sink {
    kept: Vec<u8>,
    dropped: u64,
    fresh: Option<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let keep = bytes.len().min(CONSOLE_LIMIT - self.kept.len());
        self.kept.extend_from_slice(&bytes[..keep]);
        self.dropped += (bytes.len() - keep) as u64;
        self.fresh = bytes.last().copied();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The console of a machine.
#[derive(Debug)]
pub(crate) struct Console(Serial<Unconnected, NoEvents, Sink>);

impl Console {
    pub(crate) fn new() -> Self {
        Self(Serial::new(Unconnected, Sink::default()))
    }

    /// Writes a register; returns the byte that went out on the line, if one did.
    pub(crate) fn write(&mut self, port: u16, value: u8) -> Option<u8> {
        // The sink takes everything and nobody is interrupted, so a write cannot fail.
        let _ = self.0.write((port - PORT) as u8, value);
        self.0.writer_mut().fresh.take()
    }

    /// Reads a register.
    pub(crate) fn read(&mut self, port: u16) -> u8 {
        self.0.read((port - PORT) as u8)
    }

    /// All output so far, with a note where it was cut.
    pub(crate) fn output(&self) -> Vec<u8> {
        let sink = self.0.writer();
        let mut bytes = sink.kept.clone();
        if sink.dropped > 0 {
            let note = format!("\n[console truncated: {} more bytes]\n", sink.dropped);
            bytes.extend_from_slice(note.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_bounded_amount() {
        let mut console = Console::new();
        for _ in 0..CONSOLE_LIMIT + 3 {
            assert_eq!(console.write(PORT, b'x'), Some(b'x'));
        }
        let output = console.output();
        assert!(output.ends_with(b"xx\n[console truncated: 3 more bytes]\n"));
        assert!(output.len() < CONSOLE_LIMIT + 100);
    }

    #[test]
    fn only_the_transmit_register_prints() {
        let mut console = Console::new();
        for port in PORT + 1..=LAST_PORT {
            assert_eq!(console.write(port, 0x80), None, "port {port:#x}");
        }
        // The divisor latch is open now, so the transmit register is not there.
        assert_eq!(console.write(PORT, b'x'), None);
        assert_eq!(console.output(), b"");
        assert_eq!(console.read(PORT + 5) & 0x20, 0x20, "the transmitter is always empty");
    }
}
