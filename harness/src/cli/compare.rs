//! Options of the comparison of two experiments.

use std::path::PathBuf;

use clap::Args;

use super::parse_percent;

/// `evlab compare`
#[derive(Debug, Args)]
#[command(after_help = COMPARE_HELP)]
pub struct CompareArgs {
    /// The results folder of the first experiment
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The results folder of the second
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Within so many per cent a time counts as the same
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = parse_percent)]
    pub threshold: f64,
    /// Compare ratios to this engine [default: times, if both ran on one host, else ratios to native]
    #[arg(long, value_name = "ENGINE")]
    pub reference: Option<String>,
    /// Print as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print as Markdown
    #[arg(long)]
    pub markdown: bool,
}

const COMPARE_HELP: &str = "\
Cell by cell: the ratio of the medians, new over old, with its bootstrap interval. slower and faster: \
the interval lies beyond 1, the ratio beyond the threshold, and the Mann-Whitney test, corrected for \
the number of cells (Holm), has p < 0.05: that any of these verdicts is chance has a probability of \
at most 5%. same: the interval lies within the threshold. inconclusive: anything else, and more runs \
would tell; slower? and faster? mark what the interval says and the test does not confirm. With few \
runs it cannot: among 90 cells it takes 8 on each side, and the output says how many. Counts that are \
the same in all runs of a cell, such as exits and guest instructions, are compared exactly. \
docs/method.md has the formulas.

Experiments of different hosts are compared by their ratios to native; those of different KVM \
backends are not compared.

Exit codes: 0 nothing is worse; 1 something is slower or computes another result; 2 usage or \
environment error; 3 nothing is worse, but something is inconclusive.

Examples:
  evlab compare results/before results/after
  evlab compare results/reference results/mine --engines emu-interp,qemu-tcg
  evlab compare old new --threshold 10 --markdown >> $GITHUB_STEP_SUMMARY";
