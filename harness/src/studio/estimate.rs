//! How long the rest of an experiment will take.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::Setup;

/// Times of the runs so far.
#[derive(Debug, Default)]
pub struct Estimate {
    cells: HashMap<usize, Mean>,
    engines: HashMap<Setup, Mean>,
    all: Mean,
}

#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: Duration,
    count: u32,
}

impl Mean {
    fn add(&mut self, time: Duration) {
        self.sum += time;
        self.count += 1;
    }

    fn value(self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum / self.count)
    }
}

impl Estimate {
    /// Takes in that a run of this cell took `time`, from one run to the next.
    pub fn add(&mut self, cell: usize, engine: Setup, time: Duration) {
        self.cells.entry(cell).or_default().add(time);
        self.engines.entry(engine).or_default().add(time);
        self.all.add(time);
    }

    /// Time that runs of these cells will take; a cell that has not run yet counts as its engine's mean, or else as the
    /// mean of all. `None` before the first run.
    pub fn remaining(&self, ahead: impl Iterator<Item = (usize, Setup)>) -> Option<Duration> {
        let all = self.all.value()?;
        let known = |means: Option<&Mean>| means.and_then(|m| m.value());
        Some(
            ahead
                .map(|(cell, engine)| {
                    known(self.cells.get(&cell)).or_else(|| known(self.engines.get(&engine))).unwrap_or(all)
                })
                .sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EngineId;

    #[test]
    fn what_is_known_best_counts() {
        let second = Duration::from_secs;
        let [kvm, naive] = [EngineId::Kvm, EngineId::EmuNaive].map(Setup::plain);
        let mut estimate = Estimate::default();
        let ahead = [(0, kvm), (1, kvm), (2, naive)];
        assert_eq!(estimate.remaining(ahead.into_iter()), None);
        estimate.add(0, kvm, second(1));
        estimate.add(0, kvm, second(3));
        // The cell itself, its engine, and for a new engine all runs.
        assert_eq!(estimate.remaining(ahead.into_iter()), Some(second(6)));
        estimate.add(2, naive, second(20));
        assert_eq!(estimate.remaining(ahead.into_iter()), Some(second(24)));
        assert_eq!(estimate.remaining(std::iter::empty()), Some(Duration::ZERO));
    }
}
