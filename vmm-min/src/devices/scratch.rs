//! Port 0x80, the PC's diagnostic port: writes are accepted and ignored, so it is the port to measure an exit with.

/// The port.
pub(crate) const PORT: u16 = 0x80;
