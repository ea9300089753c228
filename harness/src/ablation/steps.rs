//! What an ablation measures.

use emu_min::Mechanisms;
use serde::{Deserialize, Serialize};

use crate::model::{EngineId, Setup};

/// A mechanism of the emulated CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanism {
    /// The name that users type.
    pub key: &'static str,
    /// Its name in tables and charts.
    pub title: &'static str,
    /// What it does, in a clause.
    pub what: &'static str,
    /// The choice that has it and the one that has it not.
    on: &'static str,
    off: &'static str,
    /// Those that stand on it and go with it.
    carries: &'static [&'static str],
}

/// All mechanisms, in the order in which the ladder adds them: each after those that it stands on.
pub const MECHANISMS: [Mechanism; 10] = [
    Mechanism {
        key: "decode",
        title: "decoded blocks",
        what: "an instruction is decoded once and kept, not each time it is executed",
        on: "cached",
        off: "each",
        carries: &["link", "fuse", "translate", "chain", "inline-cache", "window"],
    },
    Mechanism {
        key: "mmu",
        title: "soft TLB",
        what: "where a page lies is remembered, instead of walking the guest's page tables at every access",
        on: "tlb",
        off: "walk",
        carries: &["translate", "chain", "inline-cache", "window"],
    },
    Mechanism {
        key: "flags",
        title: "lazy flags",
        what: "arithmetic flags are computed when somebody reads them, not after each operation",
        on: "lazy",
        off: "eager",
        carries: &[],
    },
    Mechanism {
        key: "link",
        title: "block links",
        what: "a block remembers which one followed it, so going on needs no lookup",
        on: "on",
        off: "off",
        carries: &[],
    },
    Mechanism {
        key: "fuse",
        title: "fused pairs",
        what: "some pairs of instructions, such as a comparison and its branch, are executed as one",
        on: "on",
        off: "off",
        carries: &[],
    },
    Mechanism {
        key: "bulk",
        title: "bulk strings",
        what: "a repeated string instruction works on many elements at once",
        on: "on",
        off: "off",
        carries: &[],
    },
    Mechanism {
        key: "translate",
        title: "translation",
        what: "code that is executed often becomes host code",
        on: "on",
        off: "off",
        carries: &["chain", "inline-cache", "window"],
    },
    Mechanism {
        key: "chain",
        title: "chained blocks",
        what: "translated blocks jump to one another instead of returning to a dispatcher",
        on: "on",
        off: "off",
        carries: &[],
    },
    Mechanism {
        key: "inline-cache",
        title: "inline caches",
        what: "translated indirect branches remember where they went last",
        on: "on",
        off: "off",
        carries: &[],
    },
    Mechanism {
        key: "window",
        title: "shared lookups",
        what: "translated accesses at known distances from one another share one look into the TLB",
        on: "on",
        off: "off",
        carries: &[],
    },
];

impl Mechanism {
    /// The mechanism with a key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        MECHANISMS.iter().find(|m| m.key == key)
    }

    /// `from` with this mechanism; `None` where it lacks its ground.
    fn added_to(&self, from: Mechanisms) -> Option<Mechanisms> {
        from.with(&format!("{}={}", self.key, self.on)).ok()
    }

    /// `from` without this mechanism and those that stand on it.
    fn taken_from(&self, from: Mechanisms) -> Option<Mechanisms> {
        let carried = self.carries.iter().filter_map(|key| Self::find(key));
        let off: Vec<String> = std::iter::once(self).chain(carried).map(|m| format!("{}={}", m.key, m.off)).collect();
        from.with(&off.join(",")).ok()
    }
}

/// How a step differs from the one that it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It begins the ladder.
    First,
    /// It has one mechanism more than the step before.
    Added,
    /// It is another engine than the step before: the ladder goes on to the processor itself.
    Engine,
    /// It is a full set without one mechanism.
    Removed,
}

/// One step: an engine with its mechanisms, and what it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique: `emu-naive`, `+decode`, `kvm`, `emu-interp without link`.
    pub name: String,
    /// How it differs from what it is compared with.
    pub kind: Kind,
    /// What is measured.
    pub engine: Setup,
    /// What it is compared with.
    pub against: Option<Setup>,
    /// The mechanism that was added or removed.
    pub mechanism: Option<String>,
}

/// The steps of an ablation: the ladder from none of the mechanisms to all and on to `kvm` and `native`, then emu-interp
/// and emu-dbt without one mechanism each.
///
/// `usable` are the engines that the host has; steps that need another are left out.
#[must_use]
pub fn steps(usable: &[EngineId]) -> Vec<Step> {
    let has = |setup: &Setup| usable.contains(&setup.id);
    let mut steps: Vec<Step> = ladder().into_iter().filter(|step| has(&step.engine)).collect();
    // What a step is compared with is the one that is left before it.
    let mut before = None;
    for step in &mut steps {
        step.against = before;
        before = Some(step.engine);
    }
    if let Some(first) = steps.first_mut() {
        first.kind = Kind::First;
    }
    let full = [EngineId::EmuInterp, EngineId::EmuDbt];
    steps.extend(
        full.into_iter().flat_map(removals).filter(|step| has(&step.engine) && step.against.is_some_and(|a| has(&a))),
    );
    steps
}

/// What is measured, each once.
#[must_use]
pub fn setups(steps: &[Step]) -> Vec<Setup> {
    let mut all = Vec::new();
    for step in steps {
        if !all.contains(&step.engine) {
            all.push(step.engine);
        }
    }
    all
}

fn ladder() -> Vec<Step> {
    let step = |name: String, kind, engine, mechanism: Option<&str>| Step {
        name,
        kind,
        engine,
        against: None,
        mechanism: mechanism.map(str::to_owned),
    };
    let mut now = Mechanisms::naive();
    let first = EngineId::EmuNaive;
    let mut ladder = vec![step(first.name().to_owned(), Kind::First, first.into(), None)];
    for mechanism in &MECHANISMS {
        if let Some(more) = mechanism.added_to(now) {
            now = more;
            ladder.push(step(format!("+{}", mechanism.key), Kind::Added, canonical(now), Some(mechanism.key)));
        }
    }
    for engine in [EngineId::Kvm, EngineId::Native] {
        ladder.push(step(engine.name().to_owned(), Kind::Engine, engine.into(), None));
    }
    ladder
}

/// The full set of an engine without one mechanism each; one that would take the translator with it is left out on
/// emu-dbt, whose name it would not deserve, except for the translator itself.
fn removals(full: EngineId) -> Vec<Step> {
    let Some(all) = full.mechanisms() else { return Vec::new() };
    let removal = |mechanism: &Mechanism| {
        let less = mechanism.taken_from(all).filter(|&less| less != all)?;
        let itself = mechanism.key == "translate" || less.translate == all.translate;
        itself.then(|| Step {
            name: format!("{full} without {}", mechanism.key),
            kind: Kind::Removed,
            engine: canonical(less),
            against: Some(full.into()),
            mechanism: Some(mechanism.key.to_owned()),
        })
    };
    MECHANISMS.iter().filter_map(removal).collect()
}

/// The setup that is named by the fewest choices; whatever translates is emu-dbt.
fn canonical(mechanisms: Mechanisms) -> Setup {
    let bases: &[EngineId] =
        if mechanisms.translate { &[EngineId::EmuDbt] } else { &[EngineId::EmuInterp, EngineId::EmuNaive] };
    let choices = |setup: &Setup| setup.choices().split(',').filter(|c| !c.is_empty()).count();
    let setups = bases.iter().filter_map(|&base| Setup::new(base, &mechanisms.to_string()).ok());
    setups.min_by_key(choices).unwrap_or(Setup::plain(EngineId::EmuNaive))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(steps: &[Step]) -> Vec<String> {
        let against = |s: &Step| s.against.map(|a| format!(" vs {a}")).unwrap_or_default();
        steps.iter().map(|s| format!("{}: {}{}", s.name, s.engine, against(s))).collect()
    }

    #[test]
    fn the_steps_of_an_ablation() {
        insta::assert_snapshot!(listed(&steps(&EngineId::ALL)).join("\n"));
    }

    #[test]
    fn each_step_has_its_mechanism_and_is_compared_with_a_step() {
        let steps = steps(&EngineId::ALL);
        let setups = setups(&steps);
        for step in &steps {
            assert_eq!(step.against.is_none(), step.kind == Kind::First, "{step:?}");
            assert!(step.against.is_none_or(|a| a != step.engine && setups.contains(&a)), "{step:?}");
            let known = step.mechanism.as_deref().map(|key| Mechanism::find(key).is_some());
            assert_eq!(known, matches!(step.kind, Kind::Added | Kind::Removed).then_some(true), "{step:?}");
        }
        let mut names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), steps.len());
        assert!(setups.len() < steps.len(), "what two steps need is measured once");
    }

    #[test]
    fn the_ladder_reaches_the_engines_themselves() {
        let steps = steps(&EngineId::ALL);
        let of = |name: &str| steps.iter().find(|s| s.name == name).map(|s| s.engine);
        assert_eq!(of("+bulk"), Some(EngineId::EmuInterp.into()));
        assert_eq!(of("+window"), Some(EngineId::EmuDbt.into()));
        assert_eq!(steps.iter().filter(|s| s.kind == Kind::Added).count(), MECHANISMS.len());
    }

    #[test]
    fn what_the_host_lacks_is_left_out_and_the_ladder_goes_on() {
        let usable = [EngineId::Native, EngineId::EmuInterp, EngineId::EmuNaive];
        let steps = steps(&usable);
        assert!(steps.iter().all(|s| usable.contains(&s.engine.id)));
        let native = steps.iter().find(|s| s.engine == EngineId::Native).unwrap();
        assert_eq!(native.against, Some(EngineId::EmuInterp.into()));
        assert!(super::steps(&[]).is_empty());
    }

    #[test]
    fn every_mechanism_can_be_added_and_taken_out() {
        let keys: Vec<&str> = MECHANISMS.iter().map(|m| m.key).collect();
        assert_eq!(keys, crate::model::MECHANISM_NAMES);
        for mechanism in &MECHANISMS {
            let less = mechanism.taken_from(Mechanisms::dbt()).unwrap();
            assert_ne!(less, Mechanisms::dbt(), "{}", mechanism.key);
        }
    }

    #[test]
    fn steps_are_kept_in_the_experiment() {
        let steps = steps(&EngineId::ALL);
        let json = serde_json::to_string(&steps).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Step>>(&json).unwrap(), steps);
        assert!(json.contains(r#""name":"+decode","kind":"added","engine":"emu-naive[decode=cached]""#), "{json}");
    }
}
