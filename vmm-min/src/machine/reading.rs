//! What was counted up to a moment of a run, and in its region of interest.

use emu_min::Rings;

use crate::accounting::Accounting;
use crate::counters::{Counter, Source};
use crate::latency::LatencyHistogram;
use crate::outcome::Roi;
use crate::quadrants::{CpuTime, RingSpans};

/// What was counted up to a moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) account: Accounting,
    pub(super) instructions: Option<u64>,
    /// Time of the rings until the last time stamp of the account.
    pub(super) rings: Option<Rings>,
    /// Of the thread; only at the ends of the region of interest.
    pub(super) cpu_time: Option<CpuTime>,
    pub(super) counters: Vec<Counter>,
}

impl Reading {
    /// Where the time since an earlier reading went, until the moment `end`, in ticks; nothing where the kernel does not say enough.
    pub(super) fn quadrants(&self, early: &Self, end: u64, ns_per_tick: f64, tick_ns: u64) -> Vec<Counter> {
        let Some((late_time, early_time)) = self.cpu_time.zip(early.cpu_time) else { return Vec::new() };
        let spans = self.account.spans(&early.account, end, ns_per_tick);
        let cpu = late_time.since(early_time);
        let segments = match self.rings.zip(early.rings) {
            None => spans.on_processor(cpu, tick_ns),
            Some((late, early)) => {
                let ns =
                    |of: fn(&Rings) -> u64| (of(&late).saturating_sub(of(&early)) as f64 * ns_per_tick).round() as u64;
                let rings = RingSpans {
                    user: ns(|r| r.user.ticks),
                    kernel: ns(|r| r.kernel.ticks),
                    translating: ns(|r| r.translating),
                };
                spans.emulated(rings, cpu, tick_ns)
            }
        };
        segments.into_iter().map(|(name, ns)| Counter::new(Source::Vmm, name, ns)).collect()
    }
}

/// A region of interest that is over.
#[derive(Debug)]
pub(super) struct RoiRecord {
    pub(super) roi: Roi,
    pub(super) counters: Vec<Counter>,
    pub(super) histograms: Vec<LatencyHistogram>,
    pub(super) instructions: Option<u64>,
}
