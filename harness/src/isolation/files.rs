//! The files of a run of the suite: every finding as its attack ends, and what they rest on; read back too.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::Finding;
use crate::model::EngineId;
use crate::results::{EngineMeta, ReadError, Table, Tool, WriteError, read_json, read_table, write_meta};

/// One row for each attack and engine.
pub const ISOLATION_CSV: &str = "isolation.csv";
/// What was planned, and the host.
pub const ISOLATION_JSON: &str = "isolation.json";

/// Columns of `isolation.csv`, in order.
const COLUMNS: [&str; 8] =
    ["engine", "attack", "contained", "outcome", "breaches", "memory_checked", "sandbox", "wall_ns"];

/// `isolation.json`: what the findings rest on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of this layout.
    pub format: u32,
    /// The program.
    pub tool: Tool,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// Whether guests ran in the sandbox.
    pub sandbox: bool,
    /// How many attacks were planned on how many engines, where each applies or not.
    pub planned: usize,
    /// The engines asked for, with their versions or the reason why they are missing.
    pub engines: Vec<EngineMeta>,
    /// The machine, as `evlab doctor --json` describes it.
    pub host: Value,
}

impl Meta {
    /// The version of the layout that this build writes.
    pub const FORMAT: u32 = 1;
}

/// One row of `isolation.csv`.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    engine: EngineId,
    attack: String,
    contained: Option<bool>,
    outcome: String,
    /// Sentences, one behind the other.
    breaches: String,
    memory_checked: bool,
    sandbox: Option<String>,
    wall_ns: u64,
}

impl From<&Finding> for Row {
    fn from(finding: &Finding) -> Self {
        // Every row is one line, so that a torn last row is told.
        let line = |text: &str| text.replace(char::is_control, " ");
        Self {
            engine: finding.engine,
            attack: finding.attack.clone(),
            contained: finding.contained,
            outcome: line(&finding.outcome),
            breaches: line(&finding.breaches.join("; ")),
            memory_checked: finding.memory_checked,
            sandbox: finding.sandbox.clone(),
            wall_ns: finding.wall_ns,
        }
    }
}

impl From<Row> for Finding {
    fn from(row: Row) -> Self {
        Self {
            engine: row.engine,
            attack: row.attack,
            contained: row.contained,
            outcome: row.outcome,
            breaches: Some(row.breaches).filter(|text| !text.is_empty()).into_iter().collect(),
            memory_checked: row.memory_checked,
            sandbox: row.sandbox,
            wall_ns: row.wall_ns,
        }
    }
}

/// Writes into one folder.
#[derive(Debug)]
pub struct Files {
    findings: Table,
}

impl Files {
    /// Creates the files in a folder.
    ///
    /// # Errors
    /// They cannot be created, or are there already.
    pub fn create(folder: &Path, meta: &Meta) -> Result<Self, WriteError> {
        let findings = Table::create(folder.join(ISOLATION_CSV), &COLUMNS)?;
        // Last, so that a folder with an isolation.json has the other file too.
        write_meta(&folder.join(ISOLATION_JSON), meta)?;
        Ok(Self { findings })
    }

    /// Appends what an attack came to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, finding: &Finding) -> Result<(), WriteError> {
        self.findings.append(&[Row::from(finding)])
    }
}

/// A run of the suite as read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// What it rests on.
    pub meta: Meta,
    /// What the attacks came to, in the order in which they ended.
    pub findings: Vec<Finding>,
    /// What was left out of a damaged folder, one sentence each.
    pub warnings: Vec<String>,
}

impl Tested {
    /// The engines that were attacked, in the usual order.
    #[must_use]
    pub fn engines(&self) -> Vec<EngineId> {
        EngineId::ALL.into_iter().filter(|&engine| self.findings.iter().any(|f| f.engine == engine)).collect()
    }
}

/// Whether the folder is one of the isolation suite.
#[must_use]
pub fn is_isolation(dir: &Path) -> bool {
    dir.join(ISOLATION_JSON).exists()
}

/// Reads the findings in `dir`.
///
/// # Errors
/// [`ReadError`], which names the file and the line.
pub fn read(dir: &Path) -> Result<Tested, ReadError> {
    let meta = read_json(&dir.join(ISOLATION_JSON), Meta::FORMAT)?;
    let mut warnings = Vec::new();
    let rows: Vec<Row> = read_table(&dir.join(ISOLATION_CSV), &COLUMNS, &mut warnings)?;
    Ok(Tested { meta, findings: rows.into_iter().map(Finding::from).collect(), warnings })
}

/// Findings for tests of what shows them: one attack is not contained, one does not apply.
#[cfg(test)]
pub(crate) fn made(host: Value) -> Tested {
    let finding = |attack: &super::Attack, engine| {
        let (contained, outcome) = match (attack.name, engine) {
            ("wild-physical", EngineId::EmuDbt) => (Some(false), "exit 0"),
            (_, EngineId::Native) if attack.not_native.is_some() => (None, "a Linux process has no ring 0"),
            _ => (Some(true), "exit 139"),
        };
        Finding {
            engine,
            attack: attack.name.to_owned(),
            contained,
            outcome: outcome.to_owned(),
            breaches: (contained == Some(false))
                .then(|| "memory of the host was written".to_owned())
                .into_iter()
                .collect(),
            memory_checked: engine == EngineId::EmuDbt,
            sandbox: (engine == EngineId::EmuDbt).then(|| "seccomp".to_owned()),
            wall_ns: 1_000_000,
        }
    };
    let engines = [EngineId::Native, EngineId::EmuDbt];
    let findings: Vec<Finding> = super::attacks().iter().flat_map(|a| engines.map(|e| finding(a, e))).collect();
    let meta = Meta {
        format: Meta::FORMAT,
        tool: Tool { version: "evlab 0.1.0".to_owned(), git_commit: None },
        started: "2026-11-22T20:20:00Z".to_owned(),
        sandbox: true,
        planned: findings.len(),
        engines: Vec::new(),
        host,
    };
    Tested { meta, findings, warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(!is_isolation(dir.path()));
        let mut written = made(serde_json::json!({ "hostname": "lab" }));
        let mut files = Files::create(dir.path(), &written.meta).expect("files");
        written.findings[0].outcome = "one\ntwo".to_owned();
        for finding in &written.findings {
            files.append(finding).expect("append");
        }
        written.findings[0].outcome = "one two".to_owned();
        assert!(is_isolation(dir.path()));
        assert_eq!(read(dir.path()).expect("read"), written);
        assert_eq!(written.engines(), [EngineId::Native, EngineId::EmuDbt]);
        assert!(Files::create(dir.path(), &written.meta).is_err(), "it is not overwritten");
    }

    #[test]
    fn a_torn_row_is_left_out() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let made = made(Value::Null);
        let mut files = Files::create(dir.path(), &made.meta).expect("files");
        made.findings.iter().try_for_each(|finding| files.append(finding)).expect("append");
        let path = dir.path().join(ISOLATION_CSV);
        let text = std::fs::read(&path).expect("read");
        std::fs::write(&path, &text[..text.len() - 3]).expect("write");
        let found = read(dir.path()).expect("a torn row is no fault of the user");
        assert_eq!((found.findings.len(), found.warnings.len()), (made.findings.len() - 1, 1));
    }
}
