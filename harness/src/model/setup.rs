//! An engine as it is measured: as it is, or with some of its mechanisms chosen otherwise.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use emu_min::{Config, Decode, FlagEvaluation, MechanismError, Mechanisms, Mmu, Model};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::EngineId;
use crate::cli::nearest;

/// An engine with its mechanisms, written `emu-interp`, or `emu-interp[link=off]` where they are not its usual ones.
///
/// Results, schedules and reports are by setup, so no time of a crippled engine can pass for one of the engine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setup {
    /// The engine.
    pub id: EngineId,
    /// The mechanisms of its CPU, only where they are not the engine's own.
    chosen: Option<Mechanisms>,
}

/// Why there is no such setup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No such engine.
    #[error("unknown engine '{0}'")]
    Engine(String),
    /// The engine's CPU is not emu-min's.
    #[error("{0} has no mechanisms to choose: only emu-naive, emu-interp and emu-dbt have an emulated CPU")]
    NotEmulated(EngineId),
    /// The choices name nothing that exists, or what cannot be.
    #[error("{source}{}", hint.map(|hint| format!("; did you mean '{hint}'?")).unwrap_or_default())]
    Choice {
        /// What is wrong.
        source: MechanismError,
        /// The mechanism that may have been meant.
        hint: Option<&'static str>,
    },
    /// The choices do not fit the engine's other mechanisms.
    #[error("{engine} with {choices}: {source}")]
    Unfit {
        /// The engine.
        engine: EngineId,
        /// What was chosen.
        choices: String,
        /// What is wrong.
        source: MechanismError,
    },
}

impl Setup {
    /// The engine as it is.
    #[must_use]
    pub const fn plain(id: EngineId) -> Self {
        Self { id, chosen: None }
    }

    /// The engine with some mechanisms chosen anew, as in `link=off,flags=eager`; no choices leave it as it is.
    ///
    /// # Errors
    /// The engine has none, or there are no such ones.
    pub fn new(id: EngineId, choices: &str) -> Result<Self, SetupError> {
        if choices.trim().is_empty() {
            return Ok(Self::plain(id));
        }
        let own = id.mechanisms().ok_or(SetupError::NotEmulated(id))?;
        let mechanisms = own.with(choices).map_err(|source| match source {
            MechanismError::Needs { .. } => SetupError::Unfit { engine: id, choices: choices.to_owned(), source },
            MechanismError::Unknown(ref word) => SetupError::Choice { hint: nearest(word, NAMES), source },
            _ => SetupError::Choice { source, hint: None },
        })?;
        Ok(Self { id, chosen: Some(mechanisms).filter(|&m| m != own) })
    }

    /// The mechanisms of the emulated CPU; `None` on engines without one.
    #[must_use]
    pub fn mechanisms(&self) -> Option<Mechanisms> {
        self.chosen.or_else(|| self.id.mechanisms())
    }

    /// How to make the emulated CPU, of that model; of no meaning on engines without one.
    #[must_use]
    pub fn config(&self, model: Model) -> Config {
        Config { model, mechanisms: self.mechanisms().unwrap_or_default(), ..Config::default() }
    }

    /// Whether the engine is as it is.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.chosen.is_none()
    }

    /// What is not as usual, as [`Setup::new`] reads it; empty where everything is.
    #[must_use]
    pub fn choices(&self) -> String {
        let (Some(chosen), Some(own)) = (self.chosen, self.id.mechanisms()) else { return String::new() };
        let (chosen, own) = (chosen.to_string(), own.to_string());
        // Both list all mechanisms in the same order.
        let differing = chosen.split(',').zip(own.split(',')).filter(|(a, b)| a != b).map(|(a, _)| a);
        differing.collect::<Vec<_>>().join(",")
    }

    /// The name, as users see it.
    #[must_use]
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// What it is ordered by: the place of the engine, then its mechanisms from none to all.
    fn rank(&self) -> (usize, [bool; 10]) {
        let place = EngineId::ALL.iter().position(|&id| id == self.id).unwrap_or(usize::MAX);
        let m = self.chosen.or_else(|| self.id.mechanisms()).unwrap_or(Mechanisms::naive());
        let on = [
            m.decode == Decode::Cached,
            m.mmu == Mmu::Tlb,
            m.flags == FlagEvaluation::Lazy,
            m.link,
            m.fuse,
            m.bulk,
            m.translate,
            m.chain,
            m.inline_cache,
            m.window,
        ];
        (place, on)
    }
}

/// The mechanisms by the names that users type.
pub const NAMES: [&str; 10] =
    ["decode", "mmu", "flags", "link", "fuse", "bulk", "translate", "chain", "inline-cache", "window"];

impl From<EngineId> for Setup {
    fn from(id: EngineId) -> Self {
        Self::plain(id)
    }
}

/// A setup is an engine only where that is as usual.
impl PartialEq<EngineId> for Setup {
    fn eq(&self, other: &EngineId) -> bool {
        self.is_plain() && self.id == *other
    }
}

impl PartialOrd for Setup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Setup {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chosen {
            None => f.pad(self.id.name()),
            Some(_) => f.pad(&format!("{}[{}]", self.id, self.choices())),
        }
    }
}

impl FromStr for Setup {
    type Err = SetupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, choices) = text.strip_suffix(']').and_then(|t| t.split_once('[')).unwrap_or((text, ""));
        let id = name.parse().map_err(|_| SetupError::Engine(text.to_owned()))?;
        Self::new(id, choices)
    }
}

impl Serialize for Setup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Setup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_written_by_what_is_not_as_usual() {
        let name = |id, choices| Setup::new(id, choices).unwrap().to_string();
        assert_eq!(name(EngineId::EmuInterp, ""), "emu-interp");
        assert_eq!(name(EngineId::EmuInterp, "link=off"), "emu-interp[link=off]");
        assert_eq!(name(EngineId::EmuInterp, "bulk=off, flags=eager"), "emu-interp[flags=eager,bulk=off]");
        assert_eq!(name(EngineId::EmuNaive, "link=off"), "emu-naive", "it has no links anyway");
        assert_eq!(name(EngineId::Kvm, ""), "kvm");
        for text in ["native", "emu-dbt", "emu-dbt[chain=off,inline-cache=off]", "emu-naive[decode=cached]"] {
            let setup: Setup = text.parse().unwrap();
            assert_eq!(setup.to_string(), text);
            let json = serde_json::to_string(&setup).unwrap();
            assert_eq!(serde_json::from_str::<Setup>(&json).unwrap(), setup);
        }
        assert_eq!(format!("{:>12}|", Setup::plain(EngineId::Kvm)), "         kvm|");
    }

    #[test]
    fn what_cannot_be_is_said_in_a_sentence() {
        let error = |id, choices| Setup::new(id, choices).unwrap_err().to_string();
        let says = error(EngineId::EmuInterp, "lnik=off");
        assert!(
            says.contains("choose from decode, mmu, flags, link,") && says.ends_with("did you mean 'link'?"),
            "{says}"
        );
        assert!(error(EngineId::EmuInterp, "link=no").contains("choose link=off or link=on"));
        assert!(error(EngineId::EmuInterp, "link").contains("name=value"));
        assert_eq!(error(EngineId::EmuDbt, "mmu=walk"), "emu-dbt with mmu=walk: translate=on needs mmu=tlb");
        assert!(error(EngineId::QemuTcg, "link=off").contains("qemu-tcg has no mechanisms"));
        assert!("emu-jit".parse::<Setup>().is_err() && "kvm[link=off]".parse::<Setup>().is_err());
    }

    #[test]
    fn setups_are_ordered_by_engine_then_by_mechanisms() {
        let text = ["emu-naive[decode=cached]", "kvm", "emu-interp", "emu-naive", "native", "emu-interp[link=off]"];
        let mut setups: Vec<Setup> = text.iter().map(|t| t.parse().unwrap()).collect();
        setups.sort_unstable();
        let names: Vec<String> = setups.iter().map(Setup::name).collect();
        let expected = ["native", "kvm", "emu-interp[link=off]", "emu-interp", "emu-naive", "emu-naive[decode=cached]"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_names_are_those_of_the_emulator() {
        let text = Mechanisms::dbt().to_string();
        let names: Vec<&str> = text.split(',').filter_map(|choice| choice.split('=').next()).collect();
        assert_eq!(names, NAMES);
    }

    #[test]
    fn only_the_engine_itself_equals_the_engine() {
        assert!(Setup::plain(EngineId::EmuInterp) == EngineId::EmuInterp);
        assert!(Setup::new(EngineId::EmuInterp, "link=off").unwrap() != EngineId::EmuInterp);
    }
}
