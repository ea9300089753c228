//! The runtime of the guest programs: what `std` would do, as far as they need it.
//!
//! A program is a static executable that speaks a subset of the Linux x86-64 system-call interface, so the same bytes
//! run as a Linux process and in ring 3 of the guest kernel. It is one file: [`program!`] names its `main` and its
//! parameters; `main` prepares its data, hands its work to [`laps`] (or [`roi`], if it can be done only once) and ends in
//! [`finish`].
//!
//! `no_builtins`: without it the compiler turns the loop inside `memcpy` into a call of `memcpy`.
#![no_std]
#![no_builtins]

mod checksum;
mod console;
mod mem;
mod memory;
#[path = "../../src/param.rs"]
pub mod param;
mod random;
mod roi;
#[path = "../../src/sizes.rs"]
pub mod sizes;
mod start;
pub mod syscall;

pub use checksum::Checksum;
pub use console::{Line, fail};
pub use memory::{Mapping, PAGE_BYTES, Zeroable, map, map_at};
pub use random::Random;
pub use roi::{Timed, finish, laps, roi};
pub use start::start;

/// Exit code of a program that was called wrongly or started where it cannot run.
pub const EXIT_USAGE: u8 = 2;
/// Exit code of a program that found a wrong result.
pub const EXIT_WRONG: u8 = 1;
/// Exit code of a panic, as in `std`.
pub const EXIT_PANIC: u8 = 101;

/// Makes `main` the entry of the program: `program!(main, PARAMS)`, where `PARAMS` is its table of [`sizes`] and `main`
/// takes one number for each parameter. A program that does its work with [`laps`] says so: `program!(main, PARAMS, laps)`.
#[macro_export]
macro_rules! program {
    ($main:path, $params:expr) => {
        $crate::program!(@entry $main, $params, false);
    };
    ($main:path, $params:expr, laps) => {
        $crate::program!(@entry $main, $params, true);
    };
    (@entry $main:path, $params:expr, $laps:expr) => {
        // At entry RSP points at argc; the ABI wants RSP aligned before a call and RBP 0 in the outermost frame.
        ::core::arch::global_asm!(
            ".globl _start",
            ".type _start, @function",
            "_start:",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "and rsp, -16",
            "call {entry}",
            "ud2",
            ".size _start, . - _start",
            entry = sym entry,
        );

        unsafe extern "C" fn entry(stack: *const usize) -> ! {
            // SAFETY: `_start` passes the stack pointer that the kernel set up.
            unsafe { $crate::start(stack, ::core::module_path!(), &$params, $laps, $main) }
        }
    };
}
