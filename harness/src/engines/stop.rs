//! The flag by which a run is stopped from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, by a signal handler or another thread; every clone sees it.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::StopFlag;

    #[test]
    fn clones_share_the_flag() {
        let flag = StopFlag::new();
        let clone = flag.clone();
        assert!(!clone.is_stopped());
        flag.stop();
        assert!(clone.is_stopped());
    }
}
