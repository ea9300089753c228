//! Canaries: memory beside guest RAM that nobody may write, filled with a pattern that is checked after the run.
//!
//! They lie directly below and above RAM, in the mapping that RAM itself is a part of, so that an access that misses RAM by
//! little hits one; and once more somewhere else in this process. Beyond the two neighbours nothing is mapped, so that an
//! access that misses by more ends the process.

/// Bytes of each canary.
pub(crate) const CANARY: usize = 64 << 10;

const WORDS: usize = CANARY / 8;

/// What became of the canaries of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceReport {
    /// Bytes that were watched.
    pub bytes: u64,
    /// Their checksum before the guest ran.
    pub before: u64,
    /// Their checksum after it.
    pub after: u64,
    /// The first of them that changed.
    pub damage: Option<String>,
}

impl FenceReport {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.before == self.after && self.damage.is_none()
    }
}

/// The canaries of one machine.
#[derive(Debug)]
pub(crate) struct Fence {
    below: *mut u64,
    above: *mut u64,
    elsewhere: Box<[u64]>,
    before: u64,
}

// SAFETY: the memory belongs to the RAM that owns the fence, and is bound to no thread.
unsafe impl Send for Fence {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Fence {}

impl Fence {
    /// Fills the canaries: [`CANARY`] bytes that end at `start`, and as many that begin at `end`.
    ///
    /// # Safety
    /// Both must be memory for this value alone, aligned to words, that may be written while it lives.
    pub(crate) unsafe fn raise(start: *mut u8, end: *mut u8) -> Self {
        let elsewhere = vec![0; WORDS].into_boxed_slice();
        let mut fence = Self { below: start.wrapping_sub(CANARY).cast(), above: end.cast(), elsewhere, before: 0 };
        for i in 0..WORDS {
            // SAFETY: by the caller's promise, for `i` is within the canaries.
            unsafe {
                fence.below.add(i).write_volatile(pattern(i));
                fence.above.add(i).write_volatile(pattern(WORDS + i));
            }
            fence.elsewhere[i] = pattern(2 * WORDS + i);
        }
        fence.before = fence.checksum();
        fence
    }

    /// Looks at every canary.
    pub(crate) fn check(&self) -> FenceReport {
        let damage = (0..3 * WORDS).find(|&i| self.word(i) != pattern(i)).map(|i| match i / WORDS {
            0 => format!("{} bytes below guest RAM", CANARY - i * 8),
            1 => format!("{} bytes above the end of guest RAM", (i - WORDS) * 8),
            _ => "memory far from guest RAM".to_owned(),
        });
        FenceReport { bytes: 3 * CANARY as u64, before: self.before, after: self.checksum(), damage }
    }

    fn word(&self, i: usize) -> u64 {
        let place = i % WORDS;
        // SAFETY: each is a whole canary of `WORDS` words, valid by the promise to `raise`. Volatile: whoever writes them is
        // nobody that the compiler knows of.
        unsafe {
            match i / WORDS {
                0 => self.below.add(place).read_volatile(),
                1 => self.above.add(place).read_volatile(),
                _ => (&raw const self.elsewhere[place]).read_volatile(),
            }
        }
    }

    /// FNV-1a over words.
    fn checksum(&self) -> u64 {
        (0..3 * WORDS).fold(0xcbf2_9ce4_8422_2325, |sum, i| (sum ^ self.word(i)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// A word that no guest writes by chance, different everywhere.
fn pattern(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xcafe_f00d_dead_beef
}

#[cfg(test)]
mod tests {
    use crate::memory::GuestRam;

    #[test]
    fn a_whole_fence_is_whole_and_damage_is_located() {
        let ram = GuestRam::fenced(4).unwrap();
        assert!(ram.fence().unwrap().is_whole());
        for (offset, place) in
            [(-8, "8 bytes below"), (4 << 20, "0 bytes above"), ((4 << 20) + 0x1238, "4664 bytes above")]
        {
            let at = ram.host_ptr().wrapping_offset(offset);
            // SAFETY: the byte lies in a canary, which is mapped and writable.
            unsafe { at.write_volatile(!at.read_volatile()) };
            let report = ram.fence().unwrap();
            assert!(!report.is_whole() && report.before != report.after);
            assert!(report.damage.as_ref().unwrap().starts_with(place), "{report:?}");
            // SAFETY: as above.
            unsafe { at.write_volatile(!at.read_volatile()) };
        }
        assert!(ram.fence().unwrap().is_whole());
        assert_eq!(GuestRam::new(4).unwrap().fence(), None);
    }
}
