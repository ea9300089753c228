//! Ring 0's part of the micro-benchmarks (docs/micro-benchmarks.md); only the kernel that is built for them has it.
//!
//! The program prepares an event, and runs it inside its region of interest: so that holds one system call and the loop
//! of `micro/ring0.s`, no more. None of these calls checks its arguments against a hostile program: the
//! program is the micro-benchmarks' own, and what it could break is its own guest.

use core::arch::{asm, global_asm};

use crate::frames;
use crate::global::Global;
use crate::paging::{ACCESSED_DIRTY, PAGE, PRESENT, Space, USER, WRITE, direct};
use crate::process::Process;

#[path = "../src/event.rs"]
#[expect(dead_code, reason = "the names are for users")]
mod event;

use event::Event;

global_asm!(include_str!("../micro/common.s"), include_str!("../micro/ring0.s"));

const EINVAL: u64 = 22;
const ENOMEM: u64 = 12;

/// A physical address where there is neither RAM nor a device.
const NOWHERE: u64 = 0xd000_0000;
/// Where [`Map`] maps for ring 3: slot 192 of the root, which nothing else uses.
const WINDOW: u64 = 0x6000_0000_0000;
const LARGE_WINDOW: u64 = WINDOW + (1 << 30);
const LARGE_PAGE: u64 = 2 << 20;
/// Pages that are read after a switch of address spaces; slot 193 of the root, so that spaces may differ in it alone.
const SWITCHED: u64 = 0x6080_0000_0000;
const SWITCHED_PAGES: u64 = 8;
/// An address of the upper half that is not mapped.
const UNMAPPED: u64 = 0xffff_9000_0000_0000;

/// Times, and three operands.
type Routine = unsafe extern "C" fn(u64, u64, u64, u64);

/// What was prepared.
#[derive(Clone, Copy)]
struct Prepared {
    routine: Routine,
    operands: [u64; 3],
    /// The vector to catch meanwhile.
    vector: Option<u64>,
}

static PREPARED: Global<Option<Prepared>> = Global::new(None);
/// Offsets of the gates that are caught, in the order of [`CATCHABLE`].
static CAUGHT: Global<[u64; CATCHABLE.len()]> = Global::new([0; CATCHABLE.len()]);
/// Vectors that may be caught.
const CATCHABLE: [u64; 6] = [0, 3, 4, 6, 14, 32];
/// Room for a descriptor-table register.
static SCRATCH: Global<[u64; 2]> = Global::new([0; 2]);

macro_rules! routines {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(fn $name(times: u64, a: u64, b: u64, c: u64);)*
        }
    };
}

routines! {
    micro_loop micro_loop_move micro_loop_arm micro_loop_frame micro_loop_load micro_loop_loads micro_cpuid micro_rdtsc
    micro_sgdt micro_sidt micro_pushf micro_rdmsr micro_wrmsr micro_cr0 micro_cr3 micro_cr4 micro_cr8 micro_lgdt
    micro_lidt micro_swapgs micro_sti_cli micro_vmcall micro_vmmcall micro_port_out micro_port_in micro_mmio_write
    micro_mmio_read micro_iret micro_interrupt micro_breakpoint micro_divide micro_undefined micro_data_fault
    micro_fetch_fault micro_pte_modify micro_invlpg micro_tlb_evict micro_tlb_flush micro_switch micro_halt_wake
    micro_timer_latency
}

unsafe extern "C" {
    static micro_caught: u8;
    static micro_caught_page_fault: u8;
}

/// The calls of the micro-benchmark program, by number from 5100.
pub fn call(process: &mut Process, number: u64, a0: u64, a1: u64) -> Result<u64, u64> {
    match number {
        5100 => prepare(process, a0, a1),
        5101 => run(a0),
        5102 => catch(a0, a1 != 0),
        5103 => Ok(map_nowhere(process)),
        5104 => map_large(process, a0),
        _ => Err(EINVAL),
    }
}

/// Get ready for event `number`; `page` is a page of the program's that it has touched.
fn prepare(process: &Process, number: u64, page: u64) -> Result<u64, u64> {
    let event = Event::of(number).ok_or(EINVAL)?;
    let scratch = SCRATCH.get() as u64;
    let plain = |routine: Routine, a: u64| Prepared { routine, operands: [a, 0, 0], vector: None };
    let fault = |routine: Routine, vector: u64| Prepared { vector: Some(vector), ..plain(routine, UNMAPPED) };
    PREPARED.write(Some(match event {
        Event::Loop => plain(micro_loop, 0),
        Event::LoopMove => plain(micro_loop_move, 0),
        Event::LoopArm => plain(micro_loop_arm, 0),
        Event::LoopFrame => plain(micro_loop_frame, 0),
        Event::LoopLoad => plain(micro_loop_load, page),
        Event::LoopLoads => switch(process, micro_loop_loads, true),
        Event::Cpuid => plain(micro_cpuid, 0),
        Event::Rdtsc => plain(micro_rdtsc, 0),
        Event::Sgdt => plain(micro_sgdt, scratch),
        Event::Sidt => plain(micro_sidt, scratch),
        Event::Pushf => plain(micro_pushf, 0),
        Event::Rdmsr => plain(micro_rdmsr, 0),
        Event::Wrmsr => plain(micro_wrmsr, 0),
        Event::Cr0 => plain(micro_cr0, 0),
        Event::Cr3 => plain(micro_cr3, 0),
        Event::Cr4 => plain(micro_cr4, 0),
        Event::Cr8 => plain(micro_cr8, 0),
        Event::Lgdt => plain(micro_lgdt, scratch),
        Event::Lidt => plain(micro_lidt, scratch),
        Event::Swapgs => plain(micro_swapgs, 0),
        Event::StiCli => plain(micro_sti_cli, 0),
        Event::Hypercall => plain(if is_intel() { micro_vmcall } else { micro_vmmcall }, 0),
        Event::PortOut => plain(micro_port_out, 0),
        Event::PortIn => plain(micro_port_in, 0),
        Event::MmioWrite => plain(micro_mmio_write, direct(NOWHERE) as u64),
        Event::MmioRead => plain(micro_mmio_read, direct(NOWHERE) as u64),
        Event::Iret => plain(micro_iret, 0),
        Event::Interrupt => fault(micro_interrupt, 4),
        Event::Breakpoint => fault(micro_breakpoint, 3),
        Event::Divide => fault(micro_divide, 0),
        Event::Undefined => fault(micro_undefined, 6),
        Event::DataFault => fault(micro_data_fault, 14),
        Event::FetchFault => fault(micro_fetch_fault, 14),
        Event::PteModify => {
            let entry = process.space().entry(page).map_err(|_| EINVAL)?;
            Prepared { routine: micro_pte_modify, operands: [page, entry as u64, 0], vector: None }
        }
        Event::Invlpg => plain(micro_invlpg, page),
        Event::TlbEvict => plain(micro_tlb_evict, page),
        Event::TlbFlush => plain(micro_tlb_flush, page),
        Event::SwitchShared => switch(process, micro_switch, true),
        Event::SwitchPrivate => switch(process, micro_switch, false),
        Event::HaltWake => plain(micro_halt_wake, 0),
        Event::TimerLatency => Prepared { vector: Some(32), ..plain(micro_timer_latency, 0) },
        _ => return Err(EINVAL),
    }));
    Ok(0)
}

/// Do what was prepared so many times.
fn run(times: u64) -> Result<u64, u64> {
    let Prepared { routine, operands: [a, b, c], vector } = PREPARED.read().ok_or(EINVAL)?;
    if times == 0 {
        return Err(EINVAL);
    }
    if let Some(vector) = vector {
        catch(vector, true)?;
    }
    // SAFETY: the routines keep the registers of the C convention, and their operands are those that `prepare` chose.
    unsafe { routine(times, a, b, c) };
    if let Some(vector) = vector {
        catch(vector, false)?;
    }
    Ok(0)
}

/// Let the gate of a vector lead to a handler that goes on at R14, or where it led before.
fn catch(vector: u64, on: bool) -> Result<u64, u64> {
    let slot = CATCHABLE.iter().position(|&known| known == vector).ok_or(EINVAL)?;
    let handler = match vector {
        14 => (&raw const micro_caught_page_fault) as u64,
        _ => (&raw const micro_caught) as u64,
    };
    let scratch: *mut u8 = SCRATCH.get().cast();
    // SAFETY: SIDT writes ten bytes; the table behind is the kernel's, writable, and long enough for these vectors. Gates hold
    // the offset in the words 0 and 3 and the doubleword 2, whose value is the same for all of this kernel (AMD64
    // manual 2, 4.8.4).
    unsafe {
        asm!("sidt [{}]", in(reg) scratch, options(nostack, preserves_flags));
        let gate = (scratch.add(2).cast::<u64>().read_unaligned() + vector * 16) as *mut u16;
        let kept = CAUGHT.get().cast::<u64>().add(slot);
        let offset = if on {
            let old = u64::from(*gate) | u64::from(*gate.add(3)) << 16;
            if *kept == 0 {
                *kept = old;
            }
            handler
        } else {
            *kept
        };
        if offset != 0 {
            *gate = offset as u16;
            *gate.add(3) = (offset >> 16) as u16;
        }
    }
    Ok(0)
}

/// Two address spaces to switch between, which share the pages that are read, or do not.
fn switch(process: &Process, routine: Routine, shared: bool) -> Prepared {
    let bits = PRESENT | WRITE | USER | ACCESSED_DIRTY;
    let first = process.space();
    let second = Space { cr3: frames::allocate_table() };
    let mut va = SWITCHED;
    while va < SWITCHED + SWITCHED_PAGES * PAGE {
        first.map(va, frames::allocate_table() | bits);
        va += PAGE;
    }
    let (from, to): (*const u64, *mut u64) = (direct(first.cr3).cast(), direct(second.cr3).cast());
    let slot = (SWITCHED >> 39) as usize & 511;
    let mut index = 0;
    while index < 512 {
        // SAFETY: both are root tables; the second is ours and zero.
        unsafe {
            if *from.add(index) != 0 && (shared || index != slot) {
                *to.add(index) = *from.add(index);
            }
        }
        index += 1;
    }
    if !shared {
        va = SWITCHED;
        while va < SWITCHED + SWITCHED_PAGES * PAGE {
            second.map(va, frames::allocate_table() | bits);
            va += PAGE;
        }
    }
    Prepared { routine, operands: [SWITCHED, first.cr3, second.cr3], vector: None }
}

/// Map a page for ring 3 behind which there is nothing.
fn map_nowhere(process: &Process) -> u64 {
    process.space().map(WINDOW, NOWHERE | PRESENT | WRITE | USER | ACCESSED_DIRTY);
    WINDOW
}

/// Map so much zeroed memory for ring 3, in 2 MiB pages.
fn map_large(process: &Process, bytes: u64) -> Result<u64, u64> {
    const PAGE_SIZE: u64 = 0x80;
    if bytes == 0 || bytes % LARGE_PAGE != 0 || bytes > 1 << 30 {
        return Err(EINVAL);
    }
    let start = frames::allocate_large(bytes, LARGE_PAGE).ok_or(ENOMEM)?;
    let mut done = 0;
    while done < bytes {
        let va = LARGE_WINDOW + done;
        // SAFETY: the index is below 512, and the directory is this space's own.
        unsafe {
            *process.space().directory_for(va).add((va >> 21) as usize & 511) =
                (start + done) | PRESENT | WRITE | USER | ACCESSED_DIRTY | PAGE_SIZE;
        }
        done += LARGE_PAGE;
    }
    Ok(LARGE_WINDOW)
}

/// Which of the two hypercall instructions the processor has.
fn is_intel() -> bool {
    // SAFETY: every x86-64 processor has CPUID.
    let leaf = core::arch::x86_64::__cpuid(0);
    leaf.ebx == 0x756e_6547 // "Genu"
}
