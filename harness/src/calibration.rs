//! What a host can tell: how often a gate of a build against itself fails on it, how small an effect is noticed, and how
//! long an experiment takes until it is precise.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gate::{Plan, Power, Rules, rounds_for};
use crate::results::{Tool, WriteError, write_meta};

/// Name of the file, beside the results folders of the host.
pub const CALIBRATION_JSON: &str = "calibration.json";
/// Version of the layout that this build writes.
const FORMAT: u32 = 1;

/// A calibration of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Version of this layout; its name says what the file is.
    pub evlab_calibration: u32,
    /// The program that was measured.
    pub tool: Tool,
    /// When, RFC 3339, UTC.
    pub created: String,
    /// The machine, as `evlab doctor --json` describes it.
    pub host: serde_json::Value,
    /// What was measured.
    pub plan: Plan,
    /// The rules of the gates.
    pub rules: Rules,
    /// Rounds that were measured.
    pub rounds: u32,
    /// Time of a round, seconds.
    pub round_s: f64,
    /// What gates of these rounds can tell.
    pub power: Power,
}

/// Why a calibration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no calibration of this evlab: {reason}; evlab calibrate writes it anew", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Calibration {
    /// A calibration of now.
    #[must_use]
    pub fn new(
        tool: Tool,
        host: serde_json::Value,
        plan: Plan,
        rules: Rules,
        (rounds, round_s): (u32, f64),
        power: Power,
    ) -> Self {
        let created = jiff::Timestamp::now().to_string();
        Self { evlab_calibration: FORMAT, tool, created, host, plan, rules, rounds, round_s, power }
    }

    /// Reads a calibration; `None` where there is no such file.
    ///
    /// # Errors
    /// [`CalibrationError`], in one sentence.
    pub fn read(path: &Path) -> Result<Option<Self>, CalibrationError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CalibrationError::Io { path: path.to_owned(), source }),
        };
        let corrupt = |reason: String| CalibrationError::Corrupt { path: path.to_owned(), reason };
        let read: Self = serde_json::from_slice(&text).map_err(|e| corrupt(e.to_string().replace('\n', " ")))?;
        if read.evlab_calibration != FORMAT {
            return Err(corrupt(format!("it has format {}", read.evlab_calibration)));
        }
        Ok(Some(read))
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// [`WriteError`]; an old file is then still there.
    pub fn write(&self, path: &Path) -> Result<(), WriteError> {
        write_meta(path, self)
    }

    /// Whether it is of this host.
    #[must_use]
    pub fn is_of(&self, host: &serde_json::Value) -> bool {
        crate::host::is_same(&self.host, host)
    }

    /// The part of the gates of the build against itself that failed.
    #[must_use]
    pub fn false_alarms(&self) -> f64 {
        self.power.failed as f64 / self.power.gates.max(1) as f64
    }

    /// Time until the interval of so many of the cells (a part) has at most this half width, seconds.
    #[must_use]
    pub fn seconds_for(&self, precision: f64, of_cells: f64) -> f64 {
        let mut rounds: Vec<u32> = self
            .power
            .subjects
            .iter()
            .filter_map(|subject| Some(rounds_for(precision, subject.half_width?, self.rounds)))
            .collect();
        rounds.sort_unstable();
        let at = (rounds.len() as f64 * of_cells).ceil() as usize;
        let rounds = rounds.get(at.saturating_sub(1)).copied().unwrap_or(0);
        f64::from(rounds) * self.round_s
    }

    /// When the cells are known to a half width, in words.
    #[must_use]
    pub fn patience(&self, precision: f64) -> String {
        let minutes = |of_cells| self.seconds_for(precision, of_cells) / 60.0;
        format!(
            "half of the cells are known to ±{}% after {:.1} minutes, nine of ten after {:.1}, all after {:.1}",
            precision * 100.0,
            minutes(0.5),
            minutes(0.9),
            minutes(1.0)
        )
    }

    /// What it says, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "{} of {} gates of this build against itself failed ({:.1}%), {} could not tell",
            self.power.failed,
            self.power.gates,
            self.false_alarms() * 100.0,
            self.power.inconclusive
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Detectable;
    use crate::model::EngineId;

    fn calibration() -> Calibration {
        let subject = |half_width| Detectable {
            engine: EngineId::Kvm.into(),
            workload: "sieve".into(),
            power_80: 1.1,
            power_95: 1.2,
            half_width: Some(half_width),
        };
        let plan = Plan {
            size: 1.0,
            ram_mib: 64,
            timeout_s: 60,
            prefault: true,
            hz: None,
            sandbox: "on".into(),
            reference: EngineId::Native,
            yardstick: None,
            counted_only: Vec::new(),
            cells: Vec::new(),
        };
        let power = Power { gates: 80, failed: 2, inconclusive: 1, subjects: [0.01, 0.02, 0.04].map(subject).to_vec() };
        let host = serde_json::json!({ "hostname": "lab", "cpu": { "model": "x" }, "kvm": { "backend": "PVM" } });
        Calibration::new(
            Tool { version: "evlab 0.1.0".into(), git_commit: None },
            host,
            plan,
            Rules::default(),
            (40, 2.0),
            power,
        )
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join(CALIBRATION_JSON);
        assert_eq!(Calibration::read(&path).expect("none"), None);
        let written = calibration();
        written.write(&path).expect("write");
        assert_eq!(Calibration::read(&path).expect("read"), Some(written));
        for text in ["", "{", "[]", "{\"evlab_calibration\": 1}", "run,engine\n"] {
            std::fs::write(&path, text).expect("write");
            let error = Calibration::read(&path).expect_err("it is none").to_string();
            assert!(error.contains("evlab calibrate writes it anew") && error.lines().count() == 1, "{error}");
        }
        assert!(Calibration::read(dir.path()).is_err(), "a folder");
    }

    #[test]
    fn it_is_of_one_host() {
        let calibration = calibration();
        let mut host = calibration.host.clone();
        assert!(calibration.is_of(&host));
        host["kvm"]["backend"] = "VT-x".into();
        assert!(!calibration.is_of(&host));
    }

    #[test]
    fn the_last_cells_take_longest() {
        let calibration = calibration();
        // 40 rounds of 2 s reach 1%, 2% and 4%.
        assert_eq!(calibration.seconds_for(0.02, 0.3), 20.0);
        assert_eq!(calibration.seconds_for(0.02, 0.6), 80.0);
        assert_eq!(calibration.seconds_for(0.02, 1.0), 320.0);
        assert!((calibration.false_alarms() - 0.025).abs() < 1e-12);
    }
}
