//! System calls: Linux's numbers, arguments and error codes (`docs/guest-contract.md` lists them).
//!
//! `getpid` and `sched_yield` never come here: `traps.s` serves them.

use crate::clock::{self, Clock, NS_PER_S};
use crate::fault::{forget_window, user_range};
use crate::global::Global;
use crate::paging::PAGE;
use crate::process::{self, Process};
use crate::region::{Region, page_bits};
use crate::{console, machine, names, timer};

const EBADF: u64 = 9;
const ENOMEM: u64 = 12;
const EPERM: u64 = 1;
const EFAULT: u64 = 14;
const EEXIST: u64 = 17;
const EINVAL: u64 = 22;
const ENOSYS: u64 = 38;

/// Regions chosen by `mmap` begin here.
const MMAP_BASE: u64 = 0x7000_0000_0000;
/// And end below this.
const MMAP_LIMIT: u64 = 0x7f00_0000_0000;
/// `MAP_FIXED` may go from here to `USER_TOP`.
const USER_BOTTOM: u64 = 0x1000;
const USER_TOP: u64 = 0x7fff_ffff_f000;
const SCRATCH_PORT: u64 = 0x80;

/// One bit for each call number below 512 that has been reported as unknown.
static REPORTED: Global<[u64; 8]> = Global::new([0; 8]);

/// The arguments, as `traps.s` pushes them.
#[repr(C)]
struct Arguments {
    a0: u64,
    a1: u64,
    a2: u64,
    a3: u64,
    a4: u64,
    a5: u64,
}

type Answer = Result<u64, u64>;

#[unsafe(no_mangle)]
extern "C" fn system_call(number: u64, a: &Arguments) -> u64 {
    // SAFETY: a system call comes from the running process, which only this call uses now.
    let process = unsafe { &mut *process::running() };
    let answer = match number {
        0 => read(a.a0),
        1 => write(process, a.a0, a.a1, a.a2),
        9 => mmap(process, a),
        10 => mprotect(process, a.a0, a.a1, a.a2),
        11 => munmap(process, a.a0, a.a1),
        12 => Ok(brk(process, a.a0)),
        20 => writev(process, a.a0, a.a1, a.a2),
        35 => nanosleep(process, Clock::Monotonic, false, a.a0),
        60 | 231 => process::exit(a.a0 as u8),
        158 => arch_prctl(process, a.a0, a.a1),
        173 => ioperm(process, a),
        186 | 218 => Ok(u64::from(process.pid())),
        228 => clock_gettime(process, a.a0, a.a1),
        230 => clock_nanosleep(process, a),
        5000 => process.space().physical(a.a0).ok_or(EFAULT),
        5001 => Ok(u64::from(process::living())),
        #[cfg(micro)]
        5100..=5199 => crate::micro::call(process, number, a.a0, a.a1),
        _ => unknown(number),
    };
    match answer {
        Ok(value) => value,
        Err(error) => error.wrapping_neg(),
    }
}

fn read(descriptor: u64) -> Answer {
    if descriptor == 0 { Ok(0) } else { Err(EBADF) }
}

fn write(process: &Process, descriptor: u64, start: u64, len: u64) -> Answer {
    if !(1..=3).contains(&descriptor) {
        return Err(EBADF);
    }
    if !user_range(process, start, len, false) {
        return Err(EFAULT);
    }
    let bytes = start as *const u8;
    // SAFETY: ring 3 may read the range, and a page that is missing is demand-zero.
    unsafe {
        if descriptor != 3 {
            console::bytes(bytes, len as usize);
            return Ok(len);
        }
        let mut index = 0;
        while index < len as usize {
            if *bytes.add(index) != b'B' && *bytes.add(index) != b'E' {
                return Err(EINVAL);
            }
            index += 1;
        }
        index = 0;
        while index < len as usize {
            machine::marker(*bytes.add(index));
            index += 1;
        }
    }
    Ok(len)
}

fn writev(process: &Process, descriptor: u64, vector: u64, count: u64) -> Answer {
    if count > 1024 {
        return Err(EINVAL);
    }
    if !user_range(process, vector, count * 16, false) {
        return Err(EFAULT);
    }
    let mut total = 0;
    let mut at = vector as *const u64;
    let mut left = count;
    while left > 0 {
        // SAFETY: ring 3 may read the vector.
        let (start, len) = unsafe { (at.read_unaligned(), at.add(1).read_unaligned()) };
        match write(process, descriptor, start, len) {
            Ok(written) => total += written,
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
        // SAFETY: as above.
        at = unsafe { at.add(2) };
        left -= 1;
    }
    Ok(total)
}

/// `[start, start + len)` in whole pages within user space.
fn pages(start: u64, len: u64) -> Result<(u64, u64), u64> {
    if start % PAGE != 0 || len == 0 || start < USER_BOTTOM || start >= USER_TOP || len > USER_TOP - start {
        return Err(EINVAL);
    }
    Ok((start, (start + len + PAGE - 1) & !(PAGE - 1)))
}

fn mmap(process: &mut Process, a: &Arguments) -> Answer {
    const PRIVATE: u64 = 2;
    const FIXED: u64 = 0x10;
    const ANONYMOUS: u64 = 0x20;
    const FIXED_NOREPLACE: u64 = 0x10_0000;
    let (len, protection, flags) = (a.a1, a.a2, a.a3);
    if flags & ANONYMOUS == 0 {
        return Err(EBADF); // there are no files
    }
    if flags & 3 != PRIVATE || protection > 7 {
        return Err(EINVAL);
    }
    if len == 0 || len > MMAP_LIMIT - MMAP_BASE {
        return Err(if len == 0 { EINVAL } else { ENOMEM });
    }
    if !process.regions.has_room() {
        return Err(ENOMEM);
    }
    let (start, end) = if flags & (FIXED | FIXED_NOREPLACE) != 0 {
        let (start, end) = pages(a.a0, len)?;
        if flags & FIXED_NOREPLACE != 0 && !process.regions.is_free(start, end) {
            return Err(EEXIST);
        }
        release(process, start, end);
        (start, end)
    } else {
        let len = (len + PAGE - 1) & !(PAGE - 1);
        let start = process.regions.free_place(MMAP_BASE, len, MMAP_LIMIT).ok_or(ENOMEM)?;
        (start, start + len)
    };
    process.regions.add(Region { start, end, protection });
    Ok(start)
}

fn munmap(process: &mut Process, start: u64, len: u64) -> Answer {
    let (start, end) = pages(start, len)?;
    if !process.regions.has_room() {
        return Err(ENOMEM);
    }
    release(process, start, end);
    Ok(0)
}

/// Unmap whatever is in `[start, end)`.
fn release(process: &mut Process, start: u64, end: u64) {
    forget_window();
    process.space().unmap(start, end);
    process.regions.cut(start, end);
}

fn mprotect(process: &mut Process, start: u64, len: u64, protection: u64) -> Answer {
    if len == 0 {
        return Ok(0);
    }
    let (start, end) = pages(start, len)?;
    if protection > 7 {
        return Err(EINVAL);
    }
    if !process.regions.covers(start, end) || !process.regions.has_room() {
        return Err(ENOMEM);
    }
    forget_window();
    process.space().reprotect(start, end, page_bits(protection));
    process.regions.cut(start, end);
    process.regions.add(Region { start, end, protection });
    Ok(0)
}

/// Returns the end of the heap, moved to `end` if that is possible.
fn brk(process: &mut Process, end: u64) -> u64 {
    const HEAP: u64 = crate::region::READ | crate::region::WRITABLE;
    let old = process.heap_end;
    if end < process.heap_start || end > MMAP_BASE {
        return old;
    }
    let (from, to) = ((old + PAGE - 1) & !(PAGE - 1), (end + PAGE - 1) & !(PAGE - 1));
    if to > from {
        let region = Region { start: from, end: to, protection: HEAP };
        if !process.regions.is_free(from, to) || !process.regions.has_room() || !process.regions.add(region) {
            return old;
        }
        forget_window();
    } else if to < from {
        if !process.regions.has_room() {
            return old;
        }
        release(process, to, from);
    }
    process.heap_end = end;
    end
}

fn arch_prctl(process: &mut Process, code: u64, address: u64) -> Answer {
    const ARCH_SET_FS: u64 = 0x1002;
    const ARCH_GET_FS: u64 = 0x1003;
    match code {
        ARCH_SET_FS if address >= USER_TOP => Err(EPERM),
        ARCH_SET_FS => {
            process.set_fs_base(address);
            Ok(0)
        }
        ARCH_GET_FS => {
            let base = process.fs_base();
            store(process, address, [base])?;
            Ok(0)
        }
        _ => Err(EINVAL),
    }
}

fn ioperm(process: &mut Process, a: &Arguments) -> Answer {
    if a.a0 != SCRATCH_PORT || a.a1 != 1 {
        return Err(EPERM);
    }
    process.open_scratch_port(a.a2 != 0);
    Ok(0)
}

/// Put words where ring 3 may write them.
fn store<const N: usize>(process: &Process, address: u64, words: [u64; N]) -> Result<(), u64> {
    if !user_range(process, address, 8 * N as u64, true) {
        return Err(EFAULT);
    }
    // SAFETY: ring 3 may write there, and a page that is missing is demand-zero.
    unsafe { (address as *mut [u64; N]).write_unaligned(words) };
    Ok(())
}

/// Words that ring 3 may read.
fn load<const N: usize>(process: &Process, address: u64) -> Result<[u64; N], u64> {
    if !user_range(process, address, 8 * N as u64, false) {
        return Err(EFAULT);
    }
    // SAFETY: ring 3 may read there, and a page that is missing is demand-zero.
    Ok(unsafe { (address as *const [u64; N]).read_unaligned() })
}

fn clock_gettime(process: &Process, number: u64, to: u64) -> Answer {
    let clock = Clock::of(number).filter(|_| clock::is_known()).ok_or(EINVAL)?;
    let ns = clock::read(clock);
    store(process, to, [ns / NS_PER_S, ns % NS_PER_S])?;
    Ok(0)
}

fn clock_nanosleep(process: &Process, a: &Arguments) -> Answer {
    const ABSOLUTE: u64 = 1; // TIMER_ABSTIME
    let clock = Clock::of(a.a0).ok_or(EINVAL)?;
    nanosleep(process, clock, a.a1 & ABSOLUTE != 0, a.a2)
}

/// Sleep for, or until, the time at `from`. Nothing interrupts a sleep, so what is left of it is never told.
fn nanosleep(process: &Process, clock: Clock, absolute: bool, from: u64) -> Answer {
    let [seconds, ns] = load(process, from)?;
    if seconds > i64::MAX as u64 || ns >= NS_PER_S || !clock::is_known() {
        return Err(EINVAL);
    }
    let time = seconds.saturating_mul(NS_PER_S).saturating_add(ns);
    let left = if absolute { time.saturating_sub(clock::read(clock)) } else { time };
    if left != 0 {
        timer::sleep_until(clock::counter_after(left));
    }
    Ok(0)
}

fn unknown(number: u64) -> Answer {
    let reported = REPORTED.get().cast::<u64>();
    if number < 512 {
        // SAFETY: the index is below 8.
        unsafe {
            let word = reported.add(number as usize / 64);
            let bit = 1 << (number % 64);
            if *word & bit != 0 {
                return Err(ENOSYS);
            }
            *word |= bit;
        }
        console::text("kernel: unknown system call ");
        match names::of(number) {
            Some(name) => console::text(name),
            None => console::decimal(number),
        }
        console::text("\n");
    }
    Err(ENOSYS)
}
