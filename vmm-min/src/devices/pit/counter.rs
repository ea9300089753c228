//! One counter of the timer. Its gate is always high, as that of the first counter of a PC is.
//!
//! Time is in ticks of the counter's clock. A count that is written is loaded by the next tick; the output is then a
//! function of the time since.

/// Which bytes of the count are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Low,
    High,
    /// The low byte, then the high one.
    Both,
}

/// What a counter does with its output. Modes 1 and 5 wait for a rising gate, which never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// 0: low until the count is over.
    Once,
    /// 2: low for the last tick of every period.
    Rate,
    /// 3: low for the second half of every period.
    Square,
    /// 4: low for the tick at which the count is over.
    Strobe,
    /// 1 and 5.
    Gated(u8),
}

impl Mode {
    const fn new(number: u8) -> Self {
        match number {
            0 => Self::Once,
            // The third bit is not looked at in modes 2 and 3.
            2 | 6 => Self::Rate,
            3 | 7 => Self::Square,
            4 => Self::Strobe,
            number => Self::Gated(number),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Once => 0,
            Self::Rate => 2,
            Self::Square => 3,
            Self::Strobe => 4,
            Self::Gated(number) => number,
        }
    }

    const fn is_periodic(self) -> bool {
        matches!(self, Self::Rate | Self::Square)
    }
}

/// A count in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Running {
    /// The tick that loaded it.
    start: u64,
    /// 1 to 65536.
    count: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Counter {
    mode: Mode,
    access: Access,
    bcd: bool,
    running: Option<Running>,
    /// In the periodic modes a new count waits for the end of the period.
    next: Option<Running>,
    /// The first of two bytes, written.
    low: Option<u8>,
    /// The first of two bytes was read.
    read_low: bool,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Counter {
    /// A counter as at power-on, which the data sheet leaves open: its output is high and it counts nothing.
    pub(super) const fn new() -> Self {
        Self {
            mode: Mode::Gated(1),
            access: Access::Both,
            bcd: false,
            running: None,
            next: None,
            low: None,
            read_low: false,
            latched: None,
            status: None,
        }
    }

    /// Takes a control word.
    pub(super) const fn program(&mut self, access: Access, mode: u8, bcd: bool) {
        *self = Self { mode: Mode::new(mode), access, bcd, ..Self::new() };
    }

    /// Takes a byte of the count.
    pub(super) fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.low.take()) {
            (Access::Low, _) => u16::from(value),
            (Access::High, _) => u16::from(value) << 8,
            (Access::Both, Some(low)) => u16::from_le_bytes([low, value]),
            (Access::Both, None) => {
                self.low = Some(value);
                if self.mode == Mode::Once {
                    self.running = None; // the first byte stops the count
                }
                return;
            }
        };
        let count = match if self.bcd { from_bcd(count) } else { u64::from(count) } {
            0 if self.bcd => 10_000,
            0 => 0x1_0000,
            count => count,
        };
        self.settle(now);
        match self.running {
            Some(running) if self.mode.is_periodic() => {
                self.next = Some(Running { start: running.start + (running.periods(now) + 1) * running.count, count });
            }
            _ => self.running = Some(Running { start: now + 1, count }),
        }
    }

    /// Lets a count that waited take effect if its time has come.
    pub(super) fn settle(&mut self, now: u64) {
        if let Some(next) = self.next.filter(|next| next.start <= now) {
            (self.running, self.next) = (Some(next), None);
        }
    }

    /// The count in force at a moment.
    fn at(&self, now: u64) -> Option<Running> {
        self.next.filter(|next| next.start <= now).or(self.running)
    }

    /// The output.
    pub(super) fn output(&self, now: u64) -> bool {
        let Some(running) = self.at(now) else { return self.mode != Mode::Once };
        let elapsed = running.elapsed(now);
        match self.mode {
            Mode::Once => elapsed >= running.count,
            Mode::Rate => elapsed % running.count != running.count - 1 || running.count == 1,
            Mode::Square => elapsed % running.count < running.count.div_ceil(2),
            Mode::Strobe => elapsed != running.count,
            Mode::Gated(_) => true,
        }
    }

    /// The first tick after `after` at which the output rises.
    pub(super) fn next_rise(&self, after: u64) -> Option<u64> {
        let running = self.at(after)?;
        let once = |rise: u64| (rise > after).then_some(rise);
        match self.mode {
            Mode::Once => once(running.start + running.count),
            Mode::Strobe => once(running.start + running.count + 1),
            // Each period ends with a rise; a new count begins with one, too.
            Mode::Rate | Mode::Square => Some(running.start + (running.periods(after) + 1) * running.count),
            Mode::Gated(_) => None,
        }
    }

    /// Ticks from rise to rise, where the output goes on rising.
    pub(super) fn period(&self) -> Option<u64> {
        let running = self.next.or(self.running)?;
        self.mode.is_periodic().then_some(running.count)
    }

    /// Keeps the count for the next read.
    pub(super) fn latch(&mut self, now: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.count(now));
        }
    }

    /// Keeps the status for the next read, which comes before a latched count.
    pub(super) fn latch_status(&mut self, now: u64) {
        let null = self.running.is_none_or(|running| now < running.start) || self.next.is_some_and(|n| now < n.start);
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::Both => 3,
        };
        let bits = u8::from(self.output(now)) << 7 | u8::from(null) << 6 | access << 4;
        self.status.get_or_insert(bits | self.mode.number() << 1 | u8::from(self.bcd));
    }

    /// Gives a byte of the status or of the count.
    pub(super) fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let (byte, last) = match self.access {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::Both => {
                self.read_low = !self.read_low;
                if self.read_low { (low, false) } else { (high, true) }
            }
        };
        if last {
            self.latched = None;
        }
        byte
    }

    /// The count as a program reads it.
    fn count(&self, now: u64) -> u16 {
        let Some(running) = self.at(now) else { return 0 };
        let (elapsed, range) = (running.elapsed(now), if self.bcd { 10_000 } else { 0x1_0000 });
        let left = match self.mode {
            Mode::Rate => running.count - elapsed % running.count,
            // It counts by twos, twice a period. (Odd counts are off by one for part of it.)
            Mode::Square => running.count - elapsed * 2 % running.count,
            // It goes on below zero.
            Mode::Once | Mode::Strobe | Mode::Gated(_) => (running.count + range - elapsed % range) % range,
        };
        if self.bcd { to_bcd(left % range) } else { (left % range) as u16 }
    }
}

impl Running {
    /// Ticks since it was loaded.
    const fn elapsed(self, now: u64) -> u64 {
        now.saturating_sub(self.start)
    }

    /// Periods that are over.
    const fn periods(self, now: u64) -> u64 {
        self.elapsed(now) / self.count
    }
}

fn from_bcd(value: u16) -> u64 {
    (0..4).rev().fold(0, |sum, digit| sum * 10 + u64::from(value >> (4 * digit) & 15))
}

fn to_bcd(value: u64) -> u16 {
    (0..4).fold(0, |sum, digit| sum | ((value / 10_u64.pow(digit) % 10) as u16) << (4 * digit))
}
