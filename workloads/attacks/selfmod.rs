//! Code that changes itself across a page boundary: an instruction whose immediate lies on the next page, changed there
//! again and again, in place and through a second function that it has just run.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::arch::asm;

use common::escaped;
use rt::{Checksum, PAGE_BYTES};

rt::program!(main, []);

/// More than it takes until a translator thinks the code worth its while.
const ROUNDS: u32 = 2_000;

fn main([]: [u64; 0]) {
    let code = writable_code();
    // mov eax, imm32; ret - the opcode is the last byte of the first page.
    let at = code.wrapping_add(PAGE_BYTES - 1);
    let immediate = code.wrapping_add(PAGE_BYTES);
    // SAFETY: the mapping has two pages.
    unsafe {
        at.write_volatile(0xb8);
        immediate.add(4).write_volatile(0xc3);
    }
    let mut sum = Checksum::new();
    for round in 0..ROUNDS {
        let value = round.wrapping_mul(0x9e37_79b9);
        // SAFETY: the immediate lies in the second page; unaligned writes are allowed.
        unsafe { immediate.cast::<u32>().write_volatile(value) };
        let got: u32;
        // SAFETY: the bytes are a function that changes EAX alone. Volatile writes and a call through memory are what a
        // self-modifying program does; the processor must see them.
        unsafe { asm!("call {}", in(reg) at, out("eax") got, clobber_abi("sysv64")) };
        if got != value {
            escaped(format_args!("stale code ran: {got:#x} instead of {value:#x} in round {round}"));
        }
        sum.add(u64::from(got));
    }
    // A store into the instruction right behind it, across the boundary: mov byte [rip+0], 0x2a; mov al, 0 -> mov al, 0x2a.
    let patch: [u8; 10] = [0xc6, 0x05, 1, 0, 0, 0, 0x2a, 0xb0, 0, 0xc3];
    let start = code.wrapping_add(PAGE_BYTES - 8);
    for (i, byte) in patch.iter().enumerate() {
        // SAFETY: 10 bytes around the boundary, within the two pages.
        unsafe { start.add(i).write_volatile(*byte) };
    }
    let got: u8;
    // SAFETY: as above; the function changes AL and its own immediate.
    unsafe { asm!("call {}", in(reg) start, out("al") got, clobber_abi("sysv64")) };
    if got != 0x2a {
        escaped(format_args!("a store into the next instruction came too late: {got:#x}"));
    }
    sum.add(u64::from(got));
    rt::finish(sum.value(), 0);
}

/// Two pages that may be written and executed.
fn writable_code() -> *mut u8 {
    let result: isize;
    // SAFETY: mmap of new anonymous memory (protection 7, private and anonymous) touches nothing else.
    unsafe {
        asm!("syscall", inlateout("rax") 9_isize => result, in("rdi") 0, in("rsi") 2 * PAGE_BYTES, in("rdx") 7,
             in("r10") 0x22, in("r8") -1_isize, in("r9") 0, out("rcx") _, out("r11") _, options(nostack));
    }
    if result < 0 {
        rt::fail(rt::EXIT_USAGE, format_args!("selfmod: no memory that may be written and executed ({result})"));
    }
    result as *mut u8
}
