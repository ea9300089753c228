//! What the guest's rings cost: instructions and time of ring 3, and of what is below it.
//!
//! Both are read where the privilege level changes, which is rare, so that nothing is counted in between.

use crate::core::Core;
use crate::rights::USER;

/// Instructions and time of one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ring {
    /// Instructions retired. The one that changes the level belongs to the level that it leaves.
    pub instructions: u64,
    /// Ticks of the host's time-stamp counter, but for those of translating and those that [`Cpu::away`](crate::Cpu::away)
    /// was told of.
    pub ticks: u64,
}

/// Where instructions and time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rings {
    /// Ring 3.
    pub user: Ring,
    /// Rings 0 to 2, and what the processor does to get there: delivering exceptions and interrupts.
    pub kernel: Ring,
    /// Ticks of translating guest code to host code, for whichever ring.
    pub translating: u64,
}

/// The account, and what is not in it yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingAccount {
    settled: Rings,
    /// Whether the guest is in ring 3 now.
    user: bool,
    /// Instructions and ticks up to which everything is in the account.
    icount: u64,
    since: u64,
}

impl RingAccount {
    /// Begins now, below ring 3.
    pub(crate) fn new() -> Self {
        Self { settled: Rings::default(), user: false, icount: 0, since: ticks() }
    }

    #[inline]
    fn current(&mut self) -> &mut Ring {
        if self.user { &mut self.settled.user } else { &mut self.settled.kernel }
    }

    /// Some ticks were spent elsewhere, as if the ring's stay had begun later by as much.
    #[inline]
    pub(crate) fn away(&mut self, ticks: u64) {
        self.since = self.since.saturating_add(ticks);
    }

    /// The ring has run until now.
    fn settle(&mut self, icount: u64) {
        let now = ticks();
        let instructions = icount.wrapping_sub(self.icount);
        let spent = now.saturating_sub(self.since);
        let ring = self.current();
        ring.instructions = ring.instructions.wrapping_add(instructions);
        ring.ticks += spent;
        (self.icount, self.since) = (icount, now);
    }

    /// Translating took the ticks since `start`.
    pub(crate) fn translated(&mut self, start: u64) {
        let spent = ticks().saturating_sub(start);
        self.settled.translating += spent;
        self.away(spent);
    }

    /// The account up to `icount` and the moment `now`, in ticks.
    pub(crate) fn read(&self, icount: u64, now: u64) -> Rings {
        let mut late = *self;
        let ring = late.current();
        ring.instructions = ring.instructions.wrapping_add(icount.wrapping_sub(self.icount));
        ring.ticks += now.saturating_sub(self.since);
        late.settled
    }
}

/// The host's time-stamp counter.
#[inline]
pub(crate) fn ticks() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

impl Core {
    /// The privilege level may have changed; `icount` may lack instructions of the block, see [`Self::moved_ring`].
    #[inline]
    pub(crate) fn look_at_ring(&mut self) {
        let user = self.user & USER != 0;
        if user != self.rings.user {
            self.rings.settle(self.icount);
            self.rings.user = user;
        }
    }

    /// Whether the guest is in ring 3.
    #[inline]
    pub(crate) const fn is_in_user_ring(&self) -> bool {
        self.rings.user
    }

    /// The operation that ended a block changed the level, from ring 3 if `user`: the `instructions` that `icount` has got
    /// since were executed before that.
    #[cold]
    pub(crate) fn moved_ring(&mut self, user: bool, instructions: u64) {
        let before = if user { &mut self.rings.settled.user } else { &mut self.rings.settled.kernel };
        before.instructions = before.instructions.wrapping_add(instructions);
        self.rings.icount = self.rings.icount.wrapping_add(instructions);
    }
}
