//! How much of the time somebody waits for a processor.

use std::fs;
use std::time::{Duration, Instant};

/// Linux's account of it (pressure stall information, `Documentation/accounting/psi.rst`).
const CPU_PRESSURE: &str = "/proc/pressure/cpu";

/// Since when the pressure is taken.
#[derive(Debug, Clone, Copy)]
pub struct Pressure {
    since: Instant,
    waited: Option<Duration>,
}

impl Pressure {
    /// From now on.
    #[must_use]
    pub fn now() -> Self {
        Self { since: Instant::now(), waited: waited() }
    }

    /// The share of the time since then in which at least one runnable task waited for a processor, 0 to 1; `None` where the
    /// kernel does not account for it.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let waited = waited()?.checked_sub(self.waited?)?;
        let elapsed = self.since.elapsed();
        (!elapsed.is_zero()).then(|| (waited.as_secs_f64() / elapsed.as_secs_f64()).min(1.0))
    }
}

/// Since boot.
fn waited() -> Option<Duration> {
    parse(&fs::read_to_string(CPU_PRESSURE).ok()?)
}

/// The total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, which is in microseconds.
fn parse(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split_whitespace().find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        let text = "some avg10=97.43 avg60=96.93 avg300=97.97 total=12865173653\nfull avg10=0.00 avg60=0.00 total=7\n";
        assert_eq!(parse(text), Some(Duration::from_micros(12_865_173_653)));
        for text in ["", "full total=7", "some avg10=1.0", "some total=-3", "some total="] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_a_share() {
        let pressure = Pressure::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(pressure.share().is_none_or(|share| (0.0..=1.0).contains(&share)));
        assert_eq!(Pressure { waited: None, ..pressure }.share(), None);
    }
}
