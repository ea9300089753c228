//! Ring 3 executes what only ring 0 may: one instruction in each process.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::arch::asm;

use common::escaped;
use rt::param::{Param, Scale};
use rt::syscall::getpid;

const FIRST: Param = Param {
    name: "first",
    doc: "the instruction of process 1",
    unit: "",
    default: 0,
    quick: 0,
    min: 0,
    max: 16,
    scale: Scale::Fixed,
};

rt::program!(main, [FIRST]);

fn main([first]: [u64; 1]) {
    // Processes are counted from 1.
    let number = first + u64::from(getpid()) % 8;
    let table: [u8; 10] = [0; 10];
    let table = &raw const table;
    // SAFETY: none of it is allowed, which is the point: the processor must refuse each.
    unsafe {
        match number {
            0 => asm!("hlt"),
            1 => asm!("cli"),
            2 => asm!("mov rax, cr0", "and eax, 0x7ffeffff", "mov cr0, rax", out("rax") _),
            3 => asm!("xor eax, eax", "mov cr3, rax", out("rax") _),
            4 => asm!("wrmsr", in("ecx") 0xc000_0082_u32, in("eax") 0, in("edx") 0),
            5 => asm!("lgdt [{}]", in(reg) table),
            6 => asm!("lidt [{}]", in(reg) table),
            7 => asm!("invlpg [{}]", in(reg) table),
            8 => asm!("swapgs"),
            9 => asm!("sysretq", in("rcx") 0x400000, in("r11") 0x3002),
            // Back to the next instruction, but in ring 0 and with interrupts off.
            10 => asm!(
                "mov rcx, rsp",
                "push 0x18",
                "push rcx",
                "push 2",
                "push 0x10",
                "lea rdx, [rip + 2f]",
                "push rdx",
                "iretq",
                "2:",
                out("rcx") _,
                out("rdx") _,
            ),
            11 => asm!("xor eax, eax", "mov dr7, rax", out("rax") _),
            12 => asm!("ltr ax", in("eax") 0x40),
            13 => asm!("clts"),
            14 => asm!("rdmsr", in("ecx") 0xc000_0080_u32, out("eax") _, out("edx") _),
            15 => asm!("wbinvd"),
            _ => asm!("lldt ax", in("eax") 0),
        }
    }
    escaped(format_args!("privileged instruction {number} was executed"));
}
