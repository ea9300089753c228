//! Options of the calibration.

use std::path::PathBuf;

use clap::Args;

use super::parse_percent;

/// `evlab calibrate`
#[derive(Debug, Args)]
#[command(after_help = CALIBRATE_HELP)]
pub struct CalibrateArgs {
    /// Only these engines, separated by commas [default: native, kvm, emu-dbt, emu-interp]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only these workloads, separated by commas
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Rounds to measure: a gate takes 57, and more make more gates
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(57..=10_000))]
    pub rounds: u32,
    /// Say how long an experiment takes until the intervals of its ratios are this narrow
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = parse_percent)]
    pub precision: f64,
    /// Seed of the order of runs [default: drawn, and told]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Write the calibration here [default: results/calibration.json, where reports find it]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

const CALIBRATE_HELP: &str = "\
Measures this build in many rounds, as evlab gate does against a baseline, and cuts the rounds into \
baselines and gates in many ways. No such gate should fail: the part that does is the rate of false \
alarms on this host. And each says how much slower an engine must have become for it to fail: the effects \
that four of five, and nineteen of twenty gates notice, cell by cell and for the mean of each engine.

Consecutive rounds stay together in a cut, so that slow phases of the host count as they would \
between a baseline of one hour and a gate of another.

Examples:
  evlab calibrate                                    about 4 minutes
  evlab calibrate --engines native,emu-interp        one engine
  evlab calibrate --rounds 100 --precision 1%        more gates, and the time until 1%";
