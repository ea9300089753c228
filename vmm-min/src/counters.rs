//! Named numbers: what a run counted, and what of it fell into the region of interest.

use std::borrow::Cow;
use std::fmt;

/// Who counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The machine.
    Vmm,
    /// KVM's binary statistics.
    Kvm,
    /// The emulated CPU.
    Emu,
    /// Who looks on while it runs.
    Profile,
}

impl Source {
    /// The name used in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vmm => "vmm",
            Self::Kvm => "kvm",
            Self::Emu => "emu",
            Self::Profile => "profile",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How values taken at two moments combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// A running total: the difference is what happened in between.
    Cumulative,
    /// A level: the later value stands.
    Level,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Who counted.
    pub source: Source,
    /// What was counted; ends in `_ns` where the value is nanoseconds.
    pub name: Cow<'static, str>,
    /// How much.
    pub value: u64,
    /// How two readings combine.
    pub nature: Nature,
}

impl Counter {
    /// A running total.
    pub fn new(source: Source, name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { source, name: name.into(), value, nature: Nature::Cumulative }
    }

    /// The same counter under the name for the whole run.
    #[must_use]
    pub(crate) fn total(mut self) -> Self {
        self.name = format!("total.{}", self.name).into();
        self
    }
}

/// What happened between two readings of the same counters; one that is missing in `before` counts from 0.
pub(crate) fn difference(before: &[Counter], after: &[Counter]) -> Vec<Counter> {
    after
        .iter()
        .map(|late| {
            let mut counter = late.clone();
            if late.nature == Nature::Cumulative {
                let early = before.iter().find(|c| c.source == late.source && c.name == late.name);
                counter.value = late.value.saturating_sub(early.map_or(0, |c| c.value));
            }
            counter
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_differ_and_levels_stand() {
        let level = |v| Counter { nature: Nature::Level, ..Counter::new(Source::Kvm, "pages", v) };
        let before = [Counter::new(Source::Kvm, "exits", 3), level(9)];
        let after = [Counter::new(Source::Kvm, "exits", 10), level(4), Counter::new(Source::Emu, "exits", 2)];
        let values: Vec<_> = difference(&before, &after).iter().map(|c| c.value).collect();
        assert_eq!(values, [7, 4, 2]);
        assert_eq!(after[0].clone().total().name, "total.exits");
    }
}
