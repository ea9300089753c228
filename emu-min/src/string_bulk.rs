//! Many elements of a repeated string instruction at once: within one page of RAM for each operand, as far as nothing can
//! be noticed between the elements. Whatever this leaves, the element loop does.

use crate::alu::{Binary, Cmp};
use crate::core::{Core, RAX};
use crate::int::Int;
use crate::paging::Access;
use crate::rights::USER_ALIGNED;

/// What a run of elements works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Linear addresses of the first element, which count where the instruction uses them.
    pub(crate) si: u64,
    pub(crate) di: u64,
    /// Most elements to do.
    pub(crate) count: u64,
    /// Addresses descend (DF is set).
    pub(crate) down: bool,
    /// The repetition goes on while elements differ.
    pub(crate) while_different: bool,
}

impl Run {
    /// Elements that lie whole within the page of the first, which starts at `linear`.
    fn in_page<T: Int>(self, linear: u64) -> u64 {
        let offset = linear & 0xfff;
        match (self.down, offset + T::SIZE <= 0x1000) {
            (_, false) => 0,
            (false, true) => (0x1000 - offset) / T::SIZE,
            (true, true) => offset / T::SIZE + 1,
        }
    }

    /// Lowest address of `count` elements from `linear` on.
    fn lowest<T: Int>(self, linear: u64, count: u64) -> u64 {
        if self.down { linear.wrapping_sub((count - 1) * T::SIZE) } else { linear }
    }

    /// Offset of element `i` of `count` from the lowest address.
    #[inline(always)]
    fn offset<T: Int>(self, i: u64, count: u64) -> usize {
        ((if self.down { count - 1 - i } else { i }) * T::SIZE) as usize
    }
}

impl Core {
    /// Host address of `bytes` bytes of RAM within one page, if accesses to them need no care.
    fn bulk_address(&mut self, linear: u64, bytes: u64, access: Access) -> Option<*mut u8> {
        let user = self.user;
        if user == USER_ALIGNED {
            return None;
        }
        let write = access == Access::Write;
        if self.tlb_enabled {
            return if write {
                self.tlb.write(linear, bytes, user).or_else(|| self.tlb.recall_write(linear, bytes, user))
            } else {
                self.tlb.read(linear, bytes, user).or_else(|| self.tlb.recall_read(linear, bytes, user))
            };
        }
        if self.is_watched(linear) {
            return None;
        }
        // The first element is certain to be accessed; if this faults, it will fault again.
        let gpa = self.translate(linear, access, user).ok()?.gpa;
        let usable = self.ram.contains(gpa & !0xfff, 0x1000) && !(write && self.code.is_code_page(gpa));
        usable.then(|| self.ram.host(gpa))
    }

    /// MOVS: how many elements were copied.
    pub(crate) fn bulk_copy<T: Int>(&mut self, run: Run) -> u64 {
        let mut count = run.count.min(run.in_page::<T>(run.si)).min(run.in_page::<T>(run.di));
        if count < 2 {
            return 0;
        }
        let bytes = count * T::SIZE;
        let Some(from) = self.bulk_address(run.lowest::<T>(run.si, count), bytes, Access::Read) else { return 0 };
        let Some(to) = self.bulk_address(run.lowest::<T>(run.di, count), bytes, Access::Write) else { return 0 };
        // How far the destination is ahead, in the direction of the copy: elements beyond that read what was written.
        let ahead = if run.down {
            (from as usize).wrapping_sub(to as usize)
        } else {
            (to as usize).wrapping_sub(from as usize)
        } as u64;
        if ahead == 0 || ahead >= bytes {
            // SAFETY: both addresses have `bytes` bytes of RAM; `copy` allows the ranges to overlap.
            unsafe { std::ptr::copy(from, to, bytes as usize) };
        } else if ahead < T::SIZE {
            return 0; // an element overlaps itself
        } else if run.down {
            count = ahead / T::SIZE;
            let skipped = (bytes - count * T::SIZE) as usize;
            // SAFETY: these are the last `count` elements of the same ranges.
            unsafe { std::ptr::copy(from.wrapping_add(skipped), to.wrapping_add(skipped), (count * T::SIZE) as usize) };
        } else {
            repeat_pattern(from, to, bytes as usize);
        }
        count
    }

    /// STOS: how many elements were filled.
    pub(crate) fn bulk_fill<T: Int>(&mut self, run: Run) -> u64 {
        let count = run.count.min(run.in_page::<T>(run.di));
        if count < 2 {
            return 0;
        }
        let bytes = count * T::SIZE;
        let Some(to) = self.bulk_address(run.lowest::<T>(run.di, count), bytes, Access::Write) else { return 0 };
        let value = T::get(self, RAX as u8);
        if T::SIZE == 1 {
            // SAFETY: `to` has `bytes` bytes of RAM.
            unsafe { std::ptr::write_bytes(to, value as u8, bytes as usize) };
            return count;
        }
        for i in 0..count {
            // SAFETY: `to` has `count` elements of RAM.
            unsafe { T::write(to.wrapping_add((i * T::SIZE) as usize), value) };
        }
        count
    }

    /// SCAS: how many elements were passed over. The flags are those of the last of them.
    pub(crate) fn bulk_scan<T: Int>(&mut self, run: Run) -> u64 {
        let count = run.count.min(run.in_page::<T>(run.di));
        if count < 2 {
            return 0;
        }
        let bytes = count * T::SIZE;
        let Some(at) = self.bulk_address(run.lowest::<T>(run.di, count), bytes, Access::Read) else { return 0 };
        let wanted = T::get(self, RAX as u8);
        // SAFETY: `at` has `count` elements of RAM, and `offset` leads to one of them.
        let read = |i: u64| unsafe { T::read(at.wrapping_add(run.offset::<T>(i, count))) };
        let passed = if T::SIZE == 1 && run.while_different && !run.down {
            // SAFETY: `at` has `bytes` bytes of RAM.
            let found = unsafe { libc::memchr(at.cast(), wanted as i32, bytes as usize) };
            if found.is_null() { count } else { (found as usize - at as usize) as u64 }
        } else {
            (0..count).find(|&i| (read(i) == wanted) == run.while_different).unwrap_or(count)
        };
        if passed > 0 {
            Cmp::apply::<T>(&mut self.flags, wanted, read(passed - 1));
        }
        passed
    }

    /// CMPS: how many pairs of elements were passed over. The flags are those of the last of them.
    pub(crate) fn bulk_compare<T: Int>(&mut self, run: Run) -> u64 {
        let count = run.count.min(run.in_page::<T>(run.si)).min(run.in_page::<T>(run.di));
        if count < 2 {
            return 0;
        }
        let bytes = count * T::SIZE;
        let Some(a) = self.bulk_address(run.lowest::<T>(run.si, count), bytes, Access::Read) else { return 0 };
        let Some(b) = self.bulk_address(run.lowest::<T>(run.di, count), bytes, Access::Read) else { return 0 };
        let read = |ptr: *mut u8, i: u64| {
            // SAFETY: both addresses have `count` elements of RAM, and `offset` leads to one of them.
            unsafe { T::read(ptr.wrapping_add(run.offset::<T>(i, count))) }
        };
        let mut same = 0;
        if !run.down && !run.while_different {
            // SAFETY: both addresses have `bytes` bytes of RAM.
            same = unsafe { common_prefix(a, b, bytes as usize) } as u64 / T::SIZE;
        }
        let passed = (same..count).find(|&i| (read(a, i) == read(b, i)) == run.while_different).unwrap_or(count);
        if passed > 0 {
            Cmp::apply::<T>(&mut self.flags, read(a, passed - 1), read(b, passed - 1));
        }
        passed
    }
}

/// Copies `bytes` bytes upwards to a place that lies within the source, as byte by byte: what lies between `from` and `to`
/// is repeated.
fn repeat_pattern(from: *mut u8, to: *mut u8, bytes: usize) {
    let period = (to as usize).wrapping_sub(from as usize);
    let mut done = 0;
    while done < bytes {
        // From `from` up to what is done, the bytes repeat with the period, of which `done` is a multiple.
        let part = (period + done).min(bytes - done);
        // SAFETY: the caller's ranges hold `bytes` bytes each; the source ends where the destination begins, at most.
        unsafe { std::ptr::copy_nonoverlapping(from, to.wrapping_add(done), part) };
        done += part;
    }
}

/// How many leading bytes are the same, rounded down to eight.
///
/// # Safety
/// Both pointers must be valid for reading `bytes` bytes.
unsafe fn common_prefix(a: *const u8, b: *const u8, bytes: usize) -> usize {
    let mut done = 0;
    while done + 8 <= bytes {
        // SAFETY: eight bytes from `done` on are within what the caller promises.
        let (x, y) =
            unsafe { (a.add(done).cast::<u64>().read_unaligned(), b.add(done).cast::<u64>().read_unaligned()) };
        if x != y {
            break;
        }
        done += 8;
    }
    done
}
