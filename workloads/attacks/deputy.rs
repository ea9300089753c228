//! Ring 3 asks the kernel to do what it may not do itself: system calls with the kernel's addresses, and with ranges
//! that wrap around.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::arch::asm;

use common::escaped;

rt::program!(main, []);

const KERNEL: usize = 0xffff_ffff_8010_1000;
const DIRECT: usize = 0xffff_8000_0010_1000;
const HOLE: usize = 0x0000_8000_0000_0000;
const PAGE: usize = 4096;

/// Number and arguments of calls that must fail.
const CALLS: [(usize, [usize; 6]); 16] = [
    (1, [1, KERNEL, 64, 0, 0, 0]),                   // write the kernel's code to the console
    (1, [1, DIRECT, 64, 0, 0, 0]),                   //
    (1, [3, KERNEL, 1, 0, 0, 0]),                    // ... as a marker
    (1, [1, HOLE - 8, 16, 0, 0, 0]),                 // over the end of the lower half
    (1, [1, 0x40_0000, usize::MAX, 0, 0, 0]),        // a length that wraps
    (20, [1, KERNEL, 1, 0, 0, 0]),                   // writev with vectors in the kernel
    (228, [1, KERNEL, 0, 0, 0, 0]),                  // clock_gettime into the kernel
    (228, [1, DIRECT, 0, 0, 0, 0]),                  //
    (9, [KERNEL - 1, PAGE, 3, 0x32, usize::MAX, 0]), // mmap, fixed, over the kernel
    (9, [KERNEL, PAGE, 7, 0x32, usize::MAX, 0]),     //
    (9, [HOLE, PAGE, 7, 0x32, usize::MAX, 0]),       //
    (9, [0, usize::MAX - PAGE, 3, 0x22, usize::MAX, 0]),
    (10, [KERNEL, PAGE, 7, 0, 0, 0]),    // mprotect of the kernel
    (11, [KERNEL, PAGE, 0, 0, 0, 0]),    // munmap of the kernel
    (158, [0x1003, KERNEL, 0, 0, 0, 0]), // arch_prctl(ARCH_GET_FS) into the kernel
    (158, [0x1002, HOLE, 0, 0, 0, 0]),   // an FS base that is not canonical
];

fn main([]: [u64; 0]) {
    for (number, arguments) in CALLS {
        let result = call(number, arguments);
        if !(-4095..0).contains(&result) {
            escaped(format_args!("system call {number} with {:#x} answers {result:#x}", arguments[1]));
        }
    }
    rt::finish(CALLS.len() as u64, 0);
}

fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: every call must be refused; if one is not, the program says so and ends.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], out("rcx") _, out("r11") _, options(nostack));
    }
    result
}
