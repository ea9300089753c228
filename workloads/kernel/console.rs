//! Text on COM1.

use core::arch::asm;

const COM1: u16 = 0x3f8;

/// Write bytes as they are.
///
/// # Safety
/// `[at, at + len)` is readable.
pub unsafe fn bytes(at: *const u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller's promise; the loop reads `len` bytes and writes a port. It is written out because `rep outsb`
    // is no faster where ring 0 is emulated.
    unsafe {
        asm!("2: mov al, [rsi]", "out dx, al", "inc rsi", "dec rcx", "jnz 2b",
             inout("rsi") at => _, inout("rcx") len => _, in("dx") COM1, out("al") _, options(nostack));
    }
}

/// Write a string.
pub fn text(s: &str) {
    // SAFETY: a string is readable.
    unsafe { bytes(s.as_ptr(), s.len()) }
}

/// One lower-case hexadecimal digit of a value below 16.
pub const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Write `0x` and the value in hexadecimal, without leading zeros.
pub fn hex(value: u64) {
    text("0x");
    let digits = (67 - (value | 1).leading_zeros()) / 4;
    let mut shift = digits * 4;
    while shift > 0 {
        shift -= 4;
        crate::machine::out(COM1, hex_digit((value >> shift) as u8 & 15));
    }
}

/// Write the value in decimal.
pub fn decimal(value: u64) {
    if value >= 10 {
        decimal(value / 10);
    }
    crate::machine::out(COM1, b'0' + (value % 10) as u8);
}
