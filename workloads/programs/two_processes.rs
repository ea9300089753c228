//! The lecture's example of virtual memory: process 1 stores 4 at address 0xabcd, a context switch, process 2 stores 5 at
//! the same address, switch back; n times. Each reads its own value after every switch, and each reports the physical
//! frame behind the address: one virtual address, two places.
//!
//! What it shows: a switch of address spaces there and back, and that it isolates.
#![no_std]
#![no_main]

use core::fmt::Write;

use rt::syscall::{frame, getpid, processes, sched_yield};
use rt::{Checksum, EXIT_USAGE, EXIT_WRONG, Line, PAGE_BYTES};

rt::program!(main, rt::sizes::TWO_PROCESSES);

/// The address of the lecture, and the page it lies on.
const ADDRESS: usize = 0xabcd;
const PAGE: usize = ADDRESS & !(PAGE_BYTES - 1);
const OFFSET: usize = ADDRESS % PAGE_BYTES;

fn main([n]: [u64; 1]) {
    let pid = getpid();
    let value = match pid {
        1 => 4,
        2 => 5,
        _ => {
            rt::fail(EXIT_USAGE, format_args!("two_processes: this is process {pid}; run 1 and 2 in a guest (procs=2)"))
        }
    };
    if processes() == Ok(1) {
        rt::fail(
            EXIT_USAGE,
            format_args!("two_processes: no second process to switch to; start the guest with procs=2"),
        );
    }
    let page = rt::map_at::<u8>(PAGE, PAGE_BYTES);
    let mut process = Process { pid, value, page, checksum: Checksum::new() };
    process.page[OFFSET] = value;
    process.report();
    process.round(); // both have started
    if pid == 1 {
        let timed = rt::roi(|| process.rounds(n));
        rt::finish(process.checksum.value(), timed.ticks);
    } else {
        // As many rounds as process 1, so that it always has somebody to switch to, and both end.
        process.rounds(n);
    }
}

struct Process {
    pid: u32,
    value: u8,
    page: &'static mut [u8],
    checksum: Checksum,
}

impl Process {
    /// Stores, switches away, and checks on return that the value is still there.
    #[inline(always)]
    fn round(&mut self) {
        let (pid, value) = (self.pid, self.value);
        let cell = &raw mut self.page[OFFSET];
        // SAFETY: the pointer comes from a reference. Volatile: what matters is what memory holds.
        unsafe { cell.write_volatile(value) };
        sched_yield();
        // SAFETY: as above.
        let read = unsafe { cell.read_volatile() };
        if read != value {
            rt::fail(
                EXIT_WRONG,
                format_args!(
                    "two_processes: process {pid} stored {value} at {ADDRESS:#x} and reads {read} after a switch"
                ),
            );
        }
        self.checksum.add(u64::from(read));
    }

    fn rounds(&mut self, n: u64) {
        for _ in 0..n {
            self.round();
        }
    }

    /// The physical address behind a virtual one, which must be mapped.
    fn frame(&self, address: usize) -> u64 {
        frame(address).unwrap_or_else(|errno| {
            let errno = errno.0;
            rt::fail(
                EXIT_USAGE,
                format_args!("two_processes: no frame behind {address:#x} (error {errno}); run it in a guest"),
            )
        })
    }

    /// Prints the frame behind the lecture's address.
    fn report(&self) {
        let (pid, physical, value) = (self.pid, self.frame(ADDRESS), self.value);
        let mut line = Line::new();
        // A line never fails.
        let _ = writeln!(line, "frame pid={pid} va={ADDRESS:#x} pa={physical:#x} value={value}");
        line.write_to(rt::syscall::STDOUT);
    }
}
