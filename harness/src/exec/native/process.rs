//! The parent's side of the child process: its memory, its life and its death.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::child::{Child, SIGNAL_STACK};
use super::shared::{AREA, CONTENTS, LIVE, Mailbox, SLOTS, Slot, TOTAL};
use crate::exec::error::ExecError;
use crate::exec::memory::{MemoryChange, collect_changes};
use crate::exec::runner::Engine;
use crate::exec::snippet::Snippet;

/// Longest time that a batch may take; every case in it is bounded by the timer of the child.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mapping that is unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, flags: i32, file: i32) -> Result<Self, ExecError> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, file, 0) };
        if base == libc::MAP_FAILED {
            return Err(refused("mapping shared memory"));
        }
        NonNull::new(base.cast()).map(|base| Self { base, len }).ok_or_else(|| refused("mapping shared memory"))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever points into it is dropped with the `Process` that owns it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The child process and the memory shared with it.
#[derive(Debug)]
pub(super) struct Process {
    shared: Mapping,
    stack: Mapping,
    file: File,
    /// The running child.
    pid: Option<libc::pid_t>,
}

fn refused(what: &'static str) -> ExecError {
    ExecError::Host { engine: Engine::Native, what, source: io::Error::last_os_error() }
}

fn missing(reason: &str) -> ExecError {
    ExecError::Missing { engine: Engine::Native, reason: reason.to_owned() }
}

impl Process {
    pub(super) fn start() -> Result<Self, ExecError> {
        /// `HWCAP2_FSGSBASE` of <asm/hwcap2.h>: ring 3 may use RDFSBASE and WRFSBASE.
        const FSGSBASE: u64 = 1 << 1;
        // SAFETY: getauxval only reads the auxiliary vector.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE == 0 {
            return Err(missing("the kernel does not let programs set the FS base; use Linux 5.9 or later, or kvm"));
        }
        // SAFETY: the name is a C string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"evlab-native".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(refused("making shared memory"));
        }
        // SAFETY: the descriptor is new and ours.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(TOTAL as u64).map_err(|_| refused("making shared memory"))?;
        let shared = Mapping::new(TOTAL, libc::MAP_SHARED, fd)?;
        let stack = Mapping::new(SIGNAL_STACK, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let mut process = Self { shared, stack, file, pid: None };
        process.fork()?;
        Ok(process)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.shared.base.as_ptr().wrapping_add(offset)
    }

    /// The mailbox's own words. Its slots are reached through [`Self::slot`].
    pub(super) fn mailbox(&self) -> MailboxWords<'_> {
        let mailbox = self.at(0).cast::<Mailbox>();
        // SAFETY: the mapping holds a mailbox, is aligned to a page, and these words are atomics.
        unsafe {
            MailboxWords {
                request: &(*mailbox).request,
                reply: &(*mailbox).reply,
                cases: &(*mailbox).cases,
                current: &(*mailbox).current,
            }
        }
    }

    /// A slot; `index` is taken modulo their number.
    pub(super) fn slot(&mut self, index: usize) -> *mut Slot {
        let mailbox = self.at(0).cast::<Mailbox>();
        // SAFETY: the pointer stays within the array of slots.
        unsafe { (&raw mut (*mailbox).slots).cast::<Slot>().add(index % SLOTS) }
    }

    /// Writes into the contents area; what does not fit is dropped.
    pub(super) fn write_contents(&mut self, offset: usize, bytes: &[u8]) {
        let len = bytes.len().min(AREA.saturating_sub(offset));
        // SAFETY: `[offset, offset + len)` lies in the contents area, which no reference points into.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(CONTENTS + offset), len) };
    }

    /// Compares live memory, as the last case left it, with the contents of its snippet.
    pub(super) fn live_changes(&mut self, snippet: &Snippet, changes: &mut Vec<MemoryChange>) {
        let mut offset = 0;
        for region in &snippet.regions {
            let len = region.bytes.len().min(AREA - offset);
            let mut after = vec![0; len];
            // SAFETY: `[offset, offset + len)` lies in the live area; the child is not executing.
            unsafe { std::ptr::copy_nonoverlapping(self.at(LIVE + offset), after.as_mut_ptr(), len) };
            collect_changes(region.address, &region.bytes, &after, changes);
            offset += len;
        }
    }

    fn fork(&mut self) -> Result<(), ExecError> {
        let words = self.mailbox();
        words.request.store(0, Ordering::Relaxed);
        words.reply.store(0, Ordering::Relaxed);
        let mailbox = self.at(0).cast();
        let stack = self.stack.base.as_ptr();
        let mut child = Child::new(mailbox, self.at(CONTENTS), self.at(LIVE), self.file.as_raw_fd(), LIVE, stack);
        // SAFETY: the child calls only `Child::main`, which neither allocates nor locks and never returns.
        match unsafe { libc::fork() } {
            -1 => Err(refused("forking")),
            // SAFETY: this is the fresh fork, and `child` is its private copy.
            0 => unsafe { Child::main(&raw mut *child) },
            pid => {
                self.pid = Some(pid);
                Ok(())
            }
        }
    }

    /// Has the child execute the first `count` slots. If it dies, a new one is started and the death reported.
    pub(super) fn execute(&mut self, count: usize) -> Result<(), ExecError> {
        if self.pid.is_none() {
            self.fork()?;
        }
        let words = self.mailbox();
        let request = words.request.load(Ordering::Relaxed).wrapping_add(1).max(1);
        words.cases.store(count as u32, Ordering::Relaxed);
        words.current.store(0, Ordering::Relaxed);
        words.request.store(request, Ordering::Release);
        futex_wake(words.request);
        let begin = Instant::now();
        loop {
            let words = self.mailbox();
            let reply = words.reply.load(Ordering::Acquire);
            if reply == request {
                return Ok(());
            }
            futex_wait(words.reply, reply);
            if words.reply.load(Ordering::Acquire) != request {
                if let Some(how) = self.death() {
                    return Err(ExecError::ChildDied { how });
                }
                if begin.elapsed() > PATIENCE {
                    self.kill();
                    return Err(ExecError::ChildDied { how: "killed because it did not answer".to_owned() });
                }
            }
        }
    }

    /// How the child died, if it did.
    fn death(&mut self) -> Option<String> {
        let pid = self.pid?;
        let mut status = 0;
        // SAFETY: `status` is a live local; the process is our child.
        let result = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if result == 0 {
            return None;
        }
        self.pid = None;
        Some(if libc::WIFSIGNALED(status) {
            format!("signal {}", libc::WTERMSIG(status))
        } else {
            format!("exit status {}", libc::WEXITSTATUS(status))
        })
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            // SAFETY: the process is our child and was not waited for, so its number is still its own.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, null_mut(), 0);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The words at the head of the mailbox.
pub(super) struct MailboxWords<'a> {
    pub(super) request: &'a AtomicU32,
    pub(super) reply: &'a AtomicU32,
    pub(super) cases: &'a AtomicU32,
    pub(super) current: &'a AtomicU32,
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid; FUTEX_WAKE reads no other pointer.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Sleeps until the word is woken, for at most 20 ms: a child that died wakes nobody.
fn futex_wait(word: &AtomicU32, value: u32) {
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    // SAFETY: the word is valid and the timeout a live local.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const timeout) };
}
