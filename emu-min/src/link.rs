//! How one block leads to the next without a return to the run loop: links of direct branches, and a table of recent
//! targets for all others.
//!
//! Both name the context they were made in (see [`Core::context`]). It changes whenever a block is dropped, a translation
//! of code may have changed, or mode or privilege did, so that one comparison says whether a successor still holds;
//! nothing has to be unlinked.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::core::{Core, Mode};
use crate::op::{Flow, Op, OpRef};
use crate::rights::USER;

/// Entries of the table of targets.
const TARGETS: usize = 4096;
/// One transition to a successor in [`Core::tally`]; data accesses count below it.
const TRANSITION: u64 = 1 << 24;

/// The successor of a block in one direction, once it is known.
#[derive(Debug)]
pub(crate) struct Link {
    context: Cell<u64>,
    first: Cell<*const Op>,
}

impl Link {
    const fn new() -> Self {
        Self { context: Cell::new(NO_CONTEXT), first: Cell::new(ptr::null()) }
    }

    /// From now on, while the context stays, this is the successor.
    pub(crate) fn set(&self, context: u64, first: OpRef<'_>) {
        self.context.set(context);
        self.first.set(first.as_ptr());
    }
}

/// The successors of a block that ends with a direct branch, or with none.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) taken: Link,
    pub(crate) through: Link,
}

impl Links {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { taken: Link::new(), through: Link::new() })
    }
}

// SAFETY: the pointers lead to blocks of the same CPU, which move between threads with this one.
unsafe impl Send for Link {}

/// A context that never is.
const NO_CONTEXT: u64 = u64::MAX;

/// Where an operation finds the links of its block; outside the cache of blocks, some that lead nowhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinksRef(NonNull<Links>);

/// Links that lead nowhere and are never set.
static NOWHERE: Nowhere = Nowhere(Links { taken: Link::new(), through: Link::new() });

struct Nowhere(Links);

// SAFETY: nobody writes to it: see `Open::of`.
unsafe impl Sync for Nowhere {}

// SAFETY: the links belong to the block that the operation is part of, and move between threads with it.
unsafe impl Send for LinksRef {}

impl LinksRef {
    pub(crate) fn none() -> Self {
        Self(NonNull::from(&NOWHERE.0))
    }

    /// # Safety
    /// The links must live as long as the operations that get this reference.
    pub(crate) unsafe fn new(links: &Links) -> Self {
        Self(NonNull::from(links))
    }
}

/// A link that the run loop may set, once it has found what comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    link: NonNull<Link>,
    context: u64,
}

impl Open {
    /// A side of an operation's links, if they may be set.
    fn of(links: LinksRef, link: &Link, context: u64) -> Option<Self> {
        (links.0 != LinksRef::none().0).then(|| Self { link: NonNull::from(link), context })
    }

    /// Sets the link, unless blocks were dropped since.
    pub(crate) fn close(self, core: &Core, first: OpRef<'_>) {
        if self.context == core.context {
            // SAFETY: the context would have changed if the block that owns the link had been dropped.
            unsafe { self.link.as_ref() }.set(self.context, first);
        }
    }
}

// SAFETY: it is used by the run loop that got it or thrown away; the link belongs to a block of the same CPU.
unsafe impl Send for Open {}

/// An entry of the table of targets.
#[derive(Clone, Copy)]
struct Target {
    rip: u64,
    context: u64,
    first: *const Op,
}

/// Where blocks begin, by RIP: direct-mapped.
pub(crate) struct Targets(Box<[Target; TARGETS]>);

// SAFETY: the pointers lead to blocks of the same CPU, which move between threads with it.
unsafe impl Send for Targets {}

impl Targets {
    pub(crate) fn new() -> Self {
        Self(Box::new([Target { rip: 0, context: NO_CONTEXT, first: ptr::null() }; TARGETS]))
    }

    /// The block at `rip` in this context, if it is known.
    #[inline(always)]
    pub(crate) fn find(&self, rip: u64, context: u64) -> Option<*const Op> {
        let entry = &self.0[slot(rip)];
        (entry.rip == rip && entry.context == context).then_some(entry.first)
    }

    pub(crate) fn insert(&mut self, rip: u64, context: u64, first: OpRef<'_>) {
        self.0[slot(rip)] = Target { rip, context, first: first.as_ptr() };
    }
}

#[inline(always)]
fn slot(rip: u64) -> usize {
    (rip ^ (rip >> 12)) as usize & (TARGETS - 1)
}

impl Core {
    /// What was looked up by RIP is stale: blocks were dropped, or translations or the code segment changed.
    pub(crate) fn forget_lookups(&mut self) {
        self.code_generation += 1;
        self.update_context();
    }

    /// Recomputes [`Self::context`]: mode, privilege and generation in one number.
    pub(crate) fn update_context(&mut self) {
        let mode = match self.mode {
            Mode::Bits16 => 0,
            Mode::Bits32 => 1,
            Mode::Bits64 => 2,
        };
        self.context = self.code_generation << 3 | mode << 1 | (self.user & USER);
    }

    /// Transitions through links and the table of targets so far.
    pub(crate) fn transitions(&self) -> u64 {
        self.transitions + self.tally / TRANSITION
    }

    /// Data accesses so far.
    pub(crate) fn all_accesses(&self) -> u64 {
        self.accesses + self.tally % TRANSITION
    }

    /// Moves the tally, which is small, to the totals.
    pub(crate) fn settle_tally(&mut self) {
        self.accesses = self.all_accesses();
        self.transitions = self.transitions();
        self.tally = 0;
    }
}

impl OpRef<'_> {
    /// Ends the block after the operations before this one and `executed` (0 or 1) of its own, and goes on at `target`,
    /// if possible along the link that `side` chooses.
    #[inline(always)]
    pub(crate) fn follow(
        self,
        core: &mut Core,
        executed: u64,
        target: impl Fn(&Op) -> u64,
        side: impl Fn(&Links) -> &Link,
    ) -> Flow {
        let op = self.get();
        // SAFETY: the links live as long as the operation, which is being executed.
        let link = side(unsafe { op.links.0.as_ref() });
        let icount = core.icount + u64::from(op.n) + executed;
        core.icount = icount;
        if icount < core.deadline && link.context.get() == core.context {
            core.tally += u64::from(op.accesses) + TRANSITION;
            // SAFETY: a link of the current context leads to a block that was not dropped.
            let first = unsafe { OpRef::from_ptr(link.first.get()) };
            return (first.get().handler)(core, first);
        }
        core.rip = target(op);
        self.end(core, link)
    }

    /// Ends the block, whose link was not of use; RIP is set and what was executed is counted.
    #[inline(never)]
    fn end(self, core: &mut Core, link: &Link) -> Flow {
        let op = self.get();
        core.tally += u64::from(op.accesses);
        core.open = Open::of(op.links, link, core.context);
        Flow::Next
    }

    /// Ends the block after this operation, an indirect branch to `first`, which [`Targets::find`] named for `target`.
    #[inline(always)]
    pub(crate) fn follow_indirect(self, core: &mut Core, target: u64, first: *const Op) -> Flow {
        let op = self.get();
        let icount = core.icount + u64::from(op.n) + 1;
        core.icount = icount;
        if icount < core.deadline {
            core.tally += u64::from(op.accesses) + TRANSITION;
            // SAFETY: the table names a block of the current context, which was not dropped.
            let first = unsafe { OpRef::from_ptr(first) };
            return (first.get().handler)(core, first);
        }
        core.tally += u64::from(op.accesses);
        core.rip = target;
        Flow::Next
    }
}
