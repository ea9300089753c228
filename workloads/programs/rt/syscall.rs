//! System calls, by the Linux x86-64 convention: number in RAX, arguments in RDI, RSI, RDX, R10, R8, R9, result in RAX,
//! -4095 to -1 meaning an error number.

use core::arch::asm;

/// File descriptor of error messages.
pub const STDERR: u32 = 2;
/// File descriptor of results.
pub const STDOUT: u32 = 1;
/// File descriptor of the marker channel.
pub const MARKERS: u32 = 3;

const READ: usize = 0;
const WRITE: usize = 1;
const CLOSE: usize = 3;
const MMAP: usize = 9;
const MUNMAP: usize = 11;
const SCHED_YIELD: usize = 24;
const GETPID: usize = 39;
const NANOSLEEP: usize = 35;
const FORK: usize = 57;
const WAIT4: usize = 61;
const IOPERM: usize = 173;
const SCHED_SETAFFINITY: usize = 203;
const CLOCK_GETTIME: usize = 228;
const EXIT_GROUP: usize = 231;
const PIPE2: usize = 293;
const GETCPU: usize = 309;
/// These two are of the guest kernel alone; Linux answers -ENOSYS.
const EVLAB_FRAME: usize = 5000;
const EVLAB_PROCESSES: usize = 5001;

/// An error number of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u32);

/// Nobody is at the other end.
const EPIPE: Errno = Errno(32);

/// A system call by its number.
///
/// # Errors
/// The error number.
///
/// # Safety
/// The call must not change memory in a way that breaks the program's references.
#[inline(always)]
pub unsafe fn call(number: usize, args: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: by the caller's promise; RCX and R11 are what `syscall` itself overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    if (-4095..0).contains(&result) { Err(Errno(result.unsigned_abs() as u32)) } else { Ok(result as usize) }
}

/// Calls that take no more than numbers and touch no memory of the program: a shorter sequence, as the null call is
/// itself measured.
#[inline(always)]
fn plain_call(number: usize) -> usize {
    let result: usize;
    // SAFETY: getpid and sched_yield leave the memory of the process alone.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, out("rcx") _, out("r11") _, options(nostack));
    }
    result
}

/// Writes bytes; an error, such as a descriptor that is not open, is ignored.
pub fn write(descriptor: u32, bytes: &[u8]) {
    // SAFETY: the call only reads the bytes.
    let _ = unsafe { call(WRITE, [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
}

/// Maps anonymous private memory, readable and writable, at `address` (0: anywhere).
///
/// # Errors
/// The error number; ENOMEM where it does not fit.
///
/// # Safety
/// With an address other than 0, nothing of the program may live there.
pub(crate) unsafe fn map(address: usize, bytes: usize) -> Result<*mut u8, Errno> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE: usize = 0x02;
    const MAP_FIXED: usize = 0x10;
    const MAP_ANONYMOUS: usize = 0x20;
    // Since Linux 6.7 this keeps huge pages away, so that a page is 4 KiB natively as it is in the guest.
    const MAP_STACK: usize = 0x20000;
    let fixed = if address == 0 { 0 } else { MAP_FIXED };
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | fixed;
    // SAFETY: the memory is new, or nothing lives there by the caller's promise. Descriptor -1: no file.
    unsafe { call(MMAP, [address, bytes, PROT_READ_WRITE, flags, usize::MAX, 0]) }.map(|at| at as *mut u8)
}

/// Unmaps memory.
///
/// # Errors
/// The error number.
///
/// # Safety
/// `address` and `bytes` are those of a mapping to which no reference is left.
pub(crate) unsafe fn unmap(address: *mut u8, bytes: usize) -> Result<(), Errno> {
    // SAFETY: by the caller's promise.
    unsafe { call(MUNMAP, [address as usize, bytes, 0, 0, 0, 0]) }.map(|_| ())
}

/// The process id.
#[inline(always)]
pub fn getpid() -> u32 {
    plain_call(GETPID) as u32
}

/// Lets the next process run.
#[inline(always)]
pub fn sched_yield() {
    plain_call(SCHED_YIELD);
}

/// Asks for access to one I/O port.
///
/// # Errors
/// The error number; EPERM where the kernel does not grant the port.
pub fn ioperm(port: u16) -> Result<(), Errno> {
    // SAFETY: the call changes no memory of the program.
    unsafe { call(IOPERM, [port as usize, 1, 1, 0, 0, 0]) }.map(|_| ())
}

/// The physical address behind a virtual one, as the guest kernel's page tables have it.
///
/// # Errors
/// The error number; EFAULT where no frame backs the address, ENOSYS under Linux.
pub fn frame(address: usize) -> Result<u64, Errno> {
    // SAFETY: the call only reads page tables.
    unsafe { call(EVLAB_FRAME, [address, 0, 0, 0, 0, 0]) }.map(|pa| pa as u64)
}

/// How many processes the guest has now.
///
/// # Errors
/// The error number; ENOSYS under Linux.
pub fn processes() -> Result<usize, Errno> {
    // SAFETY: the call only reads a counter.
    unsafe { call(EVLAB_PROCESSES, [0; 6]) }
}

const NS_PER_S: u64 = 1_000_000_000;

/// A time or a span, as Linux passes it.
#[repr(C)]
struct Timespec {
    seconds: u64,
    ns: u64,
}

/// CLOCK_MONOTONIC, nanoseconds.
///
/// # Errors
/// The error number; EINVAL where the kernel does not know the frequency of its clock.
pub fn monotonic_ns() -> Result<u64, Errno> {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = Timespec { seconds: 0, ns: 0 };
    // SAFETY: the call writes the structure that the pointer is to.
    unsafe { call(CLOCK_GETTIME, [CLOCK_MONOTONIC, &raw mut time as usize, 0, 0, 0, 0]) }?;
    Ok(time.seconds * NS_PER_S + time.ns)
}

/// Sleeps for at least that many nanoseconds.
///
/// # Errors
/// The error number.
pub fn sleep_ns(ns: u64) -> Result<(), Errno> {
    let time = Timespec { seconds: ns / NS_PER_S, ns: ns % NS_PER_S };
    // SAFETY: the call reads the structure that the pointer is to.
    unsafe { call(NANOSLEEP, [&raw const time as usize, 0, 0, 0, 0, 0]) }.map(|_| ())
}

/// Under Linux: becomes `count` processes on one processor; yields the number of each, from 1 for this one.
///
/// # Errors
/// The error number.
pub fn fork_beside(count: u32) -> Result<u32, Errno> {
    let mut cpu: u32 = 0;
    // SAFETY: the call writes the number that the pointer is to.
    unsafe { call(GETCPU, [&raw mut cpu as usize, 0, 0, 0, 0, 0]) }?;
    let mut mask = [0u64; 128];
    if let Some(word) = mask.get_mut(cpu as usize / 64) {
        *word = 1 << (cpu % 64);
    }
    // SAFETY: the call reads the mask.
    unsafe { call(SCHED_SETAFFINITY, [0, size_of_val(&mask), mask.as_ptr() as usize, 0, 0, 0]) }?;
    for number in 2..=count {
        // SAFETY: the child gets a copy of all memory, and goes on with it as this process does.
        if unsafe { call(FORK, [0; 6]) }? == 0 {
            return Ok(number);
        }
    }
    Ok(1)
}

/// Where processes that were forked wait for a start. Only under Linux.
#[derive(Debug, Clone, Copy)]
pub struct StartingLine {
    pipe: [u32; 2],
}

impl StartingLine {
    /// One for this process and those that it will fork.
    ///
    /// # Errors
    /// The error number.
    pub fn draw() -> Result<Self, Errno> {
        let mut pipe = [0; 2];
        // SAFETY: the call writes two descriptors to where the pointer is to.
        unsafe { call(PIPE2, [pipe.as_mut_ptr() as usize, 0, 0, 0, 0, 0]) }.map(|_| Self { pipe })
    }

    /// Waits for the start, in a process that was forked.
    ///
    /// # Errors
    /// The error number; EPIPE where the process that was to start it has ended.
    pub fn wait(self) -> Result<(), Errno> {
        // Who waits and holds the end that is written to would keep itself waiting for ever.
        // SAFETY: the call changes no memory of the program.
        unsafe { call(CLOSE, [self.pipe[1] as usize, 0, 0, 0, 0, 0]) }?;
        let mut byte = 0_u8;
        // SAFETY: the call writes one byte to where the pointer is to.
        match unsafe { call(READ, [self.pipe[0] as usize, &raw mut byte as usize, 1, 0, 0, 0]) }? {
            0 => Err(EPIPE),
            _ => Ok(()),
        }
    }

    /// Lets so many processes start that wait or will, 8 at most.
    pub fn start(self, waiting: u32) {
        write(self.pipe[1], [0; 8].get(..waiting as usize).unwrap_or(&[0; 8]));
    }
}

/// Waits until all children have ended; yields the number of those that did not end well.
pub fn wait_for_children() -> u32 {
    let mut bad = 0;
    let mut status: u32 = 0;
    // SAFETY: the call writes the status that the pointer is to. It fails once there is no child left.
    while unsafe { call(WAIT4, [usize::MAX, &raw mut status as usize, 0, 0, 0, 0]) }.is_ok() {
        bad += u32::from(status != 0);
    }
    bad
}

/// Ends the process.
pub fn exit(code: u8) -> ! {
    // SAFETY: the process ends here.
    let _ = unsafe { call(EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    // A kernel that returns from exit_group breaks the contract: end by a fault instead.
    // SAFETY: ud2 raises #UD and does nothing else.
    unsafe { asm!("ud2", options(noreturn)) }
}
