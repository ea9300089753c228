//! What was counted up to a moment of a run, and in its region of interest.

use std::time::Instant;

use emu_min::Rings;

use super::{Run, RunError};
use crate::accounting::Accounting;
use crate::clock::Moment;
use crate::counters::{Counter, Source, difference};
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

impl Run<'_> {
    /// Prepares for the region of interest; its timestamp is taken last. The guest's timer stands still meanwhile, or a tick would
    /// wait for the guest at the beginning of its region.
    pub(super) fn begin(&mut self) -> Result<Instant, RunError> {
        let from = Instant::now();
        if self.machine.prefault {
            self.machine.ram.prefault()?;
        }
        let mut reading = self.reading()?;
        reading.cpu_time = CpuTime::of_this_thread();
        self.machine.bus.interrupts.leave_out(from, Instant::now());
        let skipped = self.account.skip();
        self.machine.cpu.away(skipped);
        let moment = Moment::now();
        self.begun = Some((moment, reading));
        Ok(moment.at)
    }

    /// Ends the region of interest, whose timestamp was taken first.
    pub(super) fn end(&mut self, end: Moment) -> Result<(), RunError> {
        let cpu_time = CpuTime::of_this_thread();
        let late = Reading { cpu_time, ..self.reading()? };
        let skipped = self.account.skip();
        self.machine.cpu.away(skipped);
        let Some((begin, early)) = &self.begun else { return Ok(()) };
        let ns_per_tick = begin.ns_per_tick(end);
        let mut counters = late.account.since(Some(&early.account), ns_per_tick);
        let histograms = late.account.histograms(&early.account, ns_per_tick);
        counters.extend(difference(&early.counters, &late.counters));
        counters.extend(late.quadrants(early, end.ticks(), ns_per_tick, self.machine.tick_ns));
        let instructions = late.instructions.zip(early.instructions).map(|(late, early)| late - early);
        self.roi = Some(RoiRecord { roi: Roi { begin: begin.at, end: end.at }, counters, histograms, instructions });
        Ok(())
    }

    pub(super) fn reading(&mut self) -> Result<Reading, RunError> {
        let cpu = &mut self.machine.cpu;
        Ok(Reading {
            account: self.account.clone(),
            instructions: cpu.instructions(),
            rings: cpu.rings(self.account.stamp()),
            cpu_time: None,
            counters: cpu.counters()?,
        })
    }
}
