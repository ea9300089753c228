//! The guest kernel: it boots through PVH, loads programs from PVH modules, runs each as a ring-3 process with page
//! tables of its own, and serves the system calls of `docs/guest-contract.md`.
//!
//! Rules that this code obeys, because on some KVM backends ring 0 is emulated instruction by instruction:
//! - no SSE, x87 or MMX register is touched outside `.text.xmm` (the build checks it), so user state needs no saving;
//! - what can be a constant of the image is one (`tables.s`); no page is zeroed or copied that need not be;
//! - no slices with bounds checks and no formatting: both would pull in code of `core` that uses SSE.

#![no_std]
#![no_main]

mod clock;
mod console;
mod elf;
mod exec;
mod fault;
mod frames;
mod global;
mod machine;
#[cfg(micro)]
mod micro;
mod names;
mod options;
mod paging;
mod process;
mod region;
mod start_info;
mod syscall;
mod timer;

use core::arch::global_asm;

global_asm!(
    include_str!("tables.s"),
    include_str!("boot.s"),
    include_str!("traps.s"),
    include_str!("timer.s"),
    include_str!("memory.s")
);

/// Called by `boot.s` with paging on, in the high half, interrupts off.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: u64) -> ! {
    // SAFETY: boot.s passes what the loader put into EBX, and the loader keeps the PVH protocol.
    let boot = unsafe { start_info::StartInfo::new(start_info) };
    let options = options::parse(boot.command_line());
    frames::init(&boot);
    clock::set(options.tsc_khz, options.realtime);
    process::set_hold(options.hold);
    if options.hz != 0 {
        timer::start(options.hz);
    }
    exec::start(&boot, &options);
    machine::marker(b'U');
    process::run_first()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    machine::panic("internal error")
}
