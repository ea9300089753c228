//! Port output: n bytes to port 0x80 from ring 3, which `ioperm` opens.
//!
//! What it shows: the exit, the event that a virtual machine monitor exists to serve: out of the guest, through the
//! hypervisor to the monitor, and back.
#![no_std]
#![no_main]

use core::arch::asm;

use rt::Checksum;

rt::program!(main, rt::sizes::PORT_IO, laps);

/// The port that machines of the contract answer and ignore.
const PORT: u16 = 0x80;

fn main([n]: [u64; 1]) {
    if let Err(errno) = rt::syscall::ioperm(PORT) {
        let errno = errno.0;
        rt::fail(
            rt::EXIT_USAGE,
            format_args!(
                "port_io: no access to port {PORT:#x} (error {errno}); run it on an engine with the guest kernel"
            ),
        );
    }
    let timed = rt::laps(
        &mut (),
        |_| {},
        |_| {
            let mut sum = Checksum::new();
            for i in 0..n {
                output(i as u8);
                sum.add(i);
            }
            sum.value()
        },
    );
    rt::finish(timed.value, timed.ticks);
}

#[inline(always)]
fn output(byte: u8) {
    // SAFETY: the port is open to this process, and a write to it has no effect on it.
    unsafe {
        asm!("out dx, al", in("dx") PORT, in("al") byte, options(nostack, nomem, preserves_flags));
    }
}
