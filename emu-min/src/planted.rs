//! Bugs that tests plant to prove that a check of isolation would notice them. They exist in builds with debug assertions
//! alone, and are asked for only where a check has already failed, so that they cost a correct guest nothing.
//!
//! And a slowness, to prove that a gate would notice it; it exists in builds with the feature `planted` too.

use crate::core::Core;

#[cfg(any(debug_assertions, feature = "planted"))]
pub(crate) use dawdle::Dawdle;

/// A check that is left out.
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Ring 3 may use supervisor pages.
    SupervisorCheck,
    /// Stores may go this many bytes beyond the end of RAM.
    BoundsCheck {
        /// Bytes.
        slack: u64,
    },
}

impl crate::Cpu {
    /// Plants a bug.
    ///
    /// # Safety
    /// With [`Planted::BoundsCheck`] the slack behind RAM must be memory that may be written as RAM may be.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub unsafe fn plant(&mut self, bug: Planted) {
        self.core.planted = Some(bug);
    }
}

impl Core {
    /// Whether ring 3 may use a supervisor page, which it must not.
    #[inline(always)]
    pub(crate) fn skips_supervisor_check(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.planted == Some(Planted::SupervisorCheck);
        #[cfg(not(debug_assertions))]
        false
    }

    /// Writes beyond the end of RAM if a planted bug lets it; false, and nothing written, otherwise.
    #[inline(always)]
    pub(crate) fn writes_beyond_ram(&self, gpa: u64, bytes: &[u8]) -> bool {
        #[cfg(debug_assertions)]
        if let Some(Planted::BoundsCheck { slack }) = self.planted
            && gpa >= self.ram.len()
            && gpa.saturating_add(bytes.len() as u64) <= self.ram.len() + slack
        {
            // SAFETY: whoever planted the bug promised that the slack behind RAM may be written.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.ram.host(gpa), bytes.len()) };
            return true;
        }
        let _ = (gpa, bytes);
        false
    }
}

impl crate::Cpu {
    /// Makes it take longer by this part of the time: 0.05 for 5%.
    #[cfg(any(debug_assertions, feature = "planted"))]
    #[doc(hidden)]
    pub fn plant_slowness(&mut self, part: f64) {
        self.core.dawdle = Some(Dawdle::new(part));
    }
}

#[cfg(any(debug_assertions, feature = "planted"))]
mod dawdle {
    use std::time::{Duration, Instant};

    /// Longest time between two looks of the run loop that is taken for the guest's: what is longer was spent elsewhere.
    const LONGEST: Duration = Duration::from_millis(2);

    /// Shortest time that is idled for, so that a guest that leaves the processor all the time pays the part and no more.
    const SHORTEST: Duration = Duration::from_micros(20);

    /// A processor that idles for a part of its time.
    #[derive(Debug)]
    pub(crate) struct Dawdle {
        part: f64,
        last: Instant,
    }

    impl Dawdle {
        pub(crate) fn new(part: f64) -> Self {
            Self { part, last: Instant::now() }
        }

        /// Idles for the part of the time since the last call.
        pub(crate) fn idle(&mut self) {
            let now = Instant::now();
            let worked = (now - self.last).min(LONGEST);
            if worked < SHORTEST {
                return;
            }
            let until = now + worked.mul_f64(self.part);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            self.last = Instant::now();
        }
    }
}
