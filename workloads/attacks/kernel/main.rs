//! The hostile kernel: it boots through PVH and does one thing that no kernel should, to see whether the engine holds.
//! The last letter of its command line says which. It is assembly throughout, for nothing of it is what Rust means by
//! memory or control flow.
//!
//! It ends as the guest contract has it: `X` and two hexadecimal digits on the marker channel, then HLT. Code 0: it did
//! all of it and was let live. 0x21: memory answered where there is none. 0x22: its own page tables were not obeyed.
//! 0x80 and more: an exception that it did not expect. 0xfe: it was called with no letter it knows.

#![no_std]
#![no_main]

use core::arch::global_asm;

global_asm!(include_str!("boot.s"), include_str!("memory.s"), include_str!("processor.s"));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
