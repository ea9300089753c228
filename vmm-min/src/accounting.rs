//! Exit accounting: every exit by reason, and where the time went.

use crate::bus::Device;
use crate::cause::{Cause, Direction, Reason};
use crate::clock::ticks;
use crate::counters::{Counter, Source};
use crate::devices::pic::Acknowledged;
use crate::latency::{Latency, LatencyHistogram};
use crate::quadrants::Spans;

/// How many exits there were for one cause, and how long they took to serve.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    count: u64,
    ticks: u64,
}

impl Served {
    const fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, ticks: self.ticks - earlier.ticks }
    }
}

/// Running totals of one machine. Time is kept in ticks of the time-stamp counter.
///
/// The virtual CPU's time (`run`) begins where the serving of the last exit ends, so the two add up to the whole.
#[derive(Debug, Clone)]
pub(crate) struct Accounting {
    /// By reason.
    reasons: [Served; Reason::ALL.len()],
    /// Port I/O by device, and by direction.
    devices: [Served; Device::ALL.len()],
    directions: [u64; Direction::ALL.len()],
    /// How long exits took to serve: by reason; in that of port I/O's place, by device.
    serving: [Latency; Reason::ALL.len()],
    serving_io: [Latency; Device::ALL.len()],
    /// How long the CPU ran before an exit, by reason.
    before: [Latency; Reason::ALL.len()],
    running: u64,
    /// The last stay inside the virtual CPU.
    stay: u64,
    /// Time for which the guest was halted and the host slept.
    idle: u64,
    /// Interrupts that the CPU took: of the timer, and of nobody.
    timer: u64,
    spurious: u64,
    /// The last time stamp: the end of serving, or the return from the virtual CPU.
    last: u64,
    /// A part of what is being served was left out, so its latency is not known.
    skipped: bool,
}

impl Accounting {
    /// Begins now, about to run the virtual CPU.
    pub(crate) fn start() -> Self {
        Self {
            reasons: Default::default(),
            devices: Default::default(),
            directions: Default::default(),
            serving: std::array::from_fn(|_| Latency::new()),
            serving_io: std::array::from_fn(|_| Latency::new()),
            before: std::array::from_fn(|_| Latency::new()),
            running: 0,
            stay: 0,
            idle: 0,
            timer: 0,
            spurious: 0,
            last: ticks(),
            skipped: false,
        }
    }

    /// The virtual CPU has just returned.
    #[inline]
    pub(crate) fn returned(&mut self) {
        let now = ticks();
        self.stay = now.saturating_sub(self.last);
        self.running += self.stay;
        self.last = now;
    }

    /// The exit was for this cause; called before it is served, so that a reading taken meanwhile includes it.
    #[inline]
    pub(crate) fn count(&mut self, cause: Cause) {
        let reason = cause.reason as usize;
        self.reasons[reason].count += 1;
        self.before[reason].record(self.stay);
        if let Some((device, direction)) = cause.port {
            self.devices[device as usize].count += 1;
            self.directions[direction as usize] += 1;
        }
    }

    /// The exit has been served; the virtual CPU runs next. Returns the ticks that it took since the last time stamp.
    #[inline]
    pub(crate) fn served(&mut self, cause: Cause) -> u64 {
        let now = ticks();
        let took = now.saturating_sub(self.last);
        self.last = now;
        self.reasons[cause.reason as usize].ticks += took;
        let latency = match cause.port {
            Some((device, _)) => {
                self.devices[device as usize].ticks += took;
                &mut self.serving_io[device as usize]
            }
            None => &mut self.serving[cause.reason as usize],
        };
        if !std::mem::take(&mut self.skipped) {
            latency.record(took);
        }
        took
    }

    /// The CPU has taken an interrupt.
    pub(crate) const fn interrupt(&mut self, taken: Acknowledged) {
        match taken.line {
            Some(_) => self.timer += 1,
            None => self.spurious += 1,
        }
    }

    /// The host has slept, since the last time stamp, with the guest. Returns the ticks.
    pub(crate) fn idled(&mut self) -> u64 {
        let now = ticks();
        let slept = now.saturating_sub(self.last);
        self.idle += slept;
        self.last = now;
        slept
    }

    /// Leaves the time since the last time stamp out of the account: the harness's own work, not the guest's. Returns the
    /// ticks.
    pub(crate) fn skip(&mut self) -> u64 {
        let now = ticks();
        let skipped = now.saturating_sub(self.last);
        self.last = now;
        self.skipped = true;
        skipped
    }

    /// The last time stamp, in ticks.
    pub(crate) const fn stamp(&self) -> u64 {
        self.last
    }

    /// Where the time between `earlier` and the moment `until`, in ticks, went; an exit is being served then.
    pub(crate) fn spans(&self, earlier: &Self, until: u64, ns_per_tick: f64) -> Spans {
        let ns = |ticks: u64| (ticks as f64 * ns_per_tick).round() as u64;
        let serving = |a: &Self| a.reasons.iter().map(|served| served.ticks).sum::<u64>();
        Spans {
            running: ns(self.running - earlier.running),
            serving: ns(serving(self) - serving(earlier) + until.saturating_sub(self.last)),
            idle: ns(self.idle - earlier.idle),
        }
    }

    /// The counters between `earlier` and now.
    pub(crate) fn since(&self, earlier: Option<&Self>, ns_per_tick: f64) -> Vec<Counter> {
        let ns = |ticks: u64| (ticks as f64 * ns_per_tick).round() as u64;
        let mut counters = Vec::new();
        let mut add = |name: String, value| counters.push(Counter::new(Source::Vmm, name, value));
        let (mut exits, mut serving) = (0, 0);
        for reason in Reason::ALL {
            let i = reason as usize;
            let served = self.reasons[i].since(earlier.map_or(Served::default(), |e| e.reasons[i]));
            exits += served.count;
            serving += served.ticks;
            add(format!("exit.{}", reason.name()), served.count);
            add(format!("exit.{}_ns", reason.name()), ns(served.ticks));
        }
        for device in Device::ALL {
            let i = device as usize;
            let served = self.devices[i].since(earlier.map_or(Served::default(), |e| e.devices[i]));
            if served.count > 0 {
                add(format!("exit.io.{}", device.name()), served.count);
                add(format!("exit.io.{}_ns", device.name()), ns(served.ticks));
            }
        }
        for direction in Direction::ALL {
            let i = direction as usize;
            let count = self.directions[i] - earlier.map_or(0, |e| e.directions[i]);
            add(format!("exit.io.{}", direction.name()), count);
        }
        let late = |of: fn(&Self) -> u64| of(self) - earlier.map_or(0, of);
        for (name, value) in [
            ("irq.timer", late(|a| a.timer)),
            ("irq.spurious", late(|a| a.spurious)),
            ("idle_ns", ns(late(|a| a.idle))),
            ("exit.total", exits),
            ("run_ns", ns(late(|a| a.running))),
            ("serve_ns", ns(serving)),
        ] {
            add(name.to_owned(), value);
        }
        for (name, latency) in self.latencies(earlier) {
            counters.extend(latency.counters(&name, ns_per_tick));
        }
        counters
    }

    /// The latencies between `earlier` and now, whole.
    pub(crate) fn histograms(&self, earlier: &Self, ns_per_tick: f64) -> Vec<LatencyHistogram> {
        let latencies = self.latencies(Some(earlier));
        latencies.iter().filter_map(|(name, latency)| latency.export(name, ns_per_tick)).collect()
    }

    /// All histograms by name.
    fn latencies(&self, earlier: Option<&Self>) -> Vec<(String, Latency)> {
        let mut latencies = Vec::new();
        let mut io = Latency::new();
        for device in Device::ALL {
            let i = device as usize;
            let latency = self.serving_io[i].since(earlier.map(|e| &e.serving_io[i]));
            io.add(&latency);
            latencies.push((format!("exit.io.{}", device.name()), latency));
        }
        for reason in Reason::ALL {
            let i = reason as usize;
            let serving = match reason {
                Reason::Io => io.clone(),
                _ => self.serving[i].since(earlier.map(|e| &e.serving[i])),
            };
            latencies.push((format!("exit.{}", reason.name()), serving));
            let before = self.before[i].since(earlier.map(|e| &e.before[i]));
            latencies.push((format!("run.{}", reason.name()), before));
        }
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Exit;

    fn value(counters: &[Counter], name: &str) -> u64 {
        counters.iter().find(|c| c.name == name).unwrap().value
    }

    const IN: Cause = Cause { reason: Reason::Io, port: Some((Device::Console, Direction::In)) };
    const OUT: Cause = Cause { reason: Reason::Io, port: Some((Device::Scratch, Direction::Out)) };

    #[test]
    fn counts_by_reason_and_since_a_moment() {
        let mut account = Accounting::start();
        account.returned();
        account.count(OUT);
        account.served(OUT);
        let begin = account.clone();
        for cause in [OUT, IN, Cause::of(&Exit::Hlt)] {
            account.returned();
            account.count(cause);
            account.served(cause);
        }
        let roi = account.since(Some(&begin), 1.0);
        assert_eq!((value(&roi, "exit.io"), value(&roi, "exit.hlt"), value(&roi, "exit.total")), (2, 1, 3));
        assert_eq!(value(&roi, "serve_ns"), value(&roi, "exit.io_ns") + value(&roi, "exit.hlt_ns"));
        let by_device = ["exit.io.scratch", "exit.io.console"].map(|name| value(&roi, name));
        let by_direction = ["exit.io.out", "exit.io.in"].map(|name| value(&roi, name));
        assert_eq!((by_device, by_direction), ([1, 1], [1, 1]));
        assert_eq!(value(&roi, "exit.io_ns"), value(&roi, "exit.io.scratch_ns") + value(&roi, "exit.io.console_ns"));
        account.interrupt(Acknowledged { vector: 0x20, line: Some(0) });
        account.interrupt(Acknowledged { vector: 0x27, line: None });
        account.idled();
        let irqs = account.since(Some(&begin), 1.0);
        assert_eq!((value(&irqs, "irq.timer"), value(&irqs, "irq.spurious")), (1, 1));
        assert_eq!(value(&irqs, "serve_ns"), value(&roi, "serve_ns"), "sleeping is no serving");
        let total = account.since(None, 1.0);
        assert_eq!((value(&total, "exit.io"), value(&total, "exit.total")), (3, 4));
    }

    #[test]
    fn every_exit_has_two_latencies_but_one_that_was_interrupted_by_the_harness() {
        let mut account = Accounting::start();
        let begin = account.clone();
        for skip in [false, true, false] {
            account.returned();
            account.count(OUT);
            if skip {
                account.skip();
            }
            account.served(OUT);
        }
        let histograms = account.histograms(&begin, 1.0);
        let count = |name: &str| {
            let found = histograms.iter().find(|h| h.name == name).unwrap();
            found.buckets.iter().map(|b| b.count).sum::<u64>()
        };
        assert_eq!((count("exit.io"), count("exit.io.scratch"), count("run.io")), (2, 2, 3));
        assert!(histograms.iter().all(|h| h.name.contains("io")), "nothing else occurred");
        let counters = account.since(Some(&begin), 1.0);
        assert!(value(&counters, "exit.io.p50_ns") <= value(&counters, "exit.io.max_ns"));
        assert_eq!(value(&counters, "exit.io.max_ns"), value(&counters, "exit.io.scratch.max_ns"));
        assert!(!counters.iter().any(|c| c.name == "run.hlt.p50_ns"));
    }
}
