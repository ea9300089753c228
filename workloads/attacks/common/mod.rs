//! What the ring-3 attacks share.

use core::fmt::{Arguments, Write};

use rt::Line;
use rt::syscall;

/// Exit code of an attack that got through.
const ESCAPED: u8 = 99;

/// Says that the attack got through, and ends the process.
pub fn escaped(what: Arguments) -> ! {
    let mut line = Line::new();
    // A line never fails.
    let _ = writeln!(line, "escaped: {what}");
    line.write_to(syscall::STDOUT);
    syscall::exit(ESCAPED)
}
