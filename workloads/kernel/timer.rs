//! The timer: ticks that take the processor from a process, and the sleep that ends with one.
//!
//! Channel 0 of the 8254 ticks `hz` times a second through line 0 of the 8259. What time it is says the time-stamp
//! counter; so ticks that are lost, because the host was busy, make no clock wrong.

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use crate::global::Global;
use crate::machine::{self, out};
use crate::paging::direct;
use crate::process::{self, Process};

/// The 8254's clock, Hz.
const CLOCK: u64 = 1_193_182;
/// Its divisor has 16 bits, and KVM's own timer serves no more than 5000 ticks a second.
const SLOWEST: u64 = 19;
const FASTEST: u64 = 5000;
/// The vector of line 0; `traps.s` knows it.
const FIRST_VECTOR: u8 = 32;
/// Vectors that the controllers, and the local APIC, give when a request is gone.
const SPURIOUS: [u64; 3] = [FIRST_VECTOR as u64 + 7, FIRST_VECTOR as u64 + 15, APIC_SPURIOUS as u64];
const APIC_SPURIOUS: u32 = 63;
/// The local APIC's registers.
const APIC: u64 = 0xfee0_0000;

/// Whether the timer ticks.
static TICKING: Global<bool> = Global::new(false);

unsafe extern "C" {
    static mut sleeping: *mut Process;
    static mut next_wake: u64;
    static mut syscall_by_fault_branch: u8;
    static syscall_by_fault_timed: u8;
}

/// Make the timer tick from now on; programs run with interrupts enabled.
pub fn start(hz: u64) {
    if !(SLOWEST..=FASTEST).contains(&hz) {
        machine::panic("hz= takes 19 to 5000");
    }
    // ICW1 to ICW4: edges, two controllers, these vectors, automatic EOI; then all lines but that of the timer are masked.
    out(0x20, 0x11);
    out(0xa0, 0x11);
    out(0x21, FIRST_VECTOR);
    out(0xa1, FIRST_VECTOR + 8);
    out(0x21, 1 << 2);
    out(0xa1, 2);
    out(0x21, 3);
    out(0xa1, 3);
    out(0xa1, 0xff);
    out(0x21, 0xfe);
    // A local APIC, where there is one, must pass the controller's requests on: it is switched on (SVR), with LINT0 as the
    // controller's line (ExtINT). Without one, nothing answers there.
    // SAFETY: the kernel maps all of the lower 4 GiB, and no RAM is there.
    unsafe {
        direct(APIC + 0xf0).cast::<u32>().write_volatile(0x100 | APIC_SPURIOUS);
        direct(APIC + 0x350).cast::<u32>().write_volatile(0x700);
    }
    let divisor = (CLOCK + hz / 2) / hz;
    out(0x43, 0x34); // counter 0, both bytes, mode 2
    out(0x40, divisor as u8);
    out(0x40, (divisor >> 8) as u8);
    TICKING.write(true);
    // SAFETY: the kernel's text is mapped writable, and nothing has run this branch yet: two bytes of opcode, and the
    // distance from behind it.
    unsafe {
        let distance = (&raw mut syscall_by_fault_branch).add(2).cast::<i32>();
        let target = (&raw const syscall_by_fault_timed) as i64;
        distance.write_unaligned((target - distance.add(1) as i64) as i32);
    }
}

/// RFLAGS of a program that starts.
pub fn user_flags() -> u64 {
    if TICKING.read() { 0x202 } else { 0x2 }
}

/// Whether the vector is that of a request that was gone before the processor asked; it wants no answer.
pub fn is_spurious(vector: u64) -> bool {
    vector == SPURIOUS[0] || vector == SPURIOUS[1] || vector == SPURIOUS[2]
}

/// The time-stamp counter.
pub fn now() -> u64 {
    // SAFETY: reading the counter has no effect.
    unsafe { _rdtsc() }
}

/// The running process sleeps until the counter has reached `wake`. Without a timer it keeps its turn in the ring.
pub fn sleep_until(wake: u64) {
    let process = process::running();
    if !TICKING.read() {
        while now() < wake {
            process::yield_now();
        }
        return;
    }
    if now() >= wake {
        return;
    }
    // SAFETY: the process runs, so it is in the ring; it leaves it for the list of those that sleep, in the order of waking.
    unsafe {
        process::take_out(process);
        (*process).wake = wake;
        let mut link = &raw mut sleeping;
        while !(*link).is_null() && (**link).wake <= wake {
            link = &raw mut (**link).next;
        }
        (*process).next = *link;
        *link = process;
        next_wake = (*sleeping).wake;
    }
    let next = next_runnable();
    if next != process {
        process::switch(process, next);
    }
}

/// A process that can run, once there is one; the processor halts until then.
pub fn next_runnable() -> *mut Process {
    loop {
        let next = process::ring();
        if !next.is_null() {
            return next;
        }
        // SAFETY: STI holds interrupts off until HLT has begun, so no tick falls between them. The interrupt comes in ring 0,
        // where its handler does nothing.
        unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
        wake(now(), process::ring());
    }
}

/// Called by `timer.s`, in a process: those whose time has come take their turns right behind it.
#[unsafe(no_mangle)]
extern "C" fn wake_in_turn(now: u64) {
    wake(now, process::running());
}

/// Put those whose time has come back into the ring, behind the member `behind`.
fn wake(now: u64, mut behind: *mut Process) {
    // SAFETY: the list is consistent, and who is on it is not in the ring.
    unsafe {
        while !sleeping.is_null() && (*sleeping).wake <= now {
            let process = sleeping;
            sleeping = (*process).next;
            process::put_in(process, behind);
            behind = process;
        }
        if !sleeping.is_null() {
            next_wake = (*sleeping).wake;
        }
    }
}
