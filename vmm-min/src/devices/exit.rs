//! The exit port: a byte `v` ends the machine with exit code `v` (QEMU: `isa-debug-exit`).

/// First port of the device.
pub(crate) const PORT: u16 = 0xf4;
