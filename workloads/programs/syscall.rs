//! The null system call: n times getpid.
//!
//! What it shows: the way into the kernel and back. Under hardware virtualization it stays in the guest and costs what it
//! costs natively; where a hypervisor must emulate ring 0, or an emulator runs it all, it does not.
#![no_std]
#![no_main]

use rt::Checksum;

rt::program!(main, rt::sizes::SYSCALL, laps);

fn main([n]: [u64; 1]) {
    let pid = rt::syscall::getpid();
    let timed = rt::laps(&mut (), |_| {}, |_| (0..n).filter(|_| rt::syscall::getpid() == pid).count() as u64);
    if timed.value != n {
        let wrong = n - timed.value;
        rt::fail(rt::EXIT_WRONG, format_args!("syscall: {wrong} of {n} calls of getpid gave another process id"));
    }
    // Not the process id itself, which differs between engines.
    rt::finish(Checksum::of([timed.value]), timed.ticks);
}
