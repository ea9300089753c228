//! Exceptions: demand paging, and the end of those who asked for it.

use core::arch::asm;

use crate::paging::PAGE;
use crate::process::{self, Process};
use crate::region::{READ, WRITABLE, page_bits};
use crate::{console, frames, machine, timer};

/// What `traps.s` pushes, lowest address first.
#[repr(C)]
pub struct Frame {
    registers: [u64; 15],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// The order in which `traps.s` leaves them in memory.
static REGISTER_NAMES: [&str; 15] =
    ["r15", "r14", "r13", "r12", "r11", "r10", "r9 ", "r8 ", "rdi", "rsi", "rbp", "rdx", "rcx", "rbx", "rax"];
static VECTOR_NAMES: [&str; 20] = [
    "#DE",
    "#DB",
    "NMI",
    "#BP",
    "#OF",
    "#BR",
    "#UD",
    "#NM",
    "#DF",
    "vector 9",
    "#TS",
    "#NP",
    "#SS",
    "#GP",
    "#PF",
    "vector 15",
    "#MF",
    "#AC",
    "#MC",
    "#XM",
];

const PAGE_FAULT: u64 = 14;
const GENERAL_PROTECTION: u64 = 13;
/// Exit code of a process that gets no page: 128 + SIGKILL, as Linux's out-of-memory killer.
const OUT_OF_MEMORY: u8 = 137;

unsafe extern "C" {
    static sysret_instruction: u8;
    static iret_leave: u8;
    static marker_load: u8;
    static marker_fault: u8;
    static mut fault_window: u64;
    static mut fault_window_len: u64;
    static mut fault_table: u64;
    static mut fault_bits: u64;
}

/// Every exception but a system call and the common demand-zero fault comes here.
#[unsafe(no_mangle)]
extern "C" fn trap(frame: &mut Frame) {
    let from_user = frame.cs & 3 == 3;
    // A return to a non-canonical address faults in the kernel, on the way out; it is the process that is to blame.
    let leaving = frame.rip == (&raw const sysret_instruction) as u64 || frame.rip == (&raw const iret_leave) as u64;
    if frame.vector == PAGE_FAULT {
        let address = fault_address();
        if !process::running().is_null() && frame.error & 1 == 0 {
            // SAFETY: the running process is only used here.
            let process = unsafe { &mut *process::running() };
            if demand(process, address) {
                return;
            }
        }
        if frame.rip == (&raw const marker_load) as u64 {
            frame.rip = (&raw const marker_fault) as u64;
            return;
        }
    }
    if timer::is_spurious(frame.vector) {
        return;
    }
    let blame_process = from_user || (leaving && frame.vector == GENERAL_PROTECTION);
    if blame_process {
        console::text("process ");
        // SAFETY: ring 3 only runs as a process.
        console::decimal(u64::from(unsafe { (*process::running()).pid() }));
        console::text(": ");
    } else {
        console::text("kernel: ");
    }
    report(frame);
    if blame_process {
        process::exit(exit_code(frame.vector));
    }
    machine::panic("exception in the kernel");
}

fn fault_address() -> u64 {
    let address: u64;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) }
    address
}

/// Map a demand-zero page at `address` if its region allows that.
fn demand(process: &mut Process, address: u64) -> bool {
    let Some(region) = process.regions.find(address) else { return false };
    let bits = page_bits(region.protection);
    if bits == 0 {
        return false;
    }
    let table = process.space().table_for(address);
    // SAFETY: the index is below 512.
    let entry = unsafe { table.add((address >> 12) as usize & 511) };
    // SAFETY: as above.
    if unsafe { *entry } != 0 {
        return false;
    }
    let Some(frame) = frames::allocate() else {
        console::text("process ");
        console::decimal(u64::from(process.pid()));
        console::text(": out of memory\n");
        process::exit(OUT_OF_MEMORY);
    };
    // SAFETY: the entry is ours; the window is what page_fault in traps.s may serve alone: the part of this region
    // that this table covers.
    unsafe {
        *entry = frame | bits;
        let start = region.start.max(address & !(512 * PAGE - 1));
        let end = region.end.min((address | (512 * PAGE - 1)) + 1);
        fault_window = start;
        fault_window_len = end - start;
        fault_table = table as u64;
        fault_bits = bits;
    }
    true
}

/// Forget the window: a region has changed.
pub fn forget_window() {
    // SAFETY: one processor, interrupts off.
    unsafe { fault_window_len = 0 };
}

/// Whether ring 3 may read (or write) all of `[start, start + len)`.
pub fn user_range(process: &Process, start: u64, len: u64, write: bool) -> bool {
    let Some(end) = start.checked_add(len) else { return false };
    len == 0 || process.regions.allows(start, end, if write { WRITABLE } else { READ })
}

/// 128 + the signal that Linux sends for the exception.
fn exit_code(vector: u64) -> u8 {
    128 + match vector {
        0 | 16 | 19 => 8, // SIGFPE
        1 | 3 => 5,       // SIGTRAP
        6 => 4,           // SIGILL
        17 => 7,          // SIGBUS
        _ => 11,          // SIGSEGV
    }
}

fn report(frame: &Frame) {
    if frame.vector < VECTOR_NAMES.len() as u64 {
        // SAFETY: below the length.
        console::text(unsafe { *VECTOR_NAMES.as_ptr().add(frame.vector as usize) });
    } else {
        console::text("vector ");
        console::decimal(frame.vector);
    }
    console::text(" at rip=");
    console::hex(frame.rip);
    console::text(" error=");
    console::hex(frame.error);
    if frame.vector == PAGE_FAULT {
        console::text(" address=");
        console::hex(fault_address());
    }
    console::text("\n  cs=");
    console::hex(frame.cs);
    console::text(" rflags=");
    console::hex(frame.rflags);
    console::text(" rsp=");
    console::hex(frame.rsp);
    console::text(" ss=");
    console::hex(frame.ss);
    let mut index = 15;
    while index > 0 {
        index -= 1;
        console::text(if index % 4 == 2 { "\n  " } else { " " });
        // SAFETY: below both lengths.
        unsafe {
            console::text(*REGISTER_NAMES.as_ptr().add(index));
            console::text("=");
            console::hex(*frame.registers.as_ptr().add(index));
        }
    }
    console::text("\n");
}
