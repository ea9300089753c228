//! Loads and stores at linear addresses: the TLB's fast path and everything it leaves over.

use crate::core::{CR0_PG, Core};
use crate::exception::AC;
use crate::exit::Exit;
use crate::int::Int;
use crate::op::R;
use crate::paging::{Access, Mapping, canonical};
use crate::rights::{USER, USER_ALIGNED};

impl Core {
    /// Loads at the current privilege level.
    #[inline(always)]
    pub(crate) fn load<T: Int>(&mut self, linear: u64) -> R<u64> {
        match self.tlb.read(linear, T::SIZE, self.user) {
            // SAFETY: a read entry maps its whole page to RAM and the lookup covers all `SIZE` bytes of the access.
            Some(ptr) => Ok(unsafe { T::read(ptr) }),
            None => self.load_slow::<T>(linear),
        }
    }

    /// Stores at the current privilege level.
    #[inline(always)]
    pub(crate) fn store<T: Int>(&mut self, linear: u64, value: u64) -> R {
        match self.tlb.write(linear, T::SIZE, self.user) {
            Some(ptr) => {
                // SAFETY: a write entry maps its whole page to RAM and the lookup covers all `SIZE` bytes.
                unsafe { T::write(ptr, value) };
                Ok(())
            }
            None => self.store_slow::<T>(linear, value),
        }
    }

    /// Loads, computes and stores; nothing is changed if either access faults. `f` may be called once per replay of an
    /// access outside RAM, so it must not have effects beyond its result and the flags it returns.
    #[inline(always)]
    pub(crate) fn rmw<T: Int>(&mut self, linear: u64, f: impl Fn(&mut Self, u64) -> u64) -> R {
        if let Some(ptr) = self.tlb.write(linear, T::SIZE, self.user) {
            // SAFETY: a write entry maps its whole page to RAM and the lookup covers all `SIZE` bytes.
            let old = unsafe { T::read(ptr) };
            let new = f(self, old);
            // SAFETY: as above; `f` is arithmetic on registers and does not touch the mapping.
            unsafe { T::write(ptr, new) };
            return Ok(());
        }
        self.check_write(linear, T::SIZE)?;
        let old = self.load::<T>(linear)?;
        let flags = self.flags;
        let new = f(self, old);
        let result = self.store::<T>(linear, new);
        if result.is_err() {
            self.flags = flags;
        }
        result
    }

    /// Raises what a store of `size` bytes would raise.
    pub(crate) fn check_write(&mut self, linear: u64, size: u64) -> R {
        self.check_end(linear, size)?;
        self.check_alignment(linear, size)?;
        self.check_unaligned_write(linear, size)
    }

    /// Raises what a store of `size` bytes would raise that need not be aligned.
    pub(crate) fn check_unaligned_write(&mut self, linear: u64, size: u64) -> R {
        let user = self.user;
        self.check_end(linear, size)?;
        self.translate(linear, Access::Write, user)?;
        if crosses(linear, size) {
            self.translate(linear.wrapping_add(size - 1) & !0xfff, Access::Write, user)?;
        }
        Ok(())
    }

    /// #GP(0) if the last byte of an access lies in the hole: that comes before a page fault for the first.
    fn check_end(&mut self, linear: u64, size: u64) -> R {
        let last = linear.wrapping_add(size - 1);
        if canonical(last) || !canonical(linear) || self.cr0 & CR0_PG == 0 { Ok(()) } else { Err(self.not_canonical()) }
    }

    /// #AC if ring 3 asked for it (CR0.AM and RFLAGS.AC) and the access is not aligned to its size, a power of two; 32
    /// bytes need be aligned to 16 only, as on AMD processors.
    pub(crate) fn check_alignment(&mut self, linear: u64, size: u64) -> R {
        let checked = self.user == USER_ALIGNED && size.is_power_of_two() && size <= 32;
        if !checked || linear & (size.min(16) - 1) == 0 || !canonical(linear) {
            return Ok(());
        }
        self.check_end(linear, size)?;
        Err(self.fault_code(AC, 0))
    }

    #[cold]
    #[inline(never)]
    fn load_slow<T: Int>(&mut self, linear: u64) -> R<u64> {
        if self.user != USER_ALIGNED
            && let Some(ptr) = self.tlb.recall_read(linear, T::SIZE, self.user)
        {
            // SAFETY: a read entry maps its whole page to RAM; `recall` refuses page crossings.
            return Ok(unsafe { T::read(ptr) });
        }
        self.check_alignment(linear, T::SIZE)?;
        self.load_as(linear, T::SIZE, self.user)
    }

    #[cold]
    #[inline(never)]
    fn store_slow<T: Int>(&mut self, linear: u64, value: u64) -> R {
        if self.user != USER_ALIGNED
            && let Some(ptr) = self.tlb.recall_write(linear, T::SIZE, self.user)
        {
            // SAFETY: a write entry maps its whole page to RAM; `recall` refuses page crossings.
            unsafe { T::write(ptr, value) };
            return Ok(());
        }
        self.check_alignment(linear, T::SIZE)?;
        self.store_as(linear, T::SIZE, value, self.user)
    }

    /// Loads 1 to 8 bytes with the given [rights](crate::rights), whatever the current privilege level.
    pub(crate) fn load_as(&mut self, linear: u64, size: u64, user: u64) -> R<u64> {
        let user = cached_as(user);
        if let Some(ptr) = self.tlb.recall_read(linear, size, user) {
            // SAFETY: a read entry maps its whole page to RAM; `recall` refuses page crossings.
            return Ok(unsafe { read_sized(ptr, size) });
        }
        self.tlb_misses += u64::from(self.tlb_enabled);
        self.note_access(linear, size, false);
        if crosses(linear, size) {
            self.check_end(linear, size)?;
            let first = 0x1000 - (linear & 0xfff);
            let low = self.load_in_page(linear, first, user)?;
            let high = self.load_in_page(linear.wrapping_add(first), size - first, user)?;
            return Ok(low | (high << (first * 8)));
        }
        self.load_in_page(linear, size, user)
    }

    fn load_in_page(&mut self, linear: u64, size: u64, user: u64) -> R<u64> {
        let Mapping { gpa, page } = self.translate(linear, Access::Read, user)?;
        if self.ram.contains(gpa & !0xfff, 0x1000) {
            if self.tlb_enabled && !self.is_watched(linear) {
                self.tlb.insert_read(linear, user, page, self.ram.host(gpa & !0xfff));
            }
            // SAFETY: the whole page is RAM and the access does not cross its end.
            return Ok(unsafe { read_sized(self.ram.host(gpa), size) });
        }
        self.mmio_read(gpa, size)
    }

    fn mmio_read(&mut self, gpa: u64, size: u64) -> R<u64> {
        let mut bytes = [0; 8];
        if let Some(out) = bytes.get_mut(..size as usize)
            && self.ram.read(gpa, out)
        {
            return Ok(u64::from_le_bytes(bytes)); // the last, partial page of RAM
        }
        // A page-crossing access may leave 3, 5, 6 or 7 bytes; the machine is asked for powers of two.
        if !size.is_power_of_two() {
            let part = 1 << size.ilog2();
            let low = self.mmio_read(gpa, part)?;
            return Ok(low | (self.mmio_read(gpa + part, size - part)? << (part * 8)));
        }
        match self.mmio.replay_read(gpa, size as u8) {
            Some(value) => Ok(value),
            None => {
                self.awaited = crate::core::Awaited::Mmio { gpa, size: size as u8 };
                self.device_mmio += 1;
                Err(self.exit_again(Exit::MmioRead { gpa, size: size as u8 }))
            }
        }
    }

    /// Stores 1 to 8 bytes with the given [rights](crate::rights). A store that crosses pages checks both first.
    pub(crate) fn store_as(&mut self, linear: u64, size: u64, value: u64, user: u64) -> R {
        let user = cached_as(user);
        if let Some(ptr) = self.tlb.recall_write(linear, size, user) {
            // SAFETY: a write entry maps its whole page to RAM; `recall` refuses page crossings.
            unsafe { write_sized(ptr, size, value) };
            return Ok(());
        }
        self.tlb_misses += u64::from(self.tlb_enabled);
        self.check_end(linear, size)?;
        let gpa = self.translate(linear, Access::Write, user)?;
        self.note_access(linear, size, true);
        if crosses(linear, size) {
            let first = 0x1000 - (linear & 0xfff);
            let second = self.translate(linear.wrapping_add(first), Access::Write, user)?;
            self.store_in_page(linear, gpa, first, value, user)?;
            return self.store_in_page(linear.wrapping_add(first), second, size - first, value >> (first * 8), user);
        }
        self.store_in_page(linear, gpa, size, value, user)
    }

    fn store_in_page(&mut self, linear: u64, to: Mapping, size: u64, value: u64, user: u64) -> R {
        let Mapping { gpa, page } = to;
        if self.ram.contains(gpa & !0xfff, 0x1000) {
            if self.code.is_code_page(gpa) {
                self.leave_block |= self.code.note_write(gpa, size);
            } else if self.tlb_enabled && !self.is_watched(linear) {
                self.tlb.insert_write(linear, user, page, self.ram.host(gpa & !0xfff));
            }
            // SAFETY: the whole page is RAM and the access does not cross its end.
            unsafe { write_sized(self.ram.host(gpa), size, value) };
            return Ok(());
        }
        self.mmio_write(gpa, size, value)
    }

    fn mmio_write(&mut self, gpa: u64, size: u64, value: u64) -> R {
        if value.to_le_bytes().get(..size as usize).is_some_and(|bytes| self.ram.write(gpa, bytes)) {
            self.leave_block |= self.code.note_write(gpa, size);
            return Ok(()); // the last, partial page of RAM
        }
        if self.writes_beyond_ram(gpa, value.to_le_bytes().get(..size as usize).unwrap_or_default()) {
            return Ok(());
        }
        if !size.is_power_of_two() {
            let part = 1 << size.ilog2();
            self.mmio_write(gpa, part, value)?;
            return self.mmio_write(gpa + part, size - part, value >> (part * 8));
        }
        if self.mmio.replay_write(gpa, size as u8) {
            return Ok(());
        }
        self.mmio.push_write(gpa, size as u8);
        self.device_mmio += 1;
        let value = value & (u64::MAX >> (64 - size * 8));
        Err(self.exit_again(Exit::MmioWrite { gpa, size: size as u8, value }))
    }

    /// The host page behind an access of translated code, if such accesses may go there directly: it is RAM that is
    /// mapped for them, and not watched, and holds no decoded code if it is written.
    pub(crate) fn page_for_code(&mut self, linear: u64, size: u64, write: bool) -> Option<*mut u8> {
        if crosses(linear, size) {
            return None;
        }
        let page = linear & !0xfff;
        let known = if write {
            self.tlb.write(page, 1, self.user).or_else(|| self.tlb.recall_write(page, 1, self.user))
        } else {
            self.tlb.read(page, 1, self.user).or_else(|| self.tlb.recall_read(page, 1, self.user))
        };
        if known.is_some() {
            return known;
        }
        self.tlb_misses += 1;
        let access = if write { Access::Write } else { Access::Read };
        let Mapping { gpa, page: kind } = self.translate(linear, access, self.user).ok()?;
        let gpa = gpa & !0xfff;
        if !self.ram.contains(gpa, 0x1000) || self.is_watched(linear) || write && self.code.is_code_page(gpa) {
            return None;
        }
        let host = self.ram.host(gpa);
        if write {
            self.tlb.insert_write(linear, self.user, kind, host);
        } else {
            self.tlb.insert_read(linear, self.user, kind, host);
        }
        Some(host)
    }

    /// Loads 16 bytes.
    #[inline(always)]
    pub(crate) fn load128(&mut self, linear: u64) -> R<u128> {
        match self.tlb.read(linear, 16, self.user) {
            // SAFETY: a read entry maps its whole page to RAM and the lookup covers all 16 bytes.
            Some(ptr) => Ok(unsafe { ptr.cast::<u128>().read_unaligned() }),
            None => {
                self.check_end(linear, 16)?;
                self.check_alignment(linear, 16)?;
                let low = self.load::<u64>(linear)?;
                let high = self.load::<u64>(linear.wrapping_add(8))?;
                Ok(u128::from(low) | u128::from(high) << 64)
            }
        }
    }

    /// Stores 16 bytes; nothing is stored if any of them faults.
    #[inline(always)]
    pub(crate) fn store128(&mut self, linear: u64, value: u128) -> R {
        match self.tlb.write(linear, 16, self.user) {
            Some(ptr) => {
                // SAFETY: a write entry maps its whole page to RAM and the lookup covers all 16 bytes.
                unsafe { ptr.cast::<u128>().write_unaligned(value) };
                Ok(())
            }
            None => {
                self.check_write(linear, 16)?;
                self.store::<u64>(linear, value as u64)?;
                self.store::<u64>(linear.wrapping_add(8), (value >> 64) as u64)
            }
        }
    }

    /// Loads 32 bytes, the lower half first.
    #[inline(always)]
    pub(crate) fn load256(&mut self, linear: u64) -> R<[u128; 2]> {
        match self.tlb.read(linear, 32, self.user) {
            // SAFETY: a read entry maps its whole page to RAM and the lookup covers all 32 bytes.
            Some(ptr) => Ok(unsafe { ptr.cast::<[u128; 2]>().read_unaligned() }),
            None => {
                self.check_end(linear, 32)?;
                self.check_alignment(linear, 32)?;
                let low = self.load128(linear)?;
                Ok([low, self.load128(linear.wrapping_add(16))?])
            }
        }
    }

    /// Stores 32 bytes, the lower half first; nothing is stored if any of them faults.
    #[inline(always)]
    pub(crate) fn store256(&mut self, linear: u64, value: [u128; 2]) -> R {
        match self.tlb.write(linear, 32, self.user) {
            Some(ptr) => {
                // SAFETY: a write entry maps its whole page to RAM and the lookup covers all 32 bytes.
                unsafe { ptr.cast::<[u128; 2]>().write_unaligned(value) };
                Ok(())
            }
            None => {
                self.check_write(linear, 32)?;
                self.store128(linear, value[0])?;
                self.store128(linear.wrapping_add(16), value[1])
            }
        }
    }

    /// Guest-physical address of code, raising the faults of a fetch.
    pub(crate) fn fetch_address(&mut self, linear: u64) -> R<u64> {
        let user = self.user & USER;
        if let Some(gpa) = self.tlb.fetch(linear, user) {
            return Ok(gpa);
        }
        self.tlb_misses += u64::from(self.tlb_enabled);
        let Mapping { gpa, page } = self.translate(linear, Access::Fetch, user)?;
        if self.tlb_enabled {
            self.tlb.insert_fetch(linear, user, page, gpa);
        }
        Ok(gpa)
    }
}

/// The rights under which an access is cached.
#[inline(always)]
fn cached_as(rights: u64) -> u64 {
    if rights == USER_ALIGNED { USER } else { rights }
}

#[inline(always)]
fn crosses(linear: u64, size: u64) -> bool {
    (linear & 0xfff) + size > 0x1000
}

/// # Safety
/// `ptr` must be valid for reading `size` bytes; `size` is at most 8.
unsafe fn read_sized(ptr: *const u8, size: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the caller promises `size` readable bytes, and `bytes` holds 8.
    unsafe { std::ptr::copy_nonoverlapping(ptr, bytes.as_mut_ptr(), size.min(8) as usize) };
    u64::from_le_bytes(bytes)
}

/// # Safety
/// `ptr` must be valid for writing `size` bytes; `size` is at most 8.
unsafe fn write_sized(ptr: *mut u8, size: u64, value: u64) {
    let bytes = value.to_le_bytes();
    // SAFETY: the caller promises `size` writable bytes, and `bytes` holds 8.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), ptr, size.min(8) as usize) };
}
