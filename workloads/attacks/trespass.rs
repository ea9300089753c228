//! Ring 3 reaches for the kernel: reads it, writes it, or jumps into it. Whoever gets through says so and ends with code 99.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use core::arch::asm;

use common::escaped;
use rt::param::{Param, Scale};
use rt::syscall::getpid;

/// The page of the kernel's interrupt vectors, and that of its page tables.
const VECTORS: usize = 0xffff_ffff_8010_1000;
/// The same code in the kernel's map of all RAM.
const DIRECT: usize = 0xffff_8000_0010_1000;

const WAY: Param = Param {
    name: "way",
    doc: "0 read, 1 write, 2 jump",
    unit: "",
    default: 0,
    quick: 0,
    min: 0,
    max: 2,
    scale: Scale::Fixed,
};

rt::program!(main, [WAY]);

fn main([way]: [u64; 1]) {
    let target = if getpid().is_multiple_of(2) { DIRECT } else { VECTORS };
    // SAFETY: none of it is allowed, which is the point: the processor must refuse each.
    unsafe {
        match way {
            0 => {
                let word = (target as *const u64).read_volatile();
                escaped(format_args!("read {word:#x} at {target:#x}"));
            }
            1 => {
                (target as *mut u64).write_volatile(0xcccc_cccc_cccc_cccc);
                escaped(format_args!("wrote {target:#x}"));
            }
            _ => asm!("jmp {}", in(reg) target, options(noreturn)),
        }
    }
}
