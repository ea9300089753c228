//! How an experiment is measured: how often, in which order, for how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::MachineArgs;

/// How often and in which order runs are made, the same for `studio`, `ablate` and `warmup`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Write the results into this folder [default: results/<UTC time>-<host>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Runs of each workload on each engine [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: Option<u32>,
    /// Seed of the order of runs [default: drawn, and recorded in experiment.json]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The guest machine.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// When enough is measured and how runs are placed, the same for `studio` and `ablate`.
#[derive(Debug, Args)]
pub struct DesignArgs {
    /// Add runs where they are needed until the 95% interval of each ratio to native has at most this half
    /// width, such as 2%, or a cell has 100 runs; --runs is then the fewest
    #[arg(long, value_name = "P%", value_parser = parse_precision)]
    pub precision: Option<f64>,
    /// Begin no run after this time, such as 90s, 5m or 1h30m; without --precision, add rounds until then
    #[arg(long, value_name = "TIME", value_parser = parse_budget)]
    pub budget: Option<Duration>,
    /// Let stack and program lie at the same place in every run; else it is drawn from seed and number of the
    /// run, so that what the place does to a time is in the interval [always with --deterministic]
    #[arg(long)]
    pub fixed_setup: bool,
}

/// A part of a hundred, as the fraction.
fn parse_precision(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if (0.1..=50.0).contains(&percent) => Ok(percent / 100.0),
        Some(_) => Err("give a percentage from 0.1% to 50%".to_owned()),
        None => Err("give a percentage with its sign, such as 2% or 0.5%".to_owned()),
    }
}

pub(super) fn parse_budget(text: &str) -> Result<Duration, String> {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    match time {
        Some(time) if time >= Duration::from_secs(1) && time <= WEEK => Ok(Duration::from_secs(time.as_secs())),
        Some(_) => Err("give a time from 1s to 168h".to_owned()),
        None => Err("give a time with its unit, such as 90s, 5m or 1h30m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_a_percentage() {
        assert_eq!(["2%", "0.5 %"].map(parse_precision), [Ok(0.02), Ok(0.005)]);
        for bad in ["2", "0.02", "0%", "60%", "-1%", "nan%", "%", ""] {
            assert!(parse_precision(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_budget_has_a_unit() {
        let seconds = |text| parse_budget(text).map(|time| time.as_secs());
        assert_eq!(["90s", "5m", "1h30m", "1h 30m"].map(seconds), [Ok(90), Ok(300), Ok(5400), Ok(5400)]);
        for bad in ["5", "5 parsecs", "-5m", "0s", "200h", "", "10ms"] {
            assert!(parse_budget(bad).is_err(), "{bad}");
        }
    }
}
