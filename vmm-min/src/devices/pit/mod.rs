//! The 8254 programmable interval timer: three counters at 1.193182 MHz, of which the first drives interrupt line 0.
//!
//! Source: Intel 8254 data sheet (order number 231164-005). Time is what the caller says it is, in nanoseconds since an
//! origin of its own, so that tests are exact; nothing here keeps a host timer.

mod counter;

use counter::{Access, Counter};

/// First port: the three counters, then the control word.
pub(crate) const PORT: u16 = 0x40;
/// Last port, the control word.
pub(crate) const LAST_PORT: u16 = 0x43;
/// Frequency of the counters' clock: a third of a PC's 3.579545 MHz, Hz.
const HZ: u128 = 1_193_182;
const NS: u128 = 1_000_000_000;

/// The timer.
#[derive(Debug, Clone)]
pub(crate) struct Pit {
    counters: [Counter; 3],
    /// Up to when edges of the first counter's output have been reported, in ticks of the clock.
    seen: u64,
    /// An edge that a write made.
    rose: bool,
}

/// Ticks of the timer's clock that are complete.
pub(crate) fn ticks(ns: u64) -> u64 {
    (u128::from(ns) * HZ / NS) as u64
}

/// When a tick is complete, nanoseconds rounded up.
pub(crate) fn ns(ticks: u64) -> u64 {
    u64::try_from((u128::from(ticks) * NS).div_ceil(HZ)).unwrap_or(u64::MAX)
}

impl Pit {
    /// A timer that nobody has programmed.
    pub(crate) const fn new() -> Self {
        Self { counters: [Counter::new(), Counter::new(), Counter::new()], seen: 0, rose: false }
    }

    /// Whether the output of the first counter has risen since the last time this was asked.
    pub(crate) fn take_rise(&mut self, now: u64) -> bool {
        let now = ticks(now);
        let counter = &mut self.counters[0];
        let risen = std::mem::take(&mut self.rose) | counter.next_rise(self.seen).is_some_and(|rise| rise <= now);
        self.seen = self.seen.max(now);
        counter.settle(self.seen);
        risen
    }

    /// The output of the first counter.
    pub(crate) fn output(&self, now: u64) -> bool {
        self.counters[0].output(ticks(now))
    }

    /// The tick at which the output of the first counter will rise next, and how many it then takes from rise to rise.
    pub(crate) fn next_rise(&self, now: u64) -> Option<(u64, Option<u64>)> {
        let counter = &self.counters[0];
        let rise = counter.next_rise(ticks(now))?;
        Some((rise, counter.period()))
    }

    /// Writes one byte.
    pub(crate) fn write(&mut self, port: u16, value: u8, now: u64) {
        self.rose |= self.take_rise(now);
        let before = self.output(now);
        let now_ticks = ticks(now);
        match port & 3 {
            3 => self.control(value, now_ticks),
            number => self.counters[usize::from(number)].write(value, now_ticks),
        }
        self.rose |= !before && self.output(now);
    }

    /// Reads one byte; the control word cannot be read.
    pub(crate) fn read(&mut self, port: u16, now: u64) -> u8 {
        match port & 3 {
            3 => 0xff,
            number => self.counters[usize::from(number)].read(ticks(now)),
        }
    }

    fn control(&mut self, value: u8, now: u64) {
        if value >> 6 == 3 {
            // Read-back: bits 5 and 4 are low for what is to be latched, of each counter that bits 1 to 3 select.
            for counter in self.counters.iter_mut().enumerate().filter(|(n, _)| value & 2 << n != 0).map(|(_, c)| c) {
                if value & 0x20 == 0 {
                    counter.latch(now);
                }
                if value & 0x10 == 0 {
                    counter.latch_status(now);
                }
            }
            return;
        }
        let counter = &mut self.counters[usize::from(value >> 6)];
        let access = match value >> 4 & 3 {
            0 => return counter.latch(now),
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        counter.program(access, value >> 1 & 7, value & 1 != 0);
    }
}

#[cfg(test)]
mod tests;
