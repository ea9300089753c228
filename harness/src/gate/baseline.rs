//! The file that a gate holds a build against.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exact::ExactCell;
use super::plan::Plan;
use super::samples::{Sample, Samples};
use crate::results::{Cell, ImageMeta, Tool, WriteError, write_meta};

/// Version of the layout of a baseline that this build writes.
pub(super) const FORMAT: u32 = 1;
/// Longest baseline that is read, bytes. One of all engines and workloads is below 1 MiB.
const LIMIT: u64 = 64 << 20;

/// What was measured of a build, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Version of this layout; its name says what the file is.
    pub evlab_baseline: u32,
    /// The program that wrote it.
    pub tool: Tool,
    /// When, RFC 3339, UTC.
    pub created: String,
    /// The machine it ran on, as `evlab doctor --json` describes it.
    pub host: serde_json::Value,
    /// What was measured, and how.
    pub plan: Plan,
    /// The guest images and their hashes: the kernel first, then the programs.
    pub images: Vec<ImageMeta>,
    /// What is compared exactly.
    pub exact: Vec<ExactCell>,
    /// Times; none where only counts are to be compared.
    pub times: Vec<Timed>,
    /// The share of the time in which somebody waited for a processor while they were measured, 0 to 1, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<f64>,
}

/// Times of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// The engine and the workload.
    #[serde(flatten)]
    pub cell: Cell,
    /// Its runs, with what they are divided by.
    pub runs: Vec<Sample>,
}

/// Why a file is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is not there.
    #[error("there is no baseline {}; evlab gate --baseline {} --update writes one", path.display(), path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the baseline {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the baseline {} is empty; write it again with --update", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is too long.
    #[error("{} is {mib} MiB long, which no baseline is; name one that evlab gate --update wrote", path.display())]
    Long {
        /// The file.
        path: PathBuf,
        /// Its length, MiB.
        mib: u64,
    },
    /// It ends before its end.
    #[error("the baseline {} is cut off at line {line}; restore it, or write it again with --update", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The last line.
        line: usize,
    },
    /// Something else.
    #[error("{} is not a baseline; name one that evlab gate --update wrote", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer evlab wrote it.
    #[error("the baseline {} has format {found}, this evlab reads {FORMAT}: use the evlab that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It holds what no evlab wrote.
    #[error("the baseline {} is damaged: {reason}; restore it, or write it again with --update", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// [`BaselineError`], in one sentence that names the file and the way out.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        let path = path.to_owned();
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(BaselineError::Missing { path }),
            Err(source) => return Err(BaselineError::Io { path, source }),
        };
        if length > LIMIT {
            return Err(BaselineError::Long { path, mib: length >> 20 });
        }
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) => return Err(BaselineError::Io { path, source }),
        };
        Self::parse(&text, &path)
    }

    /// The baseline in a text.
    fn parse(text: &[u8], path: &Path) -> Result<Self, BaselineError> {
        let path = path.to_owned();
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(BaselineError::Empty { path });
        }
        let value: serde_json::Value = match serde_json::from_slice(text) {
            Ok(value) => value,
            Err(error) if error.is_eof() && text.first() == Some(&b'{') => {
                return Err(BaselineError::Truncated { path, line: error.line() });
            }
            Err(error) if text.first() == Some(&b'{') => {
                return Err(BaselineError::Corrupt { path, reason: one_line(&error) });
            }
            Err(_) => return Err(BaselineError::Foreign { path }),
        };
        match value.get("evlab_baseline").map(serde_json::Value::as_u64) {
            None => return Err(BaselineError::Foreign { path }),
            // The format first: a newer file may differ in everything else.
            Some(Some(found)) if found > u64::from(FORMAT) => return Err(BaselineError::Newer { path, found }),
            Some(_) => {}
        }
        let baseline: Self = match serde_json::from_slice(text) {
            Ok(baseline) => baseline,
            Err(error) => return Err(BaselineError::Corrupt { path, reason: one_line(&error) }),
        };
        baseline.check().map_err(|reason| BaselineError::Corrupt { path, reason })?;
        Ok(baseline)
    }

    /// What no baseline says.
    fn check(&self) -> Result<(), String> {
        if self.plan.cells.is_empty() || self.exact.is_empty() {
            return Err("nothing was measured".to_owned());
        }
        let unplanned = |cell: &Cell| !self.plan.cells.contains(cell);
        let cells = self.exact.iter().map(|exact| &exact.cell).chain(self.times.iter().map(|timed| &timed.cell));
        if let Some(cell) = cells.into_iter().find(|cell| unplanned(cell)) {
            return Err(format!("{} on {} was not planned", cell.workload, cell.engine));
        }
        let bad = |timed: &&Timed| !timed.runs.iter().all(Sample::is_sound);
        match self.times.iter().find(bad) {
            Some(timed) => Err(format!("{} on {} has a time that is none", timed.cell.workload, timed.cell.engine)),
            None => Ok(()),
        }
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// [`WriteError`]; an old file is then still there.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        write_meta(path, self)
    }

    /// Its times, by the places of a plan.
    #[must_use]
    pub fn samples(&self, plan: &Plan) -> Samples {
        let times = |cell: &Cell| self.times.iter().find(|timed| timed.cell == *cell).map(|timed| timed.runs.clone());
        Samples::of(plan.cells.iter().map(|cell| times(cell).unwrap_or_default()).collect())
    }
}

/// What a parser said, on one line.
fn one_line(error: &serde_json::Error) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gate::plan::tests::plan;
    use crate::model::EngineId;
    use crate::results::testing::record;

    pub(super) fn baseline() -> Baseline {
        let plan = plan(&[EngineId::Native, EngineId::EmuInterp], &["sieve", "fib"]);
        let exact = plan.cells.iter().map(|cell| ExactCell::of(cell, &record(1, cell.engine))).collect();
        let runs = [1e6, 1.5e6, 2e6].map(|ns| Sample { ns, against_ns: 5e5, yardstick_ns: None }).to_vec();
        let times = plan.cells.iter().map(|cell| Timed { cell: cell.clone(), runs: runs.clone() }).collect();
        Baseline {
            evlab_baseline: FORMAT,
            tool: Tool { version: "evlab 0.1.0".into(), git_commit: None },
            created: "2026-01-02T03:04:05Z".into(),
            host: serde_json::json!({ "hostname": "lab" }),
            plan,
            images: Vec::new(),
            exact,
            times,
            pressure: None,
        }
    }

    fn text() -> Vec<u8> {
        serde_json::to_vec_pretty(&baseline()).expect("encode")
    }

    fn error(text: &[u8]) -> String {
        let error = Baseline::parse(text, Path::new("base.json")).expect_err("it is damaged").to_string();
        assert!(error.contains("base.json") && error.lines().count() == 1, "{error}");
        error
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("base.json");
        assert!(Baseline::read(&path).expect_err("not there").to_string().contains("--update writes one"));
        baseline().write(&path).expect("write");
        let read = Baseline::read(&path).expect("read");
        assert_eq!(read, baseline());
        assert_eq!(read.samples(&read.plan).ratios(3), [2.0, 3.0, 4.0]);
    }

    #[test]
    fn what_is_no_baseline_is_said_in_a_sentence() {
        assert!(error(b"").contains("is empty") && error(b" \n").contains("is empty"));
        assert!(error(b"run,engine\n").contains("is not a baseline"));
        assert!(error(b"{\"format\": 1}").contains("is not a baseline"));
        assert!(error(b"{\"evlab_baseline\": 99}").contains("has format 99"));
        assert!(error(b"{\"evlab_baseline\": 1}").contains("is damaged: missing field"));
        assert!(error(&text()[..300]).contains("is cut off at line"));
        let mut odd = text();
        odd[10] = b'\0';
        assert!(error(&odd).contains("is damaged"));
        let replaced =
            |from: &str, to: &str| String::from_utf8(text()).expect("UTF-8").replacen(from, to, 1).into_bytes();
        assert!(error(&replaced("1500000.0", "-1")).contains("a time that is none"));
        assert!(error(&replaced("\"engine\": \"native\"", "\"engine\": \"kvm\"")).contains("was not planned"));
        assert!(error(&replaced("\"engine\": \"native\"", "\"engine\": \"kmv\"")).contains("unknown engine"));
        let mut empty = baseline();
        empty.exact.clear();
        assert!(error(&serde_json::to_vec(&empty).expect("encode")).contains("nothing was measured"));
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(Baseline::read(dir.path()).expect_err("a folder").to_string().contains("cannot read the baseline"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_damage_makes_it_panic(
            cut in any::<prop::sample::Index>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            whole in any::<bool>(),
        ) {
            let mut text = text();
            for (at, byte) in edits {
                let at = at.index(text.len());
                text[at] = byte;
            }
            if !whole {
                let cut = cut.index(text.len());
                text.truncate(cut);
                // The last byte closes the file: whatever is cut leaves no baseline.
                prop_assert!(Baseline::parse(&text, Path::new("b")).is_err());
            }
            if let Err(error) = Baseline::parse(&text, Path::new("b")) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Baseline::parse(&text, Path::new("b"));
        }
    }
}
