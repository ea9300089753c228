//! Lines of text, each written by one system call.

use core::fmt::{self, Write};

use crate::syscall;

const LINE_BYTES: usize = 256;

/// A line under construction. What does not fit is dropped; the last byte is kept for the newline.
pub struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self { bytes: [0; LINE_BYTES], len: 0 }
    }

    /// Writes it to a file descriptor with one `write`; an error is ignored, as there is nobody to tell.
    pub fn write_to(&self, descriptor: u32) {
        syscall::write(descriptor, &self.bytes[..self.len]);
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte != b'\n' && self.len < LINE_BYTES - 1 || byte == b'\n' && self.len < LINE_BYTES {
                self.bytes[self.len] = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

/// Bytes of unknown encoding for a message: printable ASCII as it is, anything else as `?`.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A word of a hostile command line must not push the advice out of the line.
        for &byte in self.0.iter().take(40) {
            f.write_char(if byte.is_ascii_graphic() || byte == b' ' { byte as char } else { '?' })?;
        }
        if self.0.len() > 40 { f.write_str("...") } else { Ok(()) }
    }
}

/// Writes one line to descriptor 2 and ends the program.
#[cold]
pub fn fail(code: u8, message: fmt::Arguments) -> ! {
    let mut line = Line::new();
    // A line never fails.
    let _ = writeln!(line, "{message}");
    line.write_to(syscall::STDERR);
    syscall::exit(code)
}
