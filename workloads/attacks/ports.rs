//! Ring 3 reaches for ports that nobody opened to it: one in each process.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::arch::asm;

use common::escaped;
use rt::syscall::{getpid, ioperm};

rt::program!(main, []);

fn main([]: [u64; 0]) {
    // Processes are counted from 1.
    let number = getpid() % 8;
    let mut byte = 0_u8;
    // SAFETY: none of it is allowed, which is the point: the processor must refuse each.
    unsafe {
        match number {
            // The exit port: whoever writes to it ends the machine with a code of its own.
            0 => asm!("out 0xf4, al", in("al") 0_u8),
            // The marker channel: a forged exit code.
            1 => asm!("out 0xe9, al", in("al") b'X'),
            // The console.
            2 => asm!("out dx, al", in("dx") 0x3f8_u16, in("al") b'!'),
            3 => asm!("in al, 0x60", out("al") byte),
            4 => asm!("outsb", in("rsi") &raw const byte, in("dx") 0x3f8_u16, lateout("rsi") _),
            5 => asm!("insb", in("rdi") &raw mut byte, in("dx") 0x3f8_u16, lateout("rdi") _),
            6 => {
                if ioperm(0xf4).is_ok() {
                    escaped(format_args!("ioperm opened the exit port"));
                }
                asm!("out 0xf4, al", in("al") 0_u8);
            }
            // The one port that a process may open, in a process that did not.
            _ => asm!("out 0x80, al", in("al") 0_u8),
        }
    }
    escaped(format_args!("port access {number} was executed, byte {byte}"));
}
