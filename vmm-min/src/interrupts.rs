//! Interrupts: the timer, the controllers that it is connected to, and how a request reaches a virtual CPU.
//!
//! The same for every kind of virtual CPU: the machine itself plays timer and controllers, and hands the CPU a vector when
//! it can take one. A guest that does not program the timer costs one test of a flag per exit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::cpu::{CpuError, VirtualCpu};
use crate::devices::pic::{Acknowledged, Pics};
use crate::devices::pit::{self, Pit};
use crate::ticker::{Bell, Schedule, Ticker, ns_since};

/// The timer's line.
const TIMER_LINE: u8 = 0;

/// Timer and controllers.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pics: Pics,
    pit: Pit,
    time: Time,
    bell: Arc<Bell>,
    /// There is, or was, more to do than to run the CPU. It stays so: the CPU may have been asked for a window.
    active: bool,
}

/// What time it is for the timer.
#[derive(Debug)]
enum Time {
    /// The host's, since then; the thread says when a tick is due. It is started before the guest: in the sandbox no thread
    /// can be.
    Host { origin: Instant, ticker: Ticker },
    /// The guest's own: an instruction takes so many nanoseconds, and what it sleeps is left out.
    Guest { retired: Arc<AtomicU64>, skipped: u64, instruction_ns: u64 },
}

impl Time {
    fn now(&self) -> u64 {
        match self {
            Self::Host { origin, .. } => ns_since(*origin),
            Self::Guest { retired, skipped, instruction_ns } => {
                retired.load(Ordering::Relaxed) * instruction_ns + skipped
            }
        }
    }

    /// Nanoseconds that an instruction takes, where they are what passes.
    const fn instruction_ns(&self) -> u64 {
        match self {
            Self::Host { .. } => 1,
            Self::Guest { instruction_ns, .. } => *instruction_ns,
        }
    }
}

/// Why the timer cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that keeps the guest's timer: {0}")]
pub struct TickerError(std::io::Error);

impl Interrupts {
    /// Keeps the host's time; starts the thread that does, with nothing due.
    pub(crate) fn start(bell: Arc<Bell>) -> Result<Self, TickerError> {
        let ticker = Ticker::start(Arc::clone(&bell)).map_err(TickerError)?;
        Ok(Self::new(Time::Host { origin: Instant::now(), ticker }, bell))
    }

    /// Keeps the time of a guest that has retired so many instructions, each of which takes `instruction_ns`, at least 1.
    pub(crate) const fn with_guest_time(bell: Arc<Bell>, retired: Arc<AtomicU64>, instruction_ns: u64) -> Self {
        Self::new(Time::Guest { retired, skipped: 0, instruction_ns }, bell)
    }

    const fn new(time: Time, bell: Arc<Bell>) -> Self {
        Self { pics: Pics::new(), pit: Pit::new(), time, bell, active: false }
    }

    /// How many instructions there are until the timer's output rises, at least one.
    pub(crate) fn until_tick(&self) -> Option<u64> {
        let (now, each) = (self.time.now(), self.time.instruction_ns());
        self.pit.next_rise(now).map(|(tick, _)| pit::ns(tick).saturating_sub(now).div_ceil(each).max(1))
    }

    /// Lets the guest's time go on to the moment at which the timer's output rises; yields how many instructions would
    /// have taken as long.
    pub(crate) fn skip_to_tick(&mut self) -> u64 {
        let Some(left) = self.until_tick() else { return 0 };
        self.skip(left);
        left
    }

    /// Lets the guest's time go on as if it had retired so many instructions.
    pub(crate) fn skip(&mut self, instructions: u64) {
        if let Time::Guest { skipped, instruction_ns, .. } = &mut self.time {
            *skipped += instructions * *instruction_ns;
        }
        self.look();
    }

    /// Whether a port belongs to timer or controllers.
    pub(crate) const fn has_port(port: u16) -> bool {
        Pics::has_port(port) || (port >= pit::PORT && port <= pit::LAST_PORT)
    }

    /// Writes one byte.
    pub(crate) fn write(&mut self, port: u16, value: u8) {
        self.look();
        if Pics::has_port(port) {
            self.pics.write(port, value);
        } else {
            self.pit.write(port, value, self.time.now());
            self.plan();
        }
        self.look();
        self.active |= self.pics.interrupts();
    }

    /// Tells the ticker when the timer's output rises next.
    fn plan(&mut self) {
        let schedule = self.pit.next_rise(self.time.now()).map(|(next, period)| Schedule { next, period });
        self.active |= schedule.is_some();
        if let Time::Host { origin, ticker } = &self.time {
            ticker.set(schedule, *origin);
        }
    }

    /// Lets the timer stand still between two moments, in which the machine worked for who measures it: the tick that comes next
    /// comes that much later, and none waits because of that work.
    pub(crate) fn leave_out(&mut self, from: Instant, to: Instant) {
        if let Time::Host { origin, .. } = &mut self.time
            && self.active
        {
            *origin += to.saturating_duration_since(from);
            self.plan();
        }
    }

    /// Reads one byte.
    pub(crate) fn read(&mut self, port: u16) -> u8 {
        self.look();
        if Pics::has_port(port) { self.pics.read(port) } else { self.pit.read(port, self.time.now()) }
    }

    /// Carries the timer's output to the controller.
    fn look(&mut self) {
        let now = self.time.now();
        if self.pit.take_rise(now) {
            self.pics.set_line(TIMER_LINE, false);
            self.pics.set_line(TIMER_LINE, true);
        }
        self.pics.set_line(TIMER_LINE, self.pit.output(now));
    }

    /// Whether [`Self::deliver`], [`Bell::enter`] and [`Bell::leave`] must go around the running of the CPU.
    #[inline]
    pub(crate) const fn is_active(&self) -> bool {
        self.active
    }

    /// Hands the CPU what it can take, and asks it to say when it can take the rest.
    pub(crate) fn deliver(&mut self, cpu: &mut dyn VirtualCpu) -> Result<Option<Acknowledged>, CpuError> {
        if self.bell.take_due() || matches!(self.time, Time::Guest { .. }) {
            self.look();
        }
        let mut taken = None;
        if self.pics.interrupts() && cpu.is_interruptible() {
            let acknowledged = self.pics.acknowledge();
            cpu.interrupt(acknowledged.vector)?;
            taken = Some(acknowledged);
        }
        cpu.request_irq_window(self.pics.interrupts());
        Ok(taken)
    }

    /// Whether the timer can still interrupt a CPU that has halted and takes interrupts.
    pub(crate) fn can_wake(&mut self) -> bool {
        if !self.active {
            return false;
        }
        self.look();
        let ticks = self.pit.next_rise(self.time.now()).is_some() && self.pics.could_interrupt(TIMER_LINE);
        ticks || self.pics.interrupts()
    }

    /// Whether something is requested now; else waits until the bell rings.
    pub(crate) fn wait(&mut self) -> bool {
        if self.bell.take_due() {
            self.look();
        }
        let requested = self.pics.interrupts();
        if !requested {
            self.bell.wait();
        }
        requested
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cpu::Kick;

    #[derive(Debug)]
    struct Nobody;

    impl Kick for Nobody {
        fn kick(&self) {}
    }

    /// A timer with its longest period, connected to a controller that passes its line on.
    fn ticking() -> Interrupts {
        let mut interrupts =
            Interrupts::start(Arc::new(Bell::new(Arc::new(Nobody)))).expect("the host has threads left");
        let controller = [(0x20, 0x11), (0x21, 32), (0x21, 4), (0x21, 3), (0x21, 0xfe)];
        for (port, value) in controller.into_iter().chain([(0x43, 0x34), (0x40, 0xff), (0x40, 0xff)]) {
            interrupts.write(port, value);
        }
        interrupts
    }

    #[test]
    fn no_tick_comes_while_the_timer_stands_still() {
        let is_requested = |leaves_out| {
            let mut interrupts = ticking();
            let from = Instant::now();
            // Longer than a period, which is 55 ms.
            std::thread::sleep(Duration::from_millis(60));
            if leaves_out {
                // As if it had been longer still, or a slow test would meet the next tick.
                interrupts.leave_out(from, from + Duration::from_secs(1000));
            }
            interrupts.look();
            interrupts.pics.interrupts()
        };
        assert!(is_requested(false) && !is_requested(true));
    }

    #[test]
    fn a_timer_that_does_not_tick_need_not_stand_still() {
        let mut interrupts =
            Interrupts::start(Arc::new(Bell::new(Arc::new(Nobody)))).expect("the host has threads left");
        let from = Instant::now();
        interrupts.leave_out(from, from + Duration::from_secs(10));
        assert_eq!((interrupts.until_tick(), interrupts.is_active()), (None, false));
    }
}
