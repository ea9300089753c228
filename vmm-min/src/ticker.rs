//! The host's side of the timer: a thread that wakes the machine when a tick is due, and the bell it sleeps by.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cpu::Kick;
use crate::devices::pit;

/// A guest may ask for a million ticks a second; the host serves no more than one in this time, ns.
const SHORTEST: u64 = 100_000;

/// Wakes a machine whose guest has halted, and interrupts one whose guest runs.
#[derive(Debug)]
pub(crate) struct Bell {
    cpu: Arc<dyn Kick>,
    /// The virtual CPU is about to run, or runs.
    running: AtomicBool,
    /// A tick is due that the machine has not looked at.
    due: AtomicBool,
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn new(cpu: Arc<dyn Kick>) -> Self {
        Self {
            cpu,
            running: AtomicBool::new(false),
            due: AtomicBool::new(false),
            rung: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Says that the virtual CPU is about to run. False if a tick is due: then it must not, for nobody would kick it.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        // Either this sees the tick, or `tick` sees that the CPU runs: both store, then load, in one total order.
        self.running.store(true, Ordering::SeqCst);
        let clear = !self.due.load(Ordering::SeqCst);
        if !clear {
            self.leave();
        }
        clear
    }

    /// Says that the virtual CPU does not run any more.
    #[inline]
    pub(crate) fn leave(&self) {
        self.running.store(false, Ordering::Release);
    }

    /// Whether a tick was due; it is not any more.
    #[inline]
    pub(crate) fn take_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) && self.due.swap(false, Ordering::SeqCst)
    }

    /// Waits until somebody rings.
    pub(crate) fn wait(&self) {
        let rung = lock(&self.rung);
        *self.changed.wait_while(rung, |rung| !*rung).unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn ring(&self) {
        *lock(&self.rung) = true;
        self.changed.notify_one();
    }

    fn tick(&self) {
        self.due.store(true, Ordering::SeqCst);
        if self.running.load(Ordering::SeqCst) {
            self.cpu.kick();
        }
        // In any case, for the CPU may just have halted; the next wait then ends at once, and looks again.
        self.ring();
    }
}

/// Whoever stops a machine finds it running or asleep.
impl Kick for Bell {
    fn kick(&self) {
        self.cpu.kick();
        self.ring();
    }
}

/// When ticks are due, in ticks of the timer's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The next one.
    pub(crate) next: u64,
    /// From one to the next, if there are more.
    pub(crate) period: Option<u64>,
}

impl Schedule {
    /// The first tick that is due after now, leaving out those that come too soon after it.
    fn after(self, now_ns: u64) -> Option<Self> {
        let period = self.period?.max(1);
        let soonest = pit::ticks(now_ns.saturating_add(SHORTEST));
        let missed = soonest.saturating_sub(self.next).div_ceil(period).max(1);
        Some(Self { next: self.next.saturating_add(missed.saturating_mul(period)), ..self })
    }
}

#[derive(Debug, Default)]
struct Orders {
    /// The schedule, and when the timer's clock began.
    schedule: Option<(Schedule, Instant)>,
    done: bool,
}

/// The thread; dropping it ends it.
pub(crate) struct Ticker {
    orders: Arc<(Mutex<Orders>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

impl Ticker {
    /// Starts the thread, with nothing due.
    pub(crate) fn start(bell: Arc<Bell>) -> std::io::Result<Self> {
        let orders = Arc::<(Mutex<Orders>, Condvar)>::default();
        let shared = Arc::clone(&orders);
        let body = move || serve(&shared, &bell);
        let thread = std::thread::Builder::new().name("timer".to_owned()).spawn(body)?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Replaces the schedule; the timer's clock began at `origin`.
    pub(crate) fn set(&self, schedule: Option<Schedule>, origin: Instant) {
        lock(&self.orders.0).schedule = schedule.map(|schedule| (schedule, origin));
        self.orders.1.notify_one();
    }
}

fn serve((orders, changed): &(Mutex<Orders>, Condvar), bell: &Bell) {
    let mut guard = lock(orders);
    while !guard.done {
        let Some((schedule, origin)) = guard.schedule else {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = ns_since(origin);
        let left = pit::ns(schedule.next).saturating_sub(now);
        if left == 0 {
            bell.tick();
            guard.schedule = schedule.after(now).map(|next| (next, origin));
        } else {
            let left = Duration::from_nanos(left);
            guard = changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        lock(&self.orders.0).done = true;
        self.orders.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread's body does not panic; if it did, there would be nothing left to do for it.
            let _ = thread.join();
        }
    }
}

/// Nanoseconds since then.
pub(crate) fn ns_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Debug, Default)]
    struct Kicks(AtomicU64);

    impl Kick for Kicks {
        fn kick(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn missed_and_hasty_ticks_are_left_out() {
        let every = |period| Schedule { next: 100, period: Some(period) };
        assert_eq!(Schedule { next: 100, period: None }.after(0), None);
        // A thousand ticks are 838 us: the next is in time.
        assert_eq!(every(1000).after(pit::ns(100)), Some(Schedule { next: 1100, period: Some(1000) }));
        assert_eq!(every(1000).after(pit::ns(5200)).map(|s| s.next), Some(6100));
        let hasty = every(1).after(pit::ns(100)).map(|s| pit::ns(s.next));
        assert!(hasty.is_some_and(|ns| ns >= pit::ns(100) + SHORTEST - 1000), "{hasty:?}");
        assert_eq!(every(0).after(u64::MAX).map(|s| s.period), Some(Some(0)), "no division by zero");
    }

    #[test]
    fn a_running_cpu_is_kicked_and_a_sleeping_one_woken() {
        let kicks = Arc::<Kicks>::default();
        let bell = Arc::new(Bell::new(Arc::<Kicks>::clone(&kicks)));
        let origin = Instant::now();
        let ticker = Ticker::start(Arc::clone(&bell)).unwrap();
        assert!(bell.enter());
        ticker.set(Some(Schedule { next: 1, period: None }), origin);
        while kicks.0.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        bell.leave();
        assert!(!bell.enter(), "the tick was not looked at");
        assert!(bell.take_due() && !bell.take_due());
        ticker.set(Some(Schedule { next: 1, period: Some(1193) }), origin);
        let mut woken = 0;
        while woken < 3 {
            bell.wait();
            woken += u64::from(bell.take_due());
        }
        assert_eq!(kicks.0.load(Ordering::SeqCst), 1);
        assert!(ns_since(origin) > 1_000_000, "the second and third came with their period");
        drop(ticker);
        assert!(bell.enter(), "no tick comes from a thread that has ended");
    }
}
