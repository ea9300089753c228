//! What of a guest is traced.

use std::ops::Range;

use clap::ValueEnum;

use crate::exec::{exception_name, parse_number};
use crate::model::EngineId;

/// What can be seen of an emulated CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum EventKind {
    /// Instructions, with the registers that they change.
    Insn,
    /// Loads and stores of instructions.
    Mem,
    /// Walks of the page tables.
    Walk,
    /// Exceptions, and software interrupts.
    Exception,
    /// Interrupts from outside.
    Interrupt,
    /// Port I/O, accesses outside RAM, and other exits to the machine.
    Io,
}

impl EventKind {
    /// What is shown unless something else is asked for.
    pub const USUAL: [Self; 5] = [Self::Insn, Self::Mem, Self::Exception, Self::Interrupt, Self::Io];
}

/// What of a guest is traced, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is shown.
    pub events: Vec<EventKind>,
    /// Only where the instruction pointer is in this range.
    pub range: Option<Range<u64>>,
    /// Only in this ring.
    pub ring: Option<u8>,
    /// Only these exceptions, by vector; all, if empty.
    pub exceptions: Vec<u8>,
    /// Only the region of interest.
    pub roi: bool,
    /// Only so many steps before each exception, and as many after it.
    pub around: Option<usize>,
    /// End after so many steps that were shown; a step is an instruction, an event between two, or an exit.
    pub limit: u64,
    /// JSON, one object a line.
    pub json: bool,
}

/// Why a trace cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Something that only a stepped CPU shows.
    #[error(
        "{0} is about single instructions, which engine kvm does not show: there a trace is of exits; choose emu-naive, \
         emu-interp or emu-dbt, or leave {0} out"
    )]
    NeedsSteps(&'static str),
}

impl Options {
    /// Checks that the engine can show what is asked for; `events` says whether some were asked for by name.
    ///
    /// # Errors
    /// [`OptionsError::NeedsSteps`] where it cannot.
    pub fn check(&self, engine: EngineId, events: bool) -> Result<(), OptionsError> {
        if engine.has_emulated_cpu() {
            return Ok(());
        }
        let asked = [
            (events, "--events"),
            (self.around.is_some(), "--around-fault"),
            (!self.exceptions.is_empty(), "--exception"),
        ];
        match asked.into_iter().find(|(asked, _)| *asked) {
            Some((_, option)) => Err(OptionsError::NeedsSteps(option)),
            None => Ok(()),
        }
    }

    pub(super) fn shows(&self, kind: EventKind) -> bool {
        self.events.contains(&kind)
    }

    /// Whether the place of the processor is one that is traced.
    pub(super) fn covers(&self, rip: u64, ring: u8) -> bool {
        self.range.as_ref().is_none_or(|range| range.contains(&rip)) && self.ring.is_none_or(|wanted| wanted == ring)
    }

    pub(super) fn has_exception(&self, vector: u8) -> bool {
        self.exceptions.is_empty() || self.exceptions.contains(&vector)
    }

    /// Whether nothing before the first entry into ring 3 can be of interest.
    pub(super) fn begins_in_ring3(&self) -> bool {
        self.ring == Some(3)
    }
}

/// Reads `A..B`, from A up to but not including B, or `A` alone.
///
/// # Errors
/// A sentence for whoever typed it.
pub fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = match text.split_once("..") {
        Some((start, end)) => (parse_number(start)?, parse_number(end)?),
        None => {
            let address = parse_number(text)?;
            (address, address.saturating_add(1))
        }
    };
    if start < end { Ok(start..end) } else { Err(format!("{text} is empty; write A..B with A below B")) }
}

/// Reads an exception: its number, or its name with or without `#`, such as `14`, `pf` or `#PF`.
///
/// # Errors
/// A sentence for whoever typed it.
pub fn parse_exception(text: &str) -> Result<u8, String> {
    if let Ok(vector @ 0..=31) = text.parse() {
        return Ok(vector);
    }
    let name = text.trim_start_matches('#').to_uppercase();
    let known = (0..32).find(|&vector| exception_name(vector).trim_start_matches('#') == name);
    known.ok_or_else(|| format!("{text:?} is no exception; write a vector from 0 to 31 or a name such as pf, gp or ud"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        assert_eq!(parse_range("0x400000..0x401000"), Ok(0x40_0000..0x40_1000));
        assert_eq!(parse_range("16"), Ok(16..17));
        for bad in ["0x10..0x10", "2..1", "a..b", "..", "1...2", ""] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exceptions_have_numbers_and_names() {
        for (text, vector) in [("14", 14), ("pf", 14), ("#GP", 13), ("Ud", 6), ("nmi", 2), ("0", 0)] {
            assert_eq!(parse_exception(text), Ok(vector), "{text}");
        }
        for bad in ["32", "-1", "page", "", "interrupt fault"] {
            assert!(parse_exception(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kvm_shows_exits_alone() {
        let plain = Options {
            events: EventKind::USUAL.to_vec(),
            range: Some(16..32),
            ring: Some(3),
            exceptions: Vec::new(),
            roi: true,
            around: None,
            limit: 1,
            json: false,
        };
        assert_eq!(plain.check(EngineId::Kvm, false), Ok(()));
        assert_eq!(plain.check(EngineId::Kvm, true), Err(OptionsError::NeedsSteps("--events")));
        let around = Options { around: Some(3), ..plain.clone() };
        assert!(around.check(EngineId::Kvm, false).unwrap_err().to_string().starts_with("--around-fault is about"));
        assert_eq!(around.check(EngineId::EmuDbt, true), Ok(()));
        assert!(plain.covers(16, 3) && !plain.covers(32, 3) && !plain.covers(16, 0));
    }
}
