//! The machine's ports: marker channel, exit; and the end of everything.

use core::arch::asm;

use crate::console;

const MARKER: u16 = 0xe9;
const EXIT: u16 = 0xf4;

/// Write one byte to a port.
pub fn out(port: u16, byte: u8) {
    // SAFETY: the ports written here (console, marker, exit) change nothing that Rust knows of.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack, preserves_flags)) }
}

/// Write one byte on the marker channel.
pub fn marker(byte: u8) {
    out(MARKER, byte);
}

/// End the machine: the code goes to the marker channel, then to the exit port unless `hold`.
pub fn exit(code: u8, hold: bool) -> ! {
    marker(b'X');
    marker(console::hex_digit(code >> 4));
    marker(console::hex_digit(code & 15));
    if !hold {
        out(EXIT, code);
    }
    loop {
        // SAFETY: nothing is left to do; HLT with interrupts off waits for ever.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// End the machine because the kernel cannot go on.
pub fn panic(why: &str) -> ! {
    console::text("kernel panic: ");
    console::text(why);
    console::text("\n");
    exit(255, crate::process::hold())
}
