//! Interrupts: the timer, the controllers that it is connected to, and how a request reaches a virtual CPU.
//!
//! The same for every kind of virtual CPU: the machine itself plays timer and controllers, and hands the CPU a vector when
//! it can take one. A guest that does not program the timer costs one test of a flag per exit.

use std::sync::Arc;
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
    origin: Instant,
    bell: Arc<Bell>,
    /// Started before the guest: in the sandbox no thread can be.
    ticker: Ticker,
    /// There is, or was, more to do than to run the CPU. It stays so: the CPU may have been asked for a window.
    active: bool,
}

/// Why the timer cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that keeps the guest's timer: {0}")]
pub struct TickerError(std::io::Error);

impl Interrupts {
    /// Starts the thread that keeps the timer, with nothing due.
    pub(crate) fn start(bell: Arc<Bell>) -> Result<Self, TickerError> {
        let origin = Instant::now();
        let ticker = Ticker::start(origin, Arc::clone(&bell)).map_err(TickerError)?;
        Ok(Self { pics: Pics::new(), pit: Pit::new(), origin, bell, ticker, active: false })
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
            self.pit.write(port, value, ns_since(self.origin));
            self.plan();
        }
        self.look();
        self.active |= self.pics.interrupts();
    }

    /// Tells the ticker when the timer's output rises next.
    fn plan(&mut self) {
        let schedule = self.pit.next_rise(ns_since(self.origin)).map(|(next, period)| Schedule { next, period });
        self.active |= schedule.is_some();
        self.ticker.set(schedule);
    }

    /// Reads one byte.
    pub(crate) fn read(&mut self, port: u16) -> u8 {
        self.look();
        if Pics::has_port(port) { self.pics.read(port) } else { self.pit.read(port, ns_since(self.origin)) }
    }

    /// Carries the timer's output to the controller.
    fn look(&mut self) {
        let now = ns_since(self.origin);
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
        if self.bell.take_due() {
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
        let ticks = self.pit.next_rise(ns_since(self.origin)).is_some() && self.pics.could_interrupt(TIMER_LINE);
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
