//! Memory to read: chains of addresses, and large plain areas.

use rt::PAGE_BYTES;

use crate::calls;

/// Bytes of the area that is read at random: beyond most second-level caches and every TLB of 4 KiB pages.
pub(crate) const LARGE_BYTES: usize = 64 << 20;
/// The mask that keeps an offset within the area, on whole cache lines.
pub(crate) const LARGE_MASK: usize = LARGE_BYTES - 64;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a 2 MiB page.
const HUGE: usize = 2 << 20;

/// A word that holds its own address.
pub(crate) fn one_word() -> usize {
    let words = rt::map::<u64>(1);
    let at = words.as_ptr() as usize;
    words[0] = at as u64;
    at
}

/// A chain through one word on each of so many pages, in a random order that comes back to where it began. Each page uses
/// another cache line, so that the words themselves fit a second-level cache.
pub(crate) fn chain_over_pages(pages: usize) -> usize {
    let memory = rt::map::<u8>(pages * PAGE_BYTES);
    let base = memory.as_mut_ptr();
    let place = |page: usize| page * PAGE_BYTES + page % 64 * 64;
    let order = rt::map::<u64>(pages);
    order.iter_mut().zip(0..).for_each(|(slot, page)| *slot = page);
    // Sattolo's algorithm: a permutation of one cycle.
    let mut random = rt::Random::new(1);
    for i in (1..pages).rev() {
        order.swap(i, (random.bits() % i as u64) as usize);
    }
    for (page, &next) in order.iter().enumerate() {
        let next = base.wrapping_add(place(next as usize)) as u64;
        // SAFETY: the place is within the mapping, and aligned.
        unsafe { base.add(place(page)).cast::<u64>().write(next) };
    }
    base as usize
}

/// The large area in 4 KiB pages, each touched.
pub(crate) fn in_small_pages() -> usize {
    let memory = rt::map::<u8>(LARGE_BYTES);
    touch(memory.as_mut_ptr());
    memory.as_ptr() as usize
}

/// So many bytes in 4 KiB pages, each line touched: what fits a cache is in it.
pub(crate) fn in_lines(bytes: usize) -> usize {
    let memory = rt::map::<u8>(bytes);
    let base = memory.as_mut_ptr();
    for offset in (0..bytes).step_by(LINE) {
        // SAFETY: the area is mapped and writable, and holds nothing else.
        unsafe { base.add(offset).write_volatile(0) };
    }
    base as usize
}

/// The large area in 2 MiB pages: by the guest kernel, or by Linux, which may or may not have such pages.
pub(crate) fn in_large_pages() -> usize {
    if let Ok(at) = calls::map_large(LARGE_BYTES) {
        touch(at as *mut u8);
        return at;
    }
    let memory = match calls::map_code(LARGE_BYTES + HUGE) {
        Ok(at) => at.next_multiple_of(HUGE),
        Err(errno) => rt::fail(rt::EXIT_USAGE, format_args!("micro: no memory (error {})", errno.0)),
    };
    // Where it is refused the pages are small, and the time says so.
    let _ = calls::advise_large(memory, LARGE_BYTES);
    touch(memory as *mut u8);
    memory
}

fn touch(base: *mut u8) {
    for offset in (0..LARGE_BYTES).step_by(PAGE_BYTES) {
        // SAFETY: the area is mapped and writable, and holds nothing else.
        unsafe { base.add(offset).write_volatile(0) };
    }
}
