//! The command line of `evlab fuzz`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::{CpuArgs, EmuArgs};
use crate::exec::Engine;

/// `evlab fuzz`
#[derive(Debug, Args)]
#[command(after_long_help = FUZZ_HELP)]
pub struct FuzzArgs {
    /// Run for so many seconds [default: 60, unless --cases is given]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seconds: Option<u64>,
    /// Run so many cases
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    pub cases: Option<u64>,
    /// Seed of all cases [default: drawn, and printed]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The judge and the judged
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1..=2, default_value = "native,emu-interp", value_parser = Engine::from_str)]
    pub engines: Vec<Engine>,
    /// The emulated CPU.
    #[command(flatten)]
    pub cpu: CpuArgs,
    /// Its mechanisms.
    #[command(flatten)]
    pub emu: EmuArgs,
    /// Only these instructions, by mnemonic, separated by commas
    #[arg(long, value_name = "MNEMONIC", value_delimiter = ',')]
    pub only: Vec<String>,
    /// A folder of cases to replay first
    #[arg(long, value_name = "DIR", default_value = "harness/corpus")]
    pub corpus: PathBuf,
    /// Write divergences into this folder, one file each
    #[arg(long, value_name = "DIR", default_value = "fuzz-findings")]
    pub out: PathBuf,
    /// End after this many different divergences
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub findings: u32,
    /// Write the table of instructions and their cases, in Markdown
    #[arg(long, value_name = "FILE")]
    pub coverage: Option<PathBuf>,
    /// Threads, each with both engines [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

const FUZZ_HELP: &str = "\
Random machine code runs in ring 3 on two engines; registers, defined flags, vector and x87 state, memory and the
exception with its error code and address are compared. What the manuals leave undefined is masked. A divergence is
shrunk, printed with both states and written to --out, ready for the corpus. A seed gives the same cases everywhere.

Exit codes: 0 no divergence; 1 a divergence; 2 usage or environment error.

Examples:
  evlab fuzz                                        a minute: this processor against emu-interp
  evlab fuzz --cases 1000000 --seed 1 --coverage coverage.md
  evlab fuzz --engines emu-naive,emu-interp         tier against tier
  evlab fuzz --only imul,div --seconds 10";

impl FuzzArgs {
    /// The two engines.
    ///
    /// # Errors
    /// There are not two, in a sentence.
    pub fn pair(&self) -> Result<[Engine; 2], String> {
        match self.engines[..] {
            [left, right] if left != right => Ok([left, right]),
            _ => Err("--engines takes two different engines, such as native,emu-interp".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        fuzz: FuzzArgs,
    }

    fn parse(args: &[&str]) -> Result<FuzzArgs, String> {
        Cli::try_parse_from([&["fuzz"], args].concat()).map(|cli| cli.fuzz).map_err(|e| e.to_string())
    }

    #[test]
    fn two_different_engines_are_compared() {
        assert_eq!(parse(&[]).unwrap().pair(), Ok([Engine::Native, Engine::EmuInterp]));
        let tiers = parse(&["--engines", "emu-naive,emu-interp"]).unwrap();
        assert_eq!(tiers.pair(), Ok([Engine::EmuNaive, Engine::EmuInterp]));
        for bad in ["native", "native,native"] {
            assert!(parse(&["--engines", bad]).unwrap().pair().is_err(), "{bad}");
        }
        assert!(parse(&["--engines", "native,tcg"]).unwrap_err().contains("choose from native"));
    }

    #[test]
    fn time_and_cases_exclude_each_other() {
        assert!(parse(&["--seconds", "1", "--cases", "1"]).is_err());
        assert!(parse(&["--seconds", "0"]).is_err());
        assert_eq!(parse(&["--only", "add,imul"]).unwrap().only, ["add", "imul"]);
    }
}
