//! Ending a run from outside: by the user, or by the clock.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cpu::Kick;

/// Who ended the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    Clock = 1,
    User = 2,
    /// Nobody: a debugger has something to do, and the run goes on.
    Debugger = 3,
}

/// Stops a running machine from another thread, such as one that handles Ctrl-C. Clones stop the same machine.
#[derive(Debug, Clone)]
pub struct StopHandle {
    reason: Arc<AtomicU8>,
    kick: Arc<dyn Kick>,
}

impl StopHandle {
    pub(crate) fn new(kick: Arc<dyn Kick>) -> Self {
        Self { reason: Arc::default(), kick }
    }

    /// Stops the machine soon; its outcome is then [`crate::End::Stopped`]. Harmless before or after the run.
    pub fn stop(&self) {
        self.stop_for(StopReason::User);
    }

    fn stop_for(&self, reason: StopReason) {
        // The first reason to end stands. It is stored before the kick, so whoever sees the kick's effect sees it too.
        let first = |old| (old == 0 || old == StopReason::Debugger as u8).then_some(reason as u8);
        let _ = self.reason.fetch_update(Ordering::SeqCst, Ordering::SeqCst, first);
        self.kick.kick();
    }

    /// Makes a machine that a debugger runs return to it soon ([`crate::Stop::Asked`]).
    pub fn attend(&self) {
        let asked = StopReason::Debugger as u8;
        let _ = self.reason.compare_exchange(0, asked, Ordering::SeqCst, Ordering::SeqCst);
        self.kick.kick();
    }

    /// The debugger does what it was asked for.
    pub(crate) fn heed(&self) {
        let asked = StopReason::Debugger as u8;
        let _ = self.reason.compare_exchange(asked, 0, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether the run is to end.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.requested(), Some(StopReason::Clock | StopReason::User))
    }

    /// Whether and by whom the machine was stopped.
    #[inline]
    pub(crate) fn requested(&self) -> Option<StopReason> {
        match self.reason.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StopReason::Clock),
            3 => Some(StopReason::Debugger),
            _ => Some(StopReason::User),
        }
    }
}

/// How often an overdue machine is kicked again, should it not react.
const INSIST: Duration = Duration::from_millis(10);

/// A thread that stops the machine when its time is up; dropping it ends the thread.
pub(crate) struct Watchdog {
    done: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Starts watching: after `limit` the machine of `handle` is stopped.
    pub(crate) fn start(limit: Duration, handle: StopHandle) -> std::io::Result<Self> {
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&done);
        // A limit beyond the clock's range is none.
        let deadline = Instant::now().checked_add(limit);
        let body = move || {
            let (done, changed) = &*shared;
            let mut guard = done.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
                guard = match left {
                    None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
                    Some(left) => {
                        if left.is_zero() {
                            handle.stop_for(StopReason::Clock);
                        }
                        let pause = if left.is_zero() { INSIST } else { left };
                        changed.wait_timeout(guard, pause).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
        };
        let thread = std::thread::Builder::new().name("time-limit".to_owned()).spawn(body)?;
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.done.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread's body does not panic; if it did, there would be nothing left to do for it.
            let _ = thread.join();
        }
    }
}
