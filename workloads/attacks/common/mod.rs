//! What the ring-3 attacks share.

use core::fmt::{Arguments, Write};

use rt::Line;
use rt::syscall::{self, getpid};

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

/// Which of its variants this process is to try: the guest kernel counts processes from 1.
#[allow(dead_code, reason = "not every attack has variants")]
pub fn variant() -> u64 {
    u64::from(getpid())
}
