//! Processes and the ring in which they take turns.

use crate::global::Global;
use crate::machine;
use crate::paging::{Space, direct};
use crate::region::Regions;

/// How many processes there may be.
pub const MAX: usize = 8;
const STACK_SIZE: usize = 8192;
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
    next: *mut Process,
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
}

const _: () = assert!(size_of::<Process>() <= 4096);

#[repr(align(16))]
struct Stacks(#[allow(dead_code)] [[u8; STACK_SIZE]; MAX]);

static STACKS: Global<Stacks> = Global::new(Stacks([[0; STACK_SIZE]; MAX]));
/// Processes that were made.
static COUNT: Global<u32> = Global::new(0);
/// Processes that have ended.
static ENDED: Global<u32> = Global::new(0);
static HOLD: Global<bool> = Global::new(false);
/// The exit code of the process with the lowest id that did not end with 0: `(pid, code)`.
static VERDICT: Global<(u32, u8)> = Global::new((u32::MAX, 0));
static FIRST: Global<*mut Process> = Global::new(core::ptr::null_mut());

unsafe extern "C" {
    static mut current: *mut Process;
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
        if count as usize == MAX {
            machine::panic("more than 8 processes");
        }
        COUNT.write(count + 1);
        let process: *mut Self = direct(crate::frames::allocate_table()).cast();
        // SAFETY: the page is zeroed and ours, zeroes are valid for every field, and the stack area has MAX stacks.
        unsafe {
            (*process).cr3 = Space::new().cr3;
            (*process).stack_top = (STACKS.get() as u64) + (count as u64 + 1) * STACK_SIZE as u64;
            (*process).io_bits = NO_PORTS;
            (*process).pid = count + 1;
            (*process).fx[0] = 0x37f; // FCW after FNINIT
            (*process).fx[6] = 0x1f80; // MXCSR after reset
            let first = FIRST.read();
            if first.is_null() {
                FIRST.write(process);
                (*process).next = process;
                (*process).previous = process;
            } else {
                let last = (*first).previous;
                (*process).next = first;
                (*process).previous = last;
                (*last).next = process;
                (*first).previous = process;
            }
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
            *frame.add(3) = 0x2;
            *frame.add(4) = stack;
            *frame.add(5) = 0x2b;
            self.stack = frame.sub(SAVED) as u64;
        }
    }
}

/// Enter ring 3 for the first time.
pub fn run_first() -> ! {
    // SAFETY: exec made at least one process and prepared it.
    unsafe { run_process(FIRST.read()) }
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
        if next == process {
            let (_, code) = VERDICT.read();
            machine::exit(code, hold());
        }
        let previous = (*process).previous;
        (*previous).next = next;
        (*next).previous = previous;
        run_process(next)
    }
}
