//! How much work a guest gets: as much as keeps it busy for half a second when it is alone.
//!
//! Guests do not begin at the same moment, however closely they are started: each boots first, and boots of many guests on
//! few processors take turns. Regions of interest that are short against this would hardly overlap. And where they are
//! long, an engine that is a hundred times slower must not take a hundred times as long. So the size is the engine's own;
//! it is the same for every number of guests.

use std::time::Duration;

use crate::model::Status;

use super::crew::Guest;

/// The region of interest of a guest alone should be as long as this.
const TARGET: Duration = Duration::from_millis(500);
/// It need not be longer than this.
const ENOUGH: Duration = Duration::from_millis(400);
/// Trials at most.
const TRIALS: u32 = 6;
/// Most by which work grows from one trial to the next: the first may be too short to tell much.
const STEP: f64 = 60.0;
/// The largest size, as for `--size`.
const LARGEST: f64 = 1000.0;

/// A size of the work and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Factor on the amount of work of the catalogue.
    pub size: f64,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Region of interest of a guest alone, nanoseconds.
    pub time_ns: u64,
    /// From the start of its process to its end, nanoseconds.
    pub wall_ns: u64,
}

/// Why no size was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A guest alone did not end well, or was stopped.
    #[error("{message}")]
    Failed {
        /// How it ended.
        status: Status,
        /// Why.
        message: String,
    },
    /// Its work cannot be made long enough.
    #[error("its region of interest takes {longest:.1?} at most: guests so short hardly overlap")]
    TooShort {
        /// The longest.
        longest: Duration,
    },
}

/// Finds the size. `args` has the program's arguments for a size, `alone` runs one guest with them.
///
/// With `fixed` that size is tried once and taken, however long it takes.
///
/// # Errors
/// [`Unfit`] where a guest fails, or none of the sizes is long enough.
pub fn calibrate(
    fixed: Option<f64>,
    args: impl Fn(f64) -> Vec<String>,
    mut alone: impl FnMut(&[String]) -> Guest,
) -> Result<Trial, Unfit> {
    let (target, enough) = (TARGET.as_nanos() as f64, ENOUGH.as_nanos() as f64);
    let mut size = fixed.unwrap_or(1.0);
    let mut words = args(size);
    for _ in 0..TRIALS {
        let guest = alone(&words);
        let Some(time_ns) = guest.time_ns().filter(|_| guest.record.status == Status::Ok) else {
            let missing = || "it printed no time of its region of interest".to_owned();
            let status = if guest.record.status == Status::Ok { Status::Failed } else { guest.record.status };
            return Err(Unfit::Failed { status, message: guest.record.message.unwrap_or_else(missing) });
        };
        let trial = Trial { size, args: words.clone(), time_ns, wall_ns: guest.record.wall_ns };
        if fixed.is_some() || time_ns as f64 >= enough {
            return Ok(trial);
        }
        size = (size * (target / time_ns as f64).clamp(1.1, STEP)).min(LARGEST);
        let next = args(size);
        if next == words {
            return Err(Unfit::TooShort { longest: Duration::from_nanos(time_ns) });
        }
        words = next;
    }
    // Six steps of 60 reach every size; a time that does not follow the size is not of work.
    Err(Unfit::Failed {
        status: Status::Failed,
        message: "its time does not grow with its work, so no size was found; choose one with --size".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::testing;

    /// Finds the size on an engine that needs `unit_ns` for size 1; also says how many trials it took.
    fn on(unit_ns: f64, fixed: Option<f64>, largest: u64) -> (Result<Trial, Unfit>, usize) {
        let mut trials = 0;
        let args = |size: f64| vec![((size * 100.0).round() as u64).min(largest).to_string()];
        let found = calibrate(fixed, args, |words| {
            trials += 1;
            let units: f64 = words[0].parse().expect("a number");
            testing::guest(1, units / 100.0 * unit_ns)
        });
        (found, trials)
    }

    #[test]
    fn fast_and_slow_engines_get_half_a_second() {
        for unit_ns in [1.5e6, 30e6, 350e6] {
            let (found, trials) = on(unit_ns, None, u64::MAX);
            let time = found.expect("it scales").time_ns as f64;
            assert!((400e6..600e6).contains(&time) && trials <= 4, "{unit_ns}: {time} after {trials}");
        }
        let (found, trials) = on(3e9, None, u64::MAX);
        assert_eq!((found.expect("long enough").size, trials), (1.0, 1), "more than enough is enough");
    }

    #[test]
    fn a_chosen_size_is_taken_as_it_is() {
        let (found, trials) = on(1e6, Some(2.0), u64::MAX);
        assert_eq!((found.map(|t| (t.size, t.args)), trials), (Ok((2.0, vec!["200".to_owned()])), 1));
    }

    #[test]
    fn work_that_cannot_grow_is_too_short() {
        let (found, _) = on(1e6, None, 150);
        let text = found.expect_err("1.5 ms at most").to_string();
        assert!(text.contains("takes 1.5ms at most"), "{text}");
    }

    #[test]
    fn a_guest_that_fails_ends_it() {
        let mut failed = testing::guest(1, 1e6);
        failed.record.status = Status::Timeout;
        failed.record.message = Some("too slow".to_owned());
        let found = calibrate(None, |_| Vec::new(), |_| failed.clone());
        assert_eq!(found, Err(Unfit::Failed { status: Status::Timeout, message: "too slow".to_owned() }));
        let idle = calibrate(None, |size| vec![size.to_string()], |_| testing::guest(1, 39e7));
        assert!(idle.expect_err("always 390 ms").to_string().contains("--size"));
    }
}
