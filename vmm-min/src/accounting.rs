//! Exit accounting: every exit by reason, and where the time went.

use crate::clock::ticks;
use crate::counters::{Counter, Source};
use crate::cpu::Exit;
use crate::devices::pic::Acknowledged;

/// The reasons that are told apart, with the names of their counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Io,
    Mmio,
    Hlt,
    Shutdown,
    IrqWindow,
    Intr,
    Error,
}

const NAMES: [(&str, &str); 7] = [
    ("exit.io", "exit.io_ns"),
    ("exit.mmio", "exit.mmio_ns"),
    ("exit.hlt", "exit.hlt_ns"),
    ("exit.shutdown", "exit.shutdown_ns"),
    ("exit.irq_window", "exit.irq_window_ns"),
    ("exit.intr", "exit.intr_ns"),
    ("exit.error", "exit.error_ns"),
];

impl Reason {
    pub(crate) const fn of(exit: &Exit<'_>) -> Self {
        match exit {
            Exit::IoOut { .. } | Exit::IoIn { .. } => Self::Io,
            Exit::MmioRead { .. } | Exit::MmioWrite { .. } => Self::Mmio,
            Exit::Hlt => Self::Hlt,
            Exit::Shutdown => Self::Shutdown,
            Exit::IrqWindow => Self::IrqWindow,
            Exit::Interrupted | Exit::BudgetExhausted => Self::Intr,
        }
    }
}

/// Running totals of one machine. Time is kept in ticks of the time-stamp counter.
///
/// The virtual CPU's time (`run`) begins where the serving of the last exit ends, so the two add up to the whole.
#[derive(Debug, Clone)]
pub(crate) struct Accounting {
    counts: [u64; NAMES.len()],
    serving: [u64; NAMES.len()],
    running: u64,
    /// Time for which the guest was halted and the host slept.
    idle: u64,
    /// Interrupts that the CPU took: of the timer, and of nobody.
    timer: u64,
    spurious: u64,
    /// The last time stamp: the end of serving, or the return from the virtual CPU.
    last: u64,
}

impl Accounting {
    /// Begins now, about to run the virtual CPU.
    pub(crate) fn start() -> Self {
        Self {
            counts: [0; NAMES.len()],
            serving: [0; NAMES.len()],
            running: 0,
            idle: 0,
            timer: 0,
            spurious: 0,
            last: ticks(),
        }
    }

    /// The virtual CPU has just returned.
    #[inline]
    pub(crate) fn returned(&mut self) {
        let now = ticks();
        self.running += now.saturating_sub(self.last);
        self.last = now;
    }

    /// The exit was for this reason; called before it is served, so that a reading taken meanwhile includes it.
    #[inline]
    pub(crate) const fn count(&mut self, reason: Reason) {
        self.counts[reason as usize] += 1;
    }

    /// The exit has been served; the virtual CPU runs next.
    #[inline]
    pub(crate) fn served(&mut self, reason: Reason) {
        let now = ticks();
        self.serving[reason as usize] += now.saturating_sub(self.last);
        self.last = now;
    }

    /// The CPU has taken an interrupt.
    pub(crate) const fn interrupt(&mut self, taken: Acknowledged) {
        match taken.line {
            Some(_) => self.timer += 1,
            None => self.spurious += 1,
        }
    }

    /// The host has slept, since the last time stamp, with the guest.
    pub(crate) fn idled(&mut self) {
        let now = ticks();
        self.idle += now.saturating_sub(self.last);
        self.last = now;
    }

    /// Leaves the time since the last time stamp out of the account: the harness's own work, not the guest's.
    pub(crate) fn skip(&mut self) {
        self.last = ticks();
    }

    /// The counters between `earlier` and now.
    pub(crate) fn since(&self, earlier: Option<&Self>, ns_per_tick: f64) -> Vec<Counter> {
        let ns = |ticks: u64| (ticks as f64 * ns_per_tick).round() as u64;
        let mut counters = Vec::with_capacity(2 * NAMES.len() + 6);
        let (mut exits, mut serving) = (0, 0);
        for (i, (count_name, time_name)) in NAMES.iter().enumerate() {
            let count = self.counts[i] - earlier.map_or(0, |e| e.counts[i]);
            let ticks = self.serving[i] - earlier.map_or(0, |e| e.serving[i]);
            exits += count;
            serving += ticks;
            counters.push(Counter::new(Source::Vmm, *count_name, count));
            counters.push(Counter::new(Source::Vmm, *time_name, ns(ticks)));
        }
        let late = |of: fn(&Self) -> u64| of(self) - earlier.map_or(0, of);
        counters.push(Counter::new(Source::Vmm, "irq.timer", late(|a| a.timer)));
        counters.push(Counter::new(Source::Vmm, "irq.spurious", late(|a| a.spurious)));
        counters.push(Counter::new(Source::Vmm, "idle_ns", ns(late(|a| a.idle))));
        let running = late(|a| a.running);
        counters.push(Counter::new(Source::Vmm, "exit.total", exits));
        counters.push(Counter::new(Source::Vmm, "run_ns", ns(running)));
        counters.push(Counter::new(Source::Vmm, "serve_ns", ns(serving)));
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(counters: &[Counter], name: &str) -> u64 {
        counters.iter().find(|c| c.name == name).unwrap().value
    }

    #[test]
    fn counts_by_reason_and_since_a_moment() {
        let mut account = Accounting::start();
        account.returned();
        account.count(Reason::Io);
        account.served(Reason::Io);
        let begin = account.clone();
        for reason in [Reason::Io, Reason::Io, Reason::Hlt] {
            account.returned();
            account.count(reason);
            account.served(reason);
        }
        let roi = account.since(Some(&begin), 1.0);
        assert_eq!((value(&roi, "exit.io"), value(&roi, "exit.hlt"), value(&roi, "exit.total")), (2, 1, 3));
        assert_eq!(value(&roi, "serve_ns"), value(&roi, "exit.io_ns") + value(&roi, "exit.hlt_ns"));
        account.interrupt(Acknowledged { vector: 0x20, line: Some(0) });
        account.interrupt(Acknowledged { vector: 0x27, line: None });
        account.idled();
        let irqs = account.since(Some(&begin), 1.0);
        assert_eq!((value(&irqs, "irq.timer"), value(&irqs, "irq.spurious")), (1, 1));
        assert_eq!(value(&irqs, "serve_ns"), value(&roi, "serve_ns"), "sleeping is no serving");
        let total = account.since(None, 1.0);
        assert_eq!((value(&total, "exit.io"), value(&total, "exit.total")), (3, 4));
    }
}
