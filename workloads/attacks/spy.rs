//! Process 2 reaches for the memory of process 1: at the same virtual address, and behind the physical address that the
//! kernel tells it. Process 1 then looks whether its memory is as it left it.
#![no_std]
#![no_main]

#[path = "common/mod.rs"]
mod common;

use common::escaped;
use rt::syscall::{frame, getpid, processes, sched_yield};
use rt::{Checksum, PAGE_BYTES};

rt::program!(main, []);

/// Where both have a page.
const ADDRESS: usize = 0xab000;
/// Where the kernel maps all RAM.
const DIRECT: usize = 0xffff_8000_0000_0000;

fn main([]: [u64; 0]) {
    let page = rt::map_at::<u64>(ADDRESS, PAGE_BYTES / 8);
    if getpid() == 1 { victim(page) } else { spy(page) }
}

fn victim(page: &mut [u64]) {
    for (i, word) in page.iter_mut().enumerate() {
        *word = secret(i);
    }
    while processes() != Ok(1) {
        sched_yield();
    }
    let mut sum = Checksum::new();
    for (i, word) in page.iter_mut().enumerate() {
        // SAFETY: the pointer comes from a reference. Volatile: what matters is what memory holds.
        let word = unsafe { (&raw const *word).read_volatile() };
        if word != secret(i) {
            escaped(format_args!("process 1 finds {word:#x} in its word {i}"));
        }
        sum.add(word);
    }
    rt::finish(sum.value(), 0);
}

fn spy(page: &mut [u64]) {
    sched_yield();
    for word in page.iter_mut() {
        let at = &raw mut *word;
        // SAFETY: the pointer comes from a reference; volatile as above.
        unsafe {
            if at.read_volatile() != 0 {
                escaped(format_args!("process 2 reads what process 1 wrote at the same address"));
            }
            at.write_volatile(!0);
        }
    }
    // Its own frame; process 1's lies near it. Neither may be reached through the kernel's map.
    let own = frame(ADDRESS).unwrap_or(0) as usize;
    for back in 0..64_usize {
        let target = DIRECT + own.wrapping_sub(back * PAGE_BYTES);
        // SAFETY: it is not allowed, which is the point: the processor must refuse it.
        let word = unsafe { (target as *const u64).read_volatile() };
        escaped(format_args!("process 2 reads {word:#x} at {target:#x}"));
    }
}

fn secret(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
