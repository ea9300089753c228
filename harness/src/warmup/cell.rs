//! All runs of one workload on one engine.

use serde::{Deserialize, Serialize};

use super::classify::{Class, Course};
use crate::model::Setup;
use crate::results;
use crate::stats::{Bootstrap, Estimate};

/// How many runs took which course.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Runs that were flat.
    pub flat: usize,
    /// Runs that warmed up.
    pub warm_up: usize,
    /// Runs that slowed down.
    pub slow_down: usize,
    /// Runs that never became steady.
    pub no_steady_state: usize,
}

impl Classes {
    fn count(&mut self, class: Class) {
        match class {
            Class::Flat => self.flat += 1,
            Class::WarmUp => self.warm_up += 1,
            Class::SlowDown => self.slow_down += 1,
            Class::NoSteadyState => self.no_steady_state += 1,
            Class::Inconsistent => {}
        }
    }

    /// The classes that occur, each with its number of runs.
    #[must_use]
    pub fn occurring(&self) -> Vec<(Class, usize)> {
        let all = [
            (Class::Flat, self.flat),
            (Class::WarmUp, self.warm_up),
            (Class::SlowDown, self.slow_down),
            (Class::NoSteadyState, self.no_steady_state),
        ];
        all.into_iter().filter(|&(_, runs)| runs > 0).collect()
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The time of each lap, nanoseconds.
    pub laps: Vec<f64>,
    /// How it went.
    pub course: Course,
}

impl Run {
    /// The run with these laps, `None` without any.
    #[must_use]
    pub fn new(laps: Vec<f64>) -> Option<Self> {
        let course = Course::of(&laps)?;
        Some(Self { laps, course })
    }

    fn steady(&self) -> Option<Vec<f64>> {
        self.course.steady_from.and_then(|from| self.laps.get(from..)).map(<[f64]>::to_vec)
    }
}

/// One engine with one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Arguments of the program, without `laps=`.
    pub args: Vec<String>,
    /// Runs that were measured.
    pub n: usize,
    /// The class on which all runs agree, or `inconsistent`; `None` without a run.
    pub class: Option<Class>,
    /// How many runs took which course.
    pub classes: Classes,
    /// The lap, from 1, from which on every run is steady. As all that follows, only where every run became steady.
    pub steady_from: Option<usize>,
    /// The steady time of a lap, nanoseconds: the median of the runs' medians.
    pub steady_ns: Option<f64>,
    /// Lower end of its interval: bootstrap of runs, and of laps in each.
    pub steady_low_ns: Option<f64>,
    /// Upper end.
    pub steady_high_ns: Option<f64>,
    /// The time of the first lap over the steady one.
    pub first_over_steady: Option<f64>,
    /// Lower end of its interval.
    pub first_over_steady_low: Option<f64>,
    /// Upper end.
    pub first_over_steady_high: Option<f64>,
    /// Why there are no more runs, or what is wrong with them, in one sentence.
    pub note: Option<String>,
}

impl Cell {
    /// The cell of these runs.
    #[must_use]
    pub fn of(cell: &results::Cell, runs: &[Run], note: Option<String>, bootstrap: &Bootstrap) -> Self {
        let mut classes = Classes::default();
        runs.iter().for_each(|run| classes.count(run.course.class));
        let class = match classes.occurring()[..] {
            [] => None,
            [(class, _)] => Some(class),
            _ => Some(Class::Inconsistent),
        };
        let steady: Option<Vec<Vec<f64>>> = runs.iter().map(Run::steady).collect();
        let steady = steady.unwrap_or_default();
        let first: Vec<Vec<f64>> = runs.iter().map(|run| run.laps.iter().take(1).copied().collect()).collect();
        let key = |what: &str| format!("{what}/{}/{}", cell.engine, cell.workload);
        let time = bootstrap.hierarchical(&key("steady"), &steady);
        let ratio = bootstrap.hierarchical_ratio(&key("first"), &first, &steady);
        let low = |e: Option<Estimate>| e.and_then(|e| e.interval).map(|i| i.low);
        let high = |e: Option<Estimate>| e.and_then(|e| e.interval).map(|i| i.high);
        let from = runs.iter().filter_map(|run| run.course.steady_from).max();
        Self {
            engine: cell.engine,
            workload: cell.workload.clone(),
            args: cell.args.clone(),
            n: runs.len(),
            class,
            classes,
            steady_from: from.filter(|_| time.is_some()).map(|lap| lap + 1),
            steady_ns: time.map(|e| e.value),
            steady_low_ns: low(time),
            steady_high_ns: high(time),
            first_over_steady: ratio.map(|e| e.value),
            first_over_steady_low: low(ratio),
            first_over_steady_high: high(ratio),
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::changepoint::tests::noisy;
    use super::*;
    use crate::model::EngineId;

    fn run(seed: u64, cold: usize, factor: f64) -> Run {
        let mut laps = noisy(seed, 40, 0.01);
        laps[..cold].iter_mut().for_each(|x| *x *= factor);
        Run::new(laps).expect("laps")
    }

    fn cell(runs: &[Run]) -> Cell {
        let cell = results::Cell { engine: EngineId::EmuDbt.into(), workload: "sieve".into(), args: Vec::new() };
        Cell::of(&cell, runs, None, &Bootstrap::new(1))
    }

    #[test]
    fn runs_that_agree_have_one_class() {
        let found = cell(&[run(1, 3, 2.0), run(2, 4, 2.0), run(3, 3, 2.0)]);
        assert_eq!((found.n, found.class, found.steady_from), (3, Some(Class::WarmUp), Some(5)));
        let steady = found.steady_ns.expect("a time");
        assert!((steady / 1e6 - 1.0).abs() < 0.01, "{steady}");
        assert!(found.steady_low_ns < found.steady_ns && found.steady_ns < found.steady_high_ns, "{found:?}");
        assert!((found.first_over_steady.expect("a ratio") - 2.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn runs_that_differ_are_inconsistent() {
        let found = cell(&[run(1, 3, 2.0), run(2, 0, 1.0), run(3, 0, 1.0)]);
        assert_eq!(found.class, Some(Class::Inconsistent));
        assert_eq!(found.classes.occurring(), [(Class::Flat, 2), (Class::WarmUp, 1)]);
        assert!(found.steady_ns.is_some(), "each became steady");
    }

    #[test]
    fn without_a_steady_state_there_is_no_steady_time() {
        let found = cell(&[run(1, 35, 2.0), run(2, 3, 2.0), run(3, 3, 2.0)]);
        assert_eq!((found.classes.no_steady_state, found.steady_ns, found.steady_from), (1, None, None));
        let none = cell(&[]);
        assert_eq!((none.class, none.n, none.steady_ns), (None, 0, None));
    }
}
