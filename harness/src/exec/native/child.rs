//! The child process: executes the cases it finds in the mailbox.
//!
//! It is a fork of a process with threads, and its FS base belongs to the code under test: nothing here may allocate,
//! lock, panic or touch thread-local storage. It makes system calls only through [`entry::syscall`].

use std::arch::asm;
use std::ptr::{addr_of_mut, copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::entry::{self, EntryState, UCONTEXT_WORDS};
use super::seccomp::Filter;
use super::shared::{Change, MAX_CHANGES, Mailbox, RegionEntry, SLOTS, Slot, Status, XSAVE_BYTES, XSTATE_BV, YMM_HIGH};
use crate::exec::registers::Registers;
use crate::exec::snippet::MAX_REGIONS;

/// Largest XSAVE area of a signal frame that is accepted, bytes.
const FRAME_XSAVE: usize = 12 << 10;
/// Bytes of the stack of the signal handler: the frame with its XSAVE area, twice (a tick may interrupt), and calls.
pub(super) const SIGNAL_STACK: usize = 128 << 10;
/// Time between ticks, microseconds of processor time.
const TICK_US: i64 = 4000;
/// Offset in an XSAVE area of a signal frame of `struct _fpx_sw_bytes`: magic, size, features.
const SW_BYTES: usize = 464;

/// What the child is doing, for the signal handler.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Phase {
    /// Its own code: any exception is a bug.
    Own,
    /// Waiting for the signal whose frame becomes the template.
    Template,
    /// Executing code under test.
    Guest,
}

#[repr(C, align(64))]
struct XsaveArea([u8; FRAME_XSAVE]);

#[repr(C, align(16))]
struct Ucontext([u64; UCONTEXT_WORDS]);

/// All state of the child. Made by the parent before the fork, so that the child need not allocate.
pub(super) struct Child {
    entry: EntryState,
    phase: Phase,
    ticks_left: u32,
    slot: *mut Slot,
    mailbox: *mut Mailbox,
    contents: *const u8,
    live: *mut u8,
    file: i32,
    live_offset: usize,
    parent: i32,
    stack: *mut u8,
    template: Ucontext,
    template_xsave: XsaveArea,
    template_len: usize,
    features: u64,
    ucontext: Ucontext,
    xsave: XsaveArea,
    mapped: [RegionEntry; MAX_REGIONS],
    mapped_count: usize,
    filter: Filter,
}

/// The one child of this process, for its signal handler.
static CHILD: AtomicPtr<Child> = AtomicPtr::new(null_mut());

/// Exit status: the child's own code failed, or the parent is gone.
const OWN_FAULT: usize = 97;
/// Exit status: the kernel refused something at the start.
const SETUP_FAILED: usize = 96;

impl Child {
    /// A child on a shared file mapped at `mailbox`, `contents` and `live`, with a signal stack.
    pub(super) fn new(
        mailbox: *mut Mailbox,
        contents: *const u8,
        live: *mut u8,
        file: i32,
        live_offset: usize,
        stack: *mut u8,
    ) -> Box<Self> {
        let nowhere = RegionEntry { address: 0, size: 0, protection: 0, live: 0, initial: 0 };
        Box::new(Self {
            entry: EntryState { saved_rsp: 0, ucontext: 0, fs_base: 0, gs_base: 0, flags: 0, data_selector: 0 },
            phase: Phase::Own,
            ticks_left: 0,
            slot: null_mut(),
            mailbox,
            contents,
            live,
            file,
            live_offset,
            parent: std::process::id() as i32,
            stack,
            template: Ucontext([0; UCONTEXT_WORDS]),
            template_xsave: XsaveArea([0; FRAME_XSAVE]),
            template_len: 0,
            features: 0,
            ucontext: Ucontext([0; UCONTEXT_WORDS]),
            xsave: XsaveArea([0; FRAME_XSAVE]),
            mapped: [nowhere; MAX_REGIONS],
            mapped_count: 0,
            filter: Filter::new(),
        })
    }

    /// Life of the child after the fork.
    ///
    /// # Safety
    /// Called once, in a fresh fork, with a valid `child`.
    pub(super) unsafe fn main(child: *mut Self) -> ! {
        CHILD.store(child, Ordering::Relaxed);
        // SAFETY: the caller promises a valid `child`, and this process has no other thread.
        unsafe {
            if !set_up(child) {
                exit(SETUP_FAILED);
            }
            let mailbox = (*child).mailbox;
            let mut seen = 0;
            loop {
                let request = (*mailbox).request.load(Ordering::Acquire);
                if request == seen {
                    wait(&(*mailbox).request, seen);
                    continue;
                }
                seen = request;
                let cases = ((*mailbox).cases.load(Ordering::Relaxed) as usize).min(SLOTS);
                for i in 0..cases {
                    (*mailbox).current.store(i as u32, Ordering::Relaxed);
                    let slot = addr_of_mut!((*mailbox).slots).cast::<Slot>().wrapping_add(i);
                    execute(child, slot);
                }
                (*mailbox).reply.store(request, Ordering::Release);
                futex((&raw const (*mailbox).reply).cast(), libc::FUTEX_WAKE, 1);
            }
        }
    }
}

/// Signals that code under test can cause, and the tick.
const SIGNALS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS, libc::SIGPROF];

/// Makes a system call with up to four arguments.
///
/// # Safety
/// As the call demands.
unsafe fn call(number: i64, a1: usize, a2: usize, a3: usize, a4: usize) -> isize {
    // SAFETY: the caller's promise.
    unsafe { entry::syscall(number, a1, a2, a3, a4, 0, 0) }
}

fn exit(status: usize) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        unsafe { call(libc::SYS_exit_group, status, 0, 0, 0) };
    }
}

/// # Safety
/// `word` is valid.
unsafe fn futex(word: *const u32, operation: i32, value: u32) {
    // SAFETY: the caller's promise; without a timeout no other pointer is read.
    unsafe { call(libc::SYS_futex, word as usize, operation as usize, value as usize, 0) };
}

/// Waits until `word` is not `value`: spins for a moment, for the next batch often comes soon, then sleeps.
///
/// # Safety
/// `word` is valid.
unsafe fn wait(word: &std::sync::atomic::AtomicU32, value: u32) {
    for _ in 0..200 {
        if word.load(Ordering::Relaxed) != value {
            return;
        }
        std::hint::spin_loop();
    }
    // SAFETY: the reference is valid.
    unsafe { futex(word.as_ptr(), libc::FUTEX_WAIT, value) };
}

/// Installs the handler, takes the template and locks the door. `false` if the kernel refused anything.
///
/// # Safety
/// As [`Child::main`].
unsafe fn set_up(child: *mut Child) -> bool {
    /// `struct sigaction` of the kernel.
    #[repr(C)]
    struct KernelAction {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    const SA_RESTORER: usize = 0x0400_0000;
    // SAFETY: every pointer passed to the kernel points at a live local or at the child's own memory.
    unsafe {
        call(libc::SYS_prctl, libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0);
        if call(libc::SYS_getppid, 0, 0, 0, 0) != (*child).parent as isize {
            return false;
        }
        let file = (*child).file as usize;
        if file > 0 {
            call(libc::SYS_close_range, 0, file - 1, 0, 0);
        }
        call(libc::SYS_close_range, file + 1, u32::MAX as usize, 0, 0);
        let stack = libc::stack_t { ss_sp: (*child).stack.cast(), ss_flags: 0, ss_size: SIGNAL_STACK };
        let mut ok = call(libc::SYS_sigaltstack, &raw const stack as usize, 0, 0, 0) == 0;
        let (handler, restorer) = entry::handler_addresses();
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER) as usize | SA_RESTORER;
        // Ctrl-C and the like are the parent's business; it ends this process.
        for signal in 1..=31 {
            let ours = SIGNALS.contains(&signal);
            let handler = if ours { handler } else { libc::SIG_IGN };
            let action = KernelAction { handler, flags, restorer, mask: 0 };
            let result = call(libc::SYS_rt_sigaction, signal as usize, &raw const action as usize, 0, 8);
            ok &= result == 0 || !ours;
        }
        let mask = 0_u64;
        ok &= call(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK as usize, &raw const mask as usize, 0, 8) == 0;
        (&raw mut (*child).phase).write_volatile(Phase::Template);
        asm!("int3");
        (&raw mut (*child).phase).write_volatile(Phase::Own);
        ok &= (*child).template_len != 0;
        let every = libc::timeval { tv_sec: 0, tv_usec: TICK_US };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        ok &= call(libc::SYS_setitimer, libc::ITIMER_PROF as usize, &raw const timer as usize, 0, 0) == 0;
        ok && lock_the_door(child)
    }
}

/// # Safety
/// As [`Child::main`].
unsafe fn lock_the_door(child: *mut Child) -> bool {
    const SET_MODE_FILTER: usize = 1;
    // SAFETY: the filter outlives the call.
    unsafe {
        let program = (*child).filter.program();
        call(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0) == 0
            && call(
                libc::SYS_seccomp,
                SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as usize,
                &raw const program as usize,
                0,
            ) == 0
    }
}

/// Executes the case in `slot`.
///
/// # Safety
/// As [`Child::main`]; `slot` lies in the mailbox.
unsafe fn execute(child: *mut Child, slot: *mut Slot) {
    // SAFETY: both pointers are valid for the life of the process, the areas hold what `map` was asked for.
    unsafe {
        if !map(child, slot) {
            return;
        }
        let count = (*child).mapped_count;
        for i in 0..count {
            let region = (&raw const (*child).mapped).cast::<RegionEntry>().wrapping_add(i).read();
            let from = (*child).contents.wrapping_add(region.initial as usize);
            let to = (*child).live.wrapping_add(region.live as usize);
            copy_nonoverlapping(from, to, region.size as usize);
        }
        fill_frame(child, &raw const (*slot).input);
        (*child).slot = slot;
        (*child).ticks_left = (*slot).ticks;
        (&raw mut (*child).phase).write_volatile(Phase::Guest);
        entry::enter(&raw mut (*child).entry);
        (*slot).change_count = 0;
        for i in 0..count {
            let region = (&raw const (*child).mapped).cast::<RegionEntry>().wrapping_add(i).read();
            if region.protection & libc::PROT_WRITE as u64 != 0 {
                collect_changes(child, slot, region);
            }
        }
    }
}

/// Maps the regions of the case, if they differ from those of the last one.
///
/// # Safety
/// As [`execute`].
unsafe fn map(child: *mut Child, slot: *mut Slot) -> bool {
    // SAFETY: as promised; counts are bounded by the arrays' lengths. The parent keeps regions inside the areas.
    unsafe {
        let wanted = (&raw const (*slot).regions).cast::<RegionEntry>();
        let mapped = (&raw mut (*child).mapped).cast::<RegionEntry>();
        let count = ((*slot).region_count as usize).min(MAX_REGIONS);
        let mut same = count == (*child).mapped_count;
        for i in 0..count {
            let (new, old) = (wanted.wrapping_add(i).read(), mapped.wrapping_add(i).read());
            same &= RegionEntry { initial: new.initial, ..old } == new;
        }
        if same {
            copy_nonoverlapping(wanted, mapped, count);
            return true;
        }
        for i in 0..(*child).mapped_count {
            let old = mapped.wrapping_add(i).read();
            call(libc::SYS_munmap, old.address as usize, old.size as usize, 0, 0);
        }
        (*child).mapped_count = 0;
        for i in 0..count {
            let new = wanted.wrapping_add(i).read();
            let result = entry::syscall(
                libc::SYS_mmap,
                new.address as usize,
                new.size as usize,
                new.protection as usize,
                (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE) as usize,
                (*child).file as usize,
                (*child).live_offset.wrapping_add(new.live as usize),
            );
            if result != new.address as isize {
                (*slot).signal = if result < 0 { -result as u32 } else { libc::EEXIST as u32 };
                (*slot).trap = i as u64;
                (*slot).status = Status::Unmappable as u32;
                return false;
            }
            mapped.wrapping_add(i).write(new);
            (*child).mapped_count = i + 1;
        }
        true
    }
}

/// Builds the frame that `rt_sigreturn` loads.
///
/// # Safety
/// As [`execute`]; `input` is valid.
unsafe fn fill_frame(child: *mut Child, input: *const super::shared::RegisterBlock) {
    // SAFETY: `template_len` was bounded by the size of both areas; the rest are fields of valid structures.
    unsafe {
        let words = (&raw mut (*child).ucontext).cast::<u64>();
        copy_nonoverlapping((&raw const (*child).template).cast::<u64>(), words, UCONTEXT_WORDS);
        let gprs = (&raw const (*input).gprs).cast::<u64>();
        for (i, word) in entry::GPR_WORDS.into_iter().enumerate() {
            words.wrapping_add(word).write(gprs.wrapping_add(i).read());
        }
        let selectors = (&raw const (*input).selectors).cast::<u16>();
        let (cs, ss) = (selectors.wrapping_add(1).read(), selectors.wrapping_add(2).read());
        words.wrapping_add(entry::RIP_WORD).write((*input).rip);
        words.wrapping_add(entry::RFLAGS_WORD).write((*input).rflags);
        words.wrapping_add(entry::SELECTORS_WORD).write(u64::from(cs) | u64::from(ss) << 48);
        words.wrapping_add(entry::MASK_WORD).write(0);

        let area = (&raw mut (*child).xsave).cast::<u8>();
        let given = (&raw const (*input).xsave).cast::<u8>();
        copy_nonoverlapping((&raw const (*child).template_xsave).cast::<u8>(), area, (*child).template_len);
        copy_nonoverlapping(given, area, SW_BYTES);
        area.wrapping_add(XSTATE_BV).cast::<u64>().write((*child).features & 7);
        if (*child).features & 4 != 0 {
            copy_nonoverlapping(given.wrapping_add(YMM_HIGH), area.wrapping_add(YMM_HIGH), XSAVE_BYTES - YMM_HIGH);
        }
        words.wrapping_add(entry::FPSTATE_WORD).write(area as u64);

        let state = &raw mut (*child).entry;
        (*state).ucontext = words as u64;
        (*state).fs_base = (*input).fs_base;
        (*state).gs_base = (*input).gs_base;
        (*state).flags = (*input).rflags & NOT_IN_FRAME | Registers::FIXED_FLAGS;
        (*state).data_selector = u64::from(selectors.wrapping_add(3).read());
    }
}

/// NT and ID: flags that `rt_sigreturn` does not take from the frame.
const NOT_IN_FRAME: u64 = 1 << 14 | 1 << 21;

/// Lists the words of a region that differ from its initial contents.
///
/// # Safety
/// As [`execute`]; `region` is mapped.
unsafe fn collect_changes(child: *mut Child, slot: *mut Slot, region: RegionEntry) {
    // SAFETY: both areas hold `size` bytes, a multiple of a page, at these offsets; `changes` is written in bounds.
    unsafe {
        let before = (*child).contents.wrapping_add(region.initial as usize).cast::<u64>();
        let after = (*child).live.wrapping_add(region.live as usize).cast::<u64>();
        let changes = (&raw mut (*slot).changes).cast::<Change>();
        let words = region.size as usize / 8;
        let mut count = (*slot).change_count as usize;
        let mut at = 0;
        while at < words {
            let mut differing = 0;
            for i in at..at + 8 {
                differing |= before.wrapping_add(i).read() ^ after.wrapping_add(i).read();
            }
            if differing != 0 {
                for i in at..at + 8 {
                    let value = after.wrapping_add(i).read();
                    if before.wrapping_add(i).read() != value {
                        if count < MAX_CHANGES {
                            changes.wrapping_add(count).write(Change { address: region.address + i as u64 * 8, value });
                        }
                        count += 1;
                    }
                }
            }
            at += 8;
        }
        (*slot).change_count = count as u64;
    }
}

/// The signal handler, entered through [`entry`].
///
/// # Safety
/// Called by the kernel, with `words` the `ucontext` of the interrupted code.
pub(super) unsafe extern "C" fn on_signal(signal: i32, _info: *const u8, words: *const u64) {
    let child = CHILD.load(Ordering::Relaxed);
    // SAFETY: the handler is installed after CHILD is set, and the kernel passes a complete frame.
    unsafe {
        match (&raw const (*child).phase).read_volatile() {
            Phase::Own if signal == libc::SIGPROF => {}
            Phase::Own => exit(OWN_FAULT),
            Phase::Template => take_template(child, words),
            Phase::Guest => {
                if signal == libc::SIGPROF && (*child).ticks_left > 0 {
                    (*child).ticks_left -= 1;
                    return;
                }
                capture((*child).slot, signal, words);
                (&raw mut (*child).phase).write_volatile(Phase::Own);
                entry::resume(&raw mut (*child).entry);
            }
        }
    }
}

/// Keeps the frame of a signal as the model for those that [`fill_frame`] builds.
///
/// # Safety
/// As [`on_signal`]; `child` is valid.
unsafe fn take_template(child: *mut Child, words: *const u64) {
    // SAFETY: the kernel's frame is complete and says how long its XSAVE area is.
    unsafe {
        copy_nonoverlapping(words, (&raw mut (*child).template).cast::<u64>(), UCONTEXT_WORDS);
        let area = words.wrapping_add(entry::FPSTATE_WORD).read() as *const u8;
        let len = area.wrapping_add(SW_BYTES + 4).cast::<u32>().read() as usize;
        if (XSTATE_BV + 64..=FRAME_XSAVE).contains(&len) {
            copy_nonoverlapping(area, (&raw mut (*child).template_xsave).cast::<u8>(), len);
            (*child).template_len = len;
            (*child).features = area.wrapping_add(SW_BYTES + 8).cast::<u64>().read();
        }
    }
}

/// Stores the registers of the interrupted code.
///
/// # Safety
/// As [`on_signal`]; `slot` is valid.
unsafe fn capture(slot: *mut Slot, signal: i32, words: *const u64) {
    // SAFETY: reading the segment registers has no other effect, and the engine requires FSGSBASE; the frame's XSAVE
    // area holds at least the legacy region and the header, and the AVX component if its header says so.
    unsafe {
        let out = &raw mut (*slot).output;
        let word = |i: usize| words.wrapping_add(i).read();
        let (fs_base, gs_base): (u64, u64);
        let (es, ds, fs, gs): (u16, u16, u16, u16);
        asm!("rdfsbase {}", out(reg) fs_base, options(nomem, nostack, preserves_flags));
        asm!("rdgsbase {}", out(reg) gs_base, options(nomem, nostack, preserves_flags));
        asm!("mov {:x}, es", out(reg) es, options(nomem, nostack, preserves_flags));
        asm!("mov {:x}, ds", out(reg) ds, options(nomem, nostack, preserves_flags));
        asm!("mov {:x}, fs", out(reg) fs, options(nomem, nostack, preserves_flags));
        asm!("mov {:x}, gs", out(reg) gs, options(nomem, nostack, preserves_flags));
        let packed = word(entry::SELECTORS_WORD);
        (*out).selectors = [es, packed as u16, (packed >> 48) as u16, ds, fs, gs];
        (*out).fs_base = fs_base;
        (*out).gs_base = gs_base;
        let gprs = (&raw mut (*out).gprs).cast::<u64>();
        for (i, at) in entry::GPR_WORDS.into_iter().enumerate() {
            gprs.wrapping_add(i).write(word(at));
        }
        (*out).rip = word(entry::RIP_WORD);
        (*out).rflags = word(entry::RFLAGS_WORD);
        let area = word(entry::FPSTATE_WORD) as *const u8;
        let size = area.wrapping_add(SW_BYTES + 4).cast::<u32>().read() as usize;
        copy_nonoverlapping(area, (&raw mut (*out).xsave).cast::<u8>(), size.min(XSAVE_BYTES));
        (*slot).signal = signal as u32;
        (*slot).trap = word(entry::TRAP_WORD);
        (*slot).error = word(entry::ERROR_WORD);
        (*slot).cr2 = word(entry::CR2_WORD);
        let refused = (*out).rip == entry::entered() as u64;
        (*slot).status = if refused { Status::Refused } else { Status::Done } as u32;
    }
}
