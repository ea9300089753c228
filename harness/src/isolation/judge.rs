//! Whether an attack was contained.

use serde::{Deserialize, Serialize};

use super::attack::Attack;
use super::outcome::end_of;
use super::process::Finished;
use crate::model::{EngineId, RunRecord, Status};

/// What an attack on an engine came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The engine.
    pub engine: EngineId,
    /// The attack.
    pub attack: String,
    /// Whether it was contained; absent where it does not apply.
    pub contained: Option<bool>,
    /// How it ended, or why it does not apply.
    pub outcome: String,
    /// What is wrong, a sentence each.
    pub breaches: Vec<String>,
    /// Whether the canaries around guest RAM were checked.
    pub memory_checked: bool,
    /// Whether the process that ran the guest was in the sandbox; absent where that cannot be known.
    pub sandbox: Option<String>,
    /// From start to end, nanoseconds.
    pub wall_ns: u64,
}

impl Finding {
    /// An attack that does not apply.
    pub(super) fn not_applicable(engine: EngineId, attack: &Attack, reason: &str) -> Self {
        Self {
            engine,
            attack: attack.name.to_owned(),
            contained: None,
            outcome: reason.to_owned(),
            breaches: Vec::new(),
            memory_checked: false,
            sandbox: None,
            wall_ns: 0,
        }
    }
}

/// Judges the process that ran the attack, and that of the guest that ran beside it.
pub(super) fn judge(
    engine: EngineId,
    attack: &Attack,
    attacker: &Finished,
    witness: &Finished,
    right: &str,
) -> Finding {
    let mut finding = Finding { contained: Some(false), ..Finding::not_applicable(engine, attack, "") };
    match attacker.record() {
        Ok(record) => examine(&mut finding, attack, &record),
        Err(how) => {
            finding.outcome = how.clone();
            finding.breaches.push(format!("the process that ran the guest did not end as it should: {how}"));
        }
    }
    match witness.record() {
        Ok(record) if record.status == Status::Ok && record.checksum.as_deref() == Some(right) => {}
        Ok(record) => finding.breaches.push(format!(
            "the guest beside it ended with status {:?} and checksum {}, not {right}: {}",
            record.status,
            record.checksum.as_deref().unwrap_or("none"),
            record.message.as_deref().unwrap_or("no message")
        )),
        Err(how) => finding.breaches.push(format!("the process of the guest beside it failed: {how}")),
    }
    finding.contained = Some(finding.breaches.is_empty());
    finding
}

fn examine(finding: &mut Finding, attack: &Attack, record: &RunRecord) {
    finding.wall_ns = record.wall_ns;
    finding.sandbox.clone_from(&record.sandbox);
    let allowed = attack.ends_on(record.engine.id);
    let expected: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let (outcome, fits) = match end_of(record) {
        Ok(end) => (end.to_string(), allowed.contains(&end)),
        Err(message) => (message, false),
    };
    let mut breach = |text: String| finding.breaches.push(text);
    if !fits {
        breach(format!("it ended with '{outcome}', expected: {}", expected.join(" or ")));
    }
    if let Some(line) = record.console.lines().find(|line| line.contains("escaped: ")) {
        breach(line.to_owned());
    }
    if let Some(right) = attack.checksum
        && record.checksum.as_deref() != Some(right)
    {
        breach(format!("its checksum is {}, not {right}", record.checksum.as_deref().unwrap_or("missing")));
    }
    if let Some((words, times)) = attack.reports.filter(|_| record.engine.id != EngineId::Native) {
        let found = record.console.matches(words).count();
        if found != times {
            breach(format!("the guest kernel reported '{words}' {found} times, not {times}"));
        }
    }
    if let Some(fence) = &record.fence {
        finding.memory_checked = true;
        if fence.before != fence.after || fence.damage.is_some() {
            let place = fence.damage.as_deref().unwrap_or("somewhere");
            finding.breaches.push(format!("memory of the host process was written: {place}"));
        }
    }
    finding.outcome = outcome;
}
