//! Processes and the ring in which they take turns.

use crate::global::Global;
use crate::paging::{PAGE, Space, direct};
use crate::region::Regions;
use crate::{frames, machine, timer};

/// Pages of a kernel stack.
const STACK_PAGES: u64 = 2;
/// The I/O bitmap byte of ports 0x80 to 0x87 that denies them all.
const NO_PORTS: u32 = 0xff;
/// The same with port 0x80 open.
const SCRATCH_PORT: u32 = 0xfe;

/// One process; it has a page of its own. The first fields are known to `traps.s`.
#[repr(C, align(16))]
pub struct Process {
    stack: u64,
    cr3: u64,
    stack_top: u64,
    /// In the ring, or in the list of those that sleep.
    pub next: *mut Process,
    fs_base: u64,
    io_bits: u32,
    pid: u32,
    fx: [u32; 128],
    previous: *mut Process,
    /// The regions of its address space.
    pub regions: Regions,
    /// Where the heap begins and ends.
    pub heap_start: u64,
    /// See `heap_start`.
    pub heap_end: u64,
    /// When it wakes, while it sleeps, on the time-stamp counter.
    pub wake: u64,
}

const _: () = assert!(size_of::<Process>() <= 4096);

/// Processes that were made.
static COUNT: Global<u32> = Global::new(0);
/// Processes that have ended.
static ENDED: Global<u32> = Global::new(0);
static HOLD: Global<bool> = Global::new(false);
/// The exit code of the process with the lowest id that did not end with 0: `(pid, code)`.
static VERDICT: Global<(u32, u8)> = Global::new((u32::MAX, 0));
/// A member of the ring, or null if all sleep.
static RING: Global<*mut Process> = Global::new(core::ptr::null_mut());

unsafe extern "C" {
    static mut current: *mut Process;
    static mut others: u32;
    static iret_leave: u8;
    fn run_process(process: *mut Process) -> !;
}

/// Halt instead of writing the exit port when the machine ends.
pub fn set_hold(hold: bool) {
    HOLD.write(hold);
}

/// See [`set_hold`].
pub fn hold() -> bool {
    HOLD.read()
}

/// The process that runs.
pub fn running() -> *mut Process {
    // SAFETY: a plain read.
    unsafe { current }
}

impl Process {
    /// A process without memory, last in the ring.
    pub fn create() -> *mut Self {
        let count = COUNT.read();
        COUNT.write(count + 1);
        let process: *mut Self = direct(frames::allocate_table()).cast();
        let stack = direct(frames::allocate_neighbours(STACK_PAGES)) as u64;
        // SAFETY: the page is zeroed and ours, and zeroes are valid for every field.
        unsafe {
            (*process).cr3 = Space::new().cr3;
            (*process).stack_top = stack + STACK_PAGES * PAGE;
            (*process).io_bits = NO_PORTS;
            (*process).pid = count + 1;
            (*process).fx[0] = 0x37f; // FCW after FNINIT
            (*process).fx[6] = 0x1f80; // MXCSR after reset
            let first = RING.read();
            put_in(process, if first.is_null() { first } else { (*first).previous });
            others = count;
        }
        process
    }

    /// Its page tables.
    pub fn space(&self) -> Space {
        Space { cr3: self.cr3 }
    }

    /// Its id, from 1.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// FS base.
    pub fn fs_base(&self) -> u64 {
        self.fs_base
    }

    /// Set FS base, also in the processor: this is the running process.
    pub fn set_fs_base(&mut self, base: u64) {
        self.fs_base = base;
        // SAFETY: MSR 0xc0000100 is FS.base, which the kernel does not use.
        unsafe {
            core::arch::asm!("wrmsr", in("ecx") 0xc000_0100u32, in("eax") base as u32, in("edx") (base >> 32) as u32,
                options(nomem, nostack, preserves_flags));
        }
    }

    /// Open or close the scratch port for this, the running process.
    pub fn open_scratch_port(&mut self, open: bool) {
        unsafe extern "C" {
            static mut tss_io_scratch: u8;
        }
        self.io_bits = if open { SCRATCH_PORT } else { NO_PORTS };
        // SAFETY: the byte is part of the TSS's bitmap, which only this code and the switch write.
        unsafe { tss_io_scratch = self.io_bits as u8 };
    }

    /// Prepare its kernel stack so that the switch to it enters ring 3 at `entry`.
    pub fn prepare(&mut self, entry: u64, stack: u64) {
        const SAVED: usize = 13; // what switch_to pushes, all zero
        // SAFETY: the stack is ours and larger than these words.
        unsafe {
            let frame = (self.stack_top as *mut u64).sub(6);
            *frame = (&raw const iret_leave) as u64;
            *frame.add(1) = entry;
            *frame.add(2) = 0x33;
            *frame.add(3) = timer::user_flags();
            *frame.add(4) = stack;
            *frame.add(5) = 0x2b;
            self.stack = frame.sub(SAVED) as u64;
        }
    }
}

/// Enter ring 3 for the first time.
pub fn run_first() -> ! {
    // SAFETY: exec made at least one process and prepared it.
    unsafe { run_process(RING.read()) }
}

/// A member of the ring, or null.
pub fn ring() -> *mut Process {
    RING.read()
}

/// Take a member out of the ring.
///
/// # Safety
/// It is one.
pub unsafe fn take_out(process: *mut Process) {
    // SAFETY: the ring is consistent.
    unsafe {
        let (next, previous) = ((*process).next, (*process).previous);
        (*previous).next = next;
        (*next).previous = previous;
        RING.write(if next == process { core::ptr::null_mut() } else { next });
    }
}

/// Put a process into the ring, behind the member `behind`; that is null if the ring is empty.
///
/// # Safety
/// The process is not in it.
pub unsafe fn put_in(process: *mut Process, behind: *mut Process) {
    // SAFETY: the ring is consistent.
    unsafe {
        let behind = if behind.is_null() {
            RING.write(process);
            process
        } else {
            (*process).next = (*behind).next;
            (*(*behind).next).previous = process;
            behind
        };
        if behind == process {
            (*process).next = process;
        }
        (*behind).next = process;
        (*process).previous = behind;
    }
}

/// Give the processor from the running process to another; returns when it gets it back.
pub fn switch(from: *mut Process, to: *mut Process) {
    // SAFETY: `switch_to` keeps all registers but these two, and the stack is that of `from`.
    unsafe {
        core::arch::asm!("call switch_to", inout("rcx") from => _, inout("r11") to => _);
    }
}

/// Let the next process of the ring run, if there is another.
pub fn yield_now() {
    let process = running();
    // SAFETY: the running process is in the ring.
    let next = unsafe { (*process).next };
    if next != process {
        switch(process, next);
    }
}

/// How many processes there are now.
pub fn living() -> u32 {
    COUNT.read() - ENDED.read()
}

/// The running process ends.
pub fn exit(code: u8) -> ! {
    ENDED.write(ENDED.read() + 1);
    let process = running();
    let (pid, _) = VERDICT.read();
    // SAFETY: the ring is consistent; a process that ends is taken out of it.
    unsafe {
        if code != 0 && (*process).pid < pid {
            VERDICT.write(((*process).pid, code));
        }
        let next = (*process).next;
        take_out(process);
        match living() {
            0 => {
                let (_, code) = VERDICT.read();
                machine::exit(code, hold());
            }
            living => others = living - 1,
        }
        run_process(if ring().is_null() { timer::next_runnable() } else { next })
    }
}
