//! A gate's report in the formats that other tools read.

mod bencher;
mod benchmark;
mod junit;
mod markdown;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use bencher::to_bencher;
pub use benchmark::to_benchmark;
pub use junit::to_junit;
pub use markdown::to_markdown;

use super::report::Report;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The whole report.
    Json,
    /// For people, such as readers of `$GITHUB_STEP_SUMMARY`.
    Markdown,
    /// JUnit XML, a test case for each comparison.
    Junit,
    /// What github-action-benchmark reads as `customSmallerIsBetter`.
    Benchmark,
    /// Bencher Metric Format.
    Bencher,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Json, Self::Markdown, Self::Junit, Self::Benchmark, Self::Bencher];

    /// The word users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Benchmark => "benchmark",
            Self::Bencher => "bencher",
        }
    }

    /// The report in this format.
    ///
    /// # Errors
    /// A value has no JSON.
    pub fn render(self, report: &Report) -> Result<String, serde_json::Error> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(report)? + "\n",
            Self::Markdown => to_markdown(report),
            Self::Junit => to_junit(report),
            Self::Benchmark => to_benchmark(report)? + "\n",
            Self::Bencher => to_bencher(report)? + "\n",
        })
    }
}

/// A file that a report is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In which format.
    pub format: Format,
    /// Which file.
    pub path: PathBuf,
}

/// Words that name no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no format and file; give json=FILE, markdown=FILE, junit=FILE, benchmark=FILE or bencher=FILE")]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').filter(|(_, path)| !path.is_empty());
        let (name, path) = parts.ok_or_else(|| TargetError(text.to_owned()))?;
        let format = Format::ALL.into_iter().find(|format| format.name() == name);
        Ok(Self { format: format.ok_or_else(|| TargetError(text.to_owned()))?, path: Path::new(path).to_owned() })
    }
}

impl Target {
    /// Whether it can be written, asked before anything is measured; creates the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn probe(&self) -> io::Result<()> {
        OpenOptions::new().append(true).create(true).open(&self.path).map(drop)
    }

    /// Writes it. Markdown is appended, as readers of `$GITHUB_STEP_SUMMARY` expect; the others replace the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, report: &Report) -> io::Result<()> {
        let text = self.format.render(report)?;
        let append = self.format == Format::Markdown;
        let mut file = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(&self.path)?;
        file.write_all(text.as_bytes())
    }
}

/// A name for a series of values, on which dashboards build their histories.
fn series(engine: &str, workload: &str) -> String {
    format!("{engine} / {workload}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_format_and_a_file() {
        let target: Target = "junit=out/gate.xml".parse().expect("a target");
        assert_eq!((target.format, target.path.as_path()), (Format::Junit, Path::new("out/gate.xml")));
        for bad in ["junit", "junit=", "xml=a", "=a", ""] {
            let error = bad.parse::<Target>().expect_err("no target").to_string();
            assert!(error.contains("markdown=FILE"), "{error}");
        }
    }

    #[test]
    fn markdown_is_appended_and_the_rest_replaced() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let report = testing::failed();
        for format in Format::ALL {
            let target = Target { format, path: dir.path().join(format.name()) };
            target.probe().expect("it can be written");
            target.write(&report).expect("write");
            let once = std::fs::read_to_string(&target.path).expect("read");
            target.write(&report).expect("write again");
            let twice = std::fs::read_to_string(&target.path).expect("read");
            let expected = if format == Format::Markdown { once.repeat(2) } else { once.clone() };
            assert!(twice == expected && !once.is_empty(), "{format:?}");
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::super::exact::Deviation;
    use super::super::judge::{Judged, Standing};
    use super::super::report::{Failure, Measured, Report, Verdict};
    use super::super::rules::Rules;
    use crate::model::EngineId;
    use crate::results::Tool;

    /// A report of a gate that found all there is to find.
    pub(in crate::gate) fn failed() -> Report {
        let judged = |engine: EngineId, workload: &str, ratio: f64, standing, first| Judged {
            engine: engine.into(),
            workload: workload.to_owned(),
            base_n: 15,
            head_n: 15,
            ratio,
            low: ratio - 0.02,
            high: ratio + 0.02,
            threshold: if workload.starts_with("geometric") { 0.02 } else { 0.1 },
            standing,
            first,
        };
        let report = Report {
            verdict: Verdict::Pass,
            against: "the baseline base.json".into(),
            tool: Tool { version: "evlab 0.1.0".into(), git_commit: None },
            host: serde_json::json!({ "hostname": "lab" }),
            reference: Some(EngineId::Native),
            rules: Rules::default(),
            seed: 7,
            counted: 8,
            deviations: vec![Deviation {
                engine: EngineId::EmuInterp.into(),
                workload: "sieve <&\"|`> 10".into(),
                what: "vmm:exit.io".into(),
                base: "3".into(),
                head: "4".into(),
            }],
            times: vec![
                judged(EngineId::EmuInterp, "geometric mean of 12 programs", 1.051, Standing::Slower, Some(1.06)),
                judged(EngineId::Kvm, "sieve 10", 1.2, Standing::Inconclusive, Some(1.3)),
                judged(EngineId::Kvm, "fib 10", 1.01, Standing::Fine, None),
                judged(EngineId::EmuDbt, "fib 10", 0.8, Standing::Faster, None),
                judged(EngineId::EmuDbt, "sieve 10", 1.02, Standing::Cleared, Some(1.15)),
            ],
            measured: vec![Measured {
                engine: EngineId::Kvm.into(),
                workload: "sieve 10".into(),
                n: 5,
                median_ns: 1.5e6,
                slowdown: Some(1.25),
                slowdown_low: Some(1.2),
                slowdown_high: Some(1.5),
            }],
            failures: vec![Failure {
                build: "head".into(),
                engine: EngineId::EmuDbt.into(),
                workload: "qsort".into(),
                message: "the guest ended with exit code 7".into(),
            }],
            notes: vec!["native does not run port_io: their counts were compared, not their times".into()],
            pressure: None,
            runs: 100,
            seconds: 31.25,
        };
        report.judge()
    }
}
