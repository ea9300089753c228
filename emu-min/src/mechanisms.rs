//! The mechanisms that make the CPU fast, each of which can be turned off to measure what it is worth.
//!
//! None of them changes what a guest computes: the semantics are the same code with and without.

use std::fmt;

/// How often instructions are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decode {
    /// Every time one is executed.
    Each,
    /// Once, into blocks that are kept until their code changes.
    Cached,
}

/// How linear addresses become physical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mmu {
    /// The page tables are walked at every access.
    Walk,
    /// Translations are kept until software invalidates them.
    Tlb,
}

/// When the arithmetic flags are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagEvaluation {
    /// All six after each operation that writes them.
    Eager,
    /// Only those that an operation reads, when it does.
    Lazy,
}

/// Which mechanisms a CPU uses. Some stand on others: see [`Self::checked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mechanisms {
    /// How often instructions are decoded.
    pub decode: Decode,
    /// How linear addresses become physical ones.
    pub mmu: Mmu,
    /// When the arithmetic flags are computed.
    pub flags: FlagEvaluation,
    /// Blocks remember their successors, so that going on needs no lookup.
    pub link: bool,
    /// Some pairs of instructions are executed as one operation.
    pub fuse: bool,
    /// Repeated string instructions work on many elements at once.
    pub bulk: bool,
    /// Hot code is translated to host code.
    pub translate: bool,
    /// Translated blocks jump to one another.
    pub chain: bool,
    /// Translated indirect branches remember their last targets.
    pub inline_cache: bool,
    /// Translated accesses at known distances from one another share one look into the TLB.
    pub window: bool,
}

/// Why there is no such set of mechanisms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MechanismError {
    /// Not `name=value`.
    #[error("{0:?} is no choice of a mechanism; write name=value, as in link=off")]
    NoChoice(String),
    /// Not the name of a mechanism.
    #[error("{0:?} is no mechanism; choose from {names}", names = NAMES.join(", "))]
    Unknown(String),
    /// A value that the mechanism does not have.
    #[error("{value:?} is no value of {name}; choose {name}={} or {name}={}", .choices.0, .choices.1)]
    Value {
        /// The mechanism.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What it can be.
        choices: (&'static str, &'static str),
    },
    /// A mechanism without the one it stands on.
    #[error("{mechanism} needs {needs}")]
    Needs {
        /// The choice that cannot be, as `name=value`.
        mechanism: &'static str,
        /// The choice that it needs, as `name=value`.
        needs: &'static str,
    },
}

/// The mechanisms, in the order in which they are written.
const NAMES: [&str; 10] =
    ["decode", "mmu", "flags", "link", "fuse", "bulk", "translate", "chain", "inline-cache", "window"];

impl Mechanisms {
    /// None: every instruction is decoded and every address walked every time.
    #[must_use]
    pub const fn naive() -> Self {
        Self {
            decode: Decode::Each,
            mmu: Mmu::Walk,
            flags: FlagEvaluation::Eager,
            link: false,
            fuse: false,
            bulk: false,
            translate: false,
            chain: false,
            inline_cache: false,
            window: false,
        }
    }

    /// All that an interpreter has.
    #[must_use]
    pub const fn interp() -> Self {
        Self {
            decode: Decode::Cached,
            mmu: Mmu::Tlb,
            flags: FlagEvaluation::Lazy,
            link: true,
            fuse: true,
            bulk: true,
            ..Self::naive()
        }
    }

    /// All of them.
    #[must_use]
    pub const fn dbt() -> Self {
        Self { translate: true, chain: true, inline_cache: true, window: true, ..Self::interp() }
    }

    /// These mechanisms with some of them chosen anew: `link=off,flags=eager`. An empty text changes nothing.
    ///
    /// # Errors
    /// The text names no mechanism or no value of it, or a mechanism is left without one that it needs.
    pub fn with(mut self, choices: &str) -> Result<Self, MechanismError> {
        for choice in choices.split(',').map(str::trim).filter(|choice| !choice.is_empty()) {
            let (name, value) = choice.split_once('=').ok_or_else(|| MechanismError::NoChoice(choice.to_owned()))?;
            self.choose(name.trim(), value.trim())?;
        }
        self.checked()
    }

    fn choose(&mut self, name: &str, value: &str) -> Result<(), MechanismError> {
        let among = |name, choices: (&'static str, &'static str)| {
            let unknown = || MechanismError::Value { name, value: value.to_owned(), choices };
            if value == choices.1 { Ok(true) } else { (value == choices.0).then_some(false).ok_or_else(unknown) }
        };
        let switch = |name| among(name, ("off", "on"));
        match name {
            "decode" => {
                self.decode = if among("decode", ("each", "cached"))? { Decode::Cached } else { Decode::Each };
            }
            "mmu" => self.mmu = if among("mmu", ("walk", "tlb"))? { Mmu::Tlb } else { Mmu::Walk },
            "flags" => {
                let lazy = among("flags", ("eager", "lazy"))?;
                self.flags = if lazy { FlagEvaluation::Lazy } else { FlagEvaluation::Eager };
            }
            "link" => self.link = switch("link")?,
            "fuse" => self.fuse = switch("fuse")?,
            "bulk" => self.bulk = switch("bulk")?,
            "translate" => self.translate = switch("translate")?,
            "chain" => self.chain = switch("chain")?,
            "inline-cache" => self.inline_cache = switch("inline-cache")?,
            "window" => self.window = switch("window")?,
            _ => return Err(MechanismError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// These mechanisms, if each has what it stands on: links, fused pairs and translations belong to cached blocks,
    /// translated code uses the TLB, and chains, inline caches and windows are parts of it.
    ///
    /// # Errors
    /// A mechanism lacks one that it needs.
    pub fn checked(self) -> Result<Self, MechanismError> {
        match self.first_without_ground() {
            Some((mechanism, needs)) => Err(MechanismError::Needs { mechanism, needs }),
            None => Ok(self),
        }
    }

    /// The first mechanism without one that it needs, and that one.
    fn first_without_ground(self) -> Option<(&'static str, &'static str)> {
        let cached = (self.decode == Decode::Cached, "decode=cached");
        let tlb = (self.mmu == Mmu::Tlb, "mmu=tlb");
        let translated = (self.translate, "translate=on");
        [
            (self.link, "link=on", cached),
            (self.fuse, "fuse=on", cached),
            (self.translate, "translate=on", cached),
            (self.translate, "translate=on", tlb),
            (self.chain, "chain=on", translated),
            (self.inline_cache, "inline-cache=on", translated),
            (self.window, "window=on", translated),
        ]
        .into_iter()
        .find(|&(on, _, (ground, _))| on && !ground)
        .map(|(_, mechanism, (_, needs))| (mechanism, needs))
    }

    /// These mechanisms without those that lack what they need.
    pub(crate) fn grounded(self) -> Self {
        let cached = self.decode == Decode::Cached;
        let translate = self.translate && cached && self.mmu == Mmu::Tlb;
        Self {
            link: self.link && cached,
            fuse: self.fuse && cached,
            translate,
            chain: self.chain && translate,
            inline_cache: self.inline_cache && translate,
            window: self.window && translate,
            ..self
        }
    }
}

impl Default for Mechanisms {
    /// [`Self::interp`].
    fn default() -> Self {
        Self::interp()
    }
}

impl fmt::Display for Mechanisms {
    /// All choices, as [`Mechanisms::with`] reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |on| if on { "on" } else { "off" };
        let values = [
            if self.decode == Decode::Cached { "cached" } else { "each" },
            if self.mmu == Mmu::Tlb { "tlb" } else { "walk" },
            if self.flags == FlagEvaluation::Lazy { "lazy" } else { "eager" },
            switch(self.link),
            switch(self.fuse),
            switch(self.bulk),
            switch(self.translate),
            switch(self.chain),
            switch(self.inline_cache),
            switch(self.window),
        ];
        for (i, (name, value)) in NAMES.into_iter().zip(values).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for mechanisms in [Mechanisms::naive(), Mechanisms::interp(), Mechanisms::dbt()] {
            for other in [Mechanisms::naive(), Mechanisms::interp(), Mechanisms::dbt()] {
                assert_eq!(other.with(&mechanisms.to_string()), Ok(mechanisms));
            }
        }
        assert_eq!(
            Mechanisms::interp().with(" link = off, flags=eager,").map(|chosen| chosen.to_string()).unwrap(),
            "decode=cached,mmu=tlb,flags=eager,link=off,fuse=on,bulk=on,translate=off,chain=off,inline-cache=off,window=off"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |choices| Mechanisms::dbt().with(choices).unwrap_err().to_string();
        assert_eq!(error("link"), "\"link\" is no choice of a mechanism; write name=value, as in link=off");
        assert!(error("jit=on").starts_with("\"jit\" is no mechanism; choose from decode, mmu, flags, link,"));
        assert_eq!(error("link=yes"), "\"yes\" is no value of link; choose link=off or link=on");
        assert_eq!(error("mmu=soft"), "\"soft\" is no value of mmu; choose mmu=walk or mmu=tlb");
    }

    #[test]
    fn a_mechanism_is_refused_without_its_ground_and_then_not_used() {
        let needs = |from: Mechanisms, choices| from.with(choices).unwrap_err().to_string();
        assert_eq!(needs(Mechanisms::interp(), "decode=each"), "link=on needs decode=cached");
        assert_eq!(needs(Mechanisms::interp(), "decode=each,link=off"), "fuse=on needs decode=cached");
        assert_eq!(needs(Mechanisms::dbt(), "mmu=walk"), "translate=on needs mmu=tlb");
        assert_eq!(needs(Mechanisms::interp(), "chain=on"), "chain=on needs translate=on");
        assert!(Mechanisms::interp().with("decode=each,link=off,fuse=off").is_ok());
        assert!(Mechanisms::interp().with("mmu=walk").is_ok());
        for mechanisms in [
            Mechanisms { decode: Decode::Each, ..Mechanisms::dbt() },
            Mechanisms { mmu: Mmu::Walk, ..Mechanisms::dbt() },
            Mechanisms { translate: false, ..Mechanisms::dbt() },
        ] {
            assert!(mechanisms.checked().is_err());
            assert_eq!(mechanisms.grounded().checked(), Ok(mechanisms.grounded()));
        }
        assert_eq!(Mechanisms::dbt().grounded(), Mechanisms::dbt());
    }
}
