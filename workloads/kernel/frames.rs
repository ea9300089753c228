//! Physical page frames.
//!
//! RAM arrives zeroed, and zeroing a page may cost 300 us here, so frames that were never used are handed out first;
//! only when they are gone are freed ones zeroed and used again.

use core::arch::asm;

use crate::global::Global;
use crate::paging::{PAGE, direct};
use crate::start_info::{Extent, StartInfo};

unsafe extern "C" {
    static _kernel_end: u8;
    /// Next frame that was never used, and the end of such frames; `traps.s` takes from here too.
    static mut fresh_frame: u64;
    static mut fresh_end: u64;
}

/// Head of the list of freed frames, each holding the address of the next; 0 ends it.
static FREED: Global<u64> = Global::new(0);

/// Find the largest gap in RAM that neither the kernel nor the loader uses.
pub fn init(boot: &StartInfo) {
    let kernel_end = (&raw const _kernel_end) as u64 - crate::paging::KERNEL_BASE;
    let Some(ram) = boot.ram_around(kernel_end - 1) else {
        crate::machine::panic("the memory map does not hold the kernel");
    };
    let mut best = Extent { start: 0, end: 0 };
    let mut start = kernel_end;
    loop {
        // The gap from `start` ends where the next used extent begins; the next gap starts where that one ends.
        let mut next = Extent { start: ram.end, end: ram.end };
        boot.each_extent(|used| {
            if used.end > start && used.start < next.start {
                next = used;
            }
        });
        let gap = Extent { start: round_up(start), end: next.start & !(PAGE - 1) };
        if gap.end > gap.start && gap.end - gap.start > best.end - best.start {
            best = gap;
        }
        if next.start >= ram.end {
            break;
        }
        start = next.end;
    }
    // SAFETY: boot is single-threaded, before any fault.
    unsafe {
        fresh_frame = best.start;
        fresh_end = best.end;
    }
}

const fn round_up(phys: u64) -> u64 {
    (phys + PAGE - 1) & !(PAGE - 1)
}

/// A zeroed frame, or `None` when RAM is used up.
pub fn allocate() -> Option<u64> {
    // SAFETY: one processor, interrupts off.
    unsafe {
        if fresh_frame < fresh_end {
            let frame = fresh_frame;
            fresh_frame += PAGE;
            return Some(frame);
        }
    }
    let frame = FREED.read();
    if frame == 0 {
        return None;
    }
    let page = direct(frame);
    // SAFETY: the frame is free, so nobody else uses it; its first word is the link.
    unsafe {
        FREED.write(*page.cast::<u64>());
        asm!("rep stosq", inout("rdi") page => _, inout("rcx") PAGE / 8 => _, in("rax") 0u64, options(nostack));
    }
    Some(frame)
}

/// A zeroed frame for the kernel's own tables, without which the machine cannot go on.
pub fn allocate_table() -> u64 {
    match allocate() {
        Some(frame) => frame,
        None => crate::machine::panic("out of memory for kernel tables"),
    }
}

/// Neighbouring frames that were never used: as many as that, at boot.
pub fn allocate_neighbours(count: u64) -> u64 {
    // SAFETY: one processor, interrupts off.
    unsafe {
        if fresh_end - fresh_frame < count * PAGE {
            crate::machine::panic("out of memory for stacks");
        }
        let first = fresh_frame;
        fresh_frame += count * PAGE;
        first
    }
}

/// So many bytes that were never used, aligned: from the end of RAM.
#[cfg(micro)]
pub fn allocate_large(bytes: u64, alignment: u64) -> Option<u64> {
    // SAFETY: one processor, interrupts off.
    unsafe {
        let start = fresh_end.checked_sub(bytes)? & !(alignment - 1);
        if start < fresh_frame {
            return None;
        }
        fresh_end = start;
        Some(start)
    }
}

/// Give a frame back.
///
/// # Safety
/// No mapping of the frame is left.
pub unsafe fn free(frame: u64) {
    // SAFETY: the frame is unused now, so its first word may hold the link.
    unsafe { *direct(frame).cast::<u64>() = FREED.read() };
    FREED.write(frame);
}
