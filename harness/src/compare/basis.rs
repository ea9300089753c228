//! What may be compared with what.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::EngineId;
use crate::results::Experiment;

/// What is put in relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Times: both experiments ran on the same host.
    Times,
    /// Times as multiples of this engine's time in the same experiment: the hosts differ.
    Ratios(EngineId),
}

/// Two experiments that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BasisError {
    /// Virtualization is another thing on each.
    #[error(
        "{old} ran on the KVM backend {old_backend} and {new} on {new_backend}; times of different backends say nothing about \
         each other: leave out kvm and qemu-kvm with --engines"
    )]
    Backends {
        /// The first experiment.
        old: String,
        /// Its backend.
        old_backend: String,
        /// The second experiment.
        new: String,
        /// Its backend.
        new_backend: String,
    },
    /// Nothing to hold times against.
    #[error(
        "{old} and {new} ran on different hosts, so that only ratios to {reference} can be compared, and {lacks} has no runs of \
         it; measure {reference} too, or name another engine with --reference"
    )]
    NoReference {
        /// The first experiment.
        old: String,
        /// The second experiment.
        new: String,
        /// What times are held against.
        reference: EngineId,
        /// Who lacks it.
        lacks: String,
    },
}

impl Basis {
    /// What can be compared of two experiments with these names, of which only `engines` are looked at.
    ///
    /// # Errors
    /// Nothing can: see [`BasisError`].
    pub fn of(
        (old_name, old): (&str, &Experiment),
        (new_name, new): (&str, &Experiment),
        engines: &[EngineId],
        reference: Option<EngineId>,
    ) -> Result<Self, BasisError> {
        let virtualized = engines.iter().any(|engine| matches!(engine, EngineId::Kvm | EngineId::QemuKvm));
        let backend = |e: &Experiment| text(&e.meta.host, &["kvm", "backend"]);
        let (old_backend, new_backend) = (backend(old), backend(new));
        if virtualized && old_backend != new_backend {
            return Err(BasisError::Backends {
                old: old_name.to_owned(),
                old_backend,
                new: new_name.to_owned(),
                new_backend,
            });
        }
        let host =
            |e: &Experiment| [&["hostname"][..], &["cpu", "model"], &["kernel"]].map(|path| text(&e.meta.host, path));
        if reference.is_none() && host(old) == host(new) {
            return Ok(Self::Times);
        }
        let reference = reference.unwrap_or(EngineId::Native);
        let lacks = |e: &Experiment| !e.runs.iter().any(|run| run.engine.id == reference && run.time_ns().is_some());
        for (name, experiment) in [(old_name, old), (new_name, new)] {
            if lacks(experiment) {
                return Err(BasisError::NoReference {
                    old: old_name.to_owned(),
                    new: new_name.to_owned(),
                    reference,
                    lacks: name.to_owned(),
                });
            }
        }
        Ok(Self::Ratios(reference))
    }
}

/// A text in the description of a host; empty where it is not there.
fn text(host: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(host, |value, key| value.get(key));
    found.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
