//! What was seen of an address, as it is printed and as JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vmm_min::{PageTableEntry, Walk, WalkError, WalkStep};

use super::Moment;
use crate::model::Setup;

/// A number that people read in hexadecimal: in JSON a text such as `0x1f3000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex(pub u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| serde::de::Error::custom("no 0x"))?;
        u64::from_str_radix(digits, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What `evlab walk` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The workload, or the path of a program.
    pub workload: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The address.
    pub address: Hex,
    /// Which look at each process is shown.
    pub at: Moment,
    /// One picture an engine.
    pub engines: Vec<Picture>,
}

/// What one engine showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The engine.
    pub engine: Setup,
    /// How the run ended, in a sentence.
    pub end: String,
    /// Whether that is well: the guest ended with exit code 0, or was no longer needed.
    pub ended_well: bool,
    /// What the guest printed.
    pub console: String,
    /// The processes, in the order in which they were first seen.
    pub processes: Vec<LookView>,
}

/// One process at the moment chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookView {
    /// Its number, from 1.
    pub process: usize,
    /// Which exit of the machine it was, from 1.
    pub exit: u64,
    /// What kind of exit, in words.
    pub why: String,
    /// The ring that the processor was in.
    pub ring: u8,
    /// CR3.
    pub cr3: Hex,
    /// The page-table entries on the way, the root's first.
    pub entries: Vec<EntryView>,
    /// The page, if the walk reached one.
    pub page: Option<PageView>,
    /// Why it reached none.
    pub unmapped: Option<String>,
    /// What is in memory there; none without a page, or where it lies outside RAM.
    pub value: Option<ValueView>,
    /// What the TLB has to say.
    pub tlb: TlbView,
}

/// A page-table entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// PML4E, PDPTE, PDE or PTE.
    pub name: String,
    /// Level of its table: 4 is the root.
    pub level: u8,
    /// Its number in its table.
    pub index: u16,
    /// Its guest-physical address.
    pub address: Hex,
    /// The entry.
    pub value: Hex,
    /// The bits that are set and mean something there: P, W, U, PWT, PCD, A, D, PS, PAT, G, NX.
    pub bits: Vec<String>,
}

/// A page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageView {
    /// Guest-physical address behind the address itself.
    pub physical: Hex,
    /// Guest-physical address of the page.
    pub frame: Hex,
    /// Bytes.
    pub size: u64,
    /// It may be written.
    pub write: bool,
    /// Ring 3 may use it.
    pub user: bool,
    /// It may be executed.
    pub execute: bool,
    /// It is the same in all address spaces.
    pub global: bool,
    /// There is RAM behind it.
    pub in_ram: bool,
}

/// Memory at the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueView {
    /// The byte there.
    pub byte: u8,
    /// It and those behind it, up to 8 and to the end of the page, two digits each.
    pub bytes: String,
}

/// What TLB an engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlbKind {
    /// The soft TLB of emu-min, which can be asked.
    Soft,
    /// None: the tables are walked at every access.
    None,
    /// The processor's own, which nobody can ask.
    Hardware,
}

/// What a TLB holds of the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbView {
    /// What TLB it is.
    pub kind: TlbKind,
    /// Of a soft TLB: whether it holds a translation for any access. Else nobody knows.
    pub hit: Option<bool>,
    /// Of a soft TLB: the translations that it holds.
    pub entries: Vec<TlbEntryView>,
    /// Whether the architecture lets a TLB hold a translation of the address.
    pub may_hold: bool,
    /// What it may hold, or why not: a clause that begins with `may hold`, `holds nothing` and the like.
    pub rule: String,
}

/// A translation in a soft TLB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbEntryView {
    /// `read`, `write` or `fetch`.
    pub access: String,
    /// `user`, `supervisor` or `supervisor-smap`.
    pub rights: String,
    /// 1: the array that accesses look into; 2: the one behind it.
    pub level: u8,
    /// It survives a load of CR3.
    pub global: bool,
    /// Guest-physical address behind the address asked about.
    pub physical: Hex,
}

/// The bits of an entry that mean something at its level, each with whether it is set; those that mean nothing there are
/// `None`.
#[must_use]
pub fn letters(level: u8, entry: PageTableEntry) -> [(&'static str, Option<bool>); 11] {
    let large = matches!(level, 2 | 3) && entry.page_size();
    let leaf = level == 1 || large;
    let pat = if level == 1 { entry.page_size() } else { entry.0 >> 12 & 1 != 0 };
    [
        ("P", Some(entry.present())),
        ("W", Some(entry.writable())),
        ("U", Some(entry.user())),
        ("PWT", Some(entry.write_through())),
        ("PCD", Some(entry.cache_disabled())),
        ("A", Some(entry.accessed())),
        ("D", leaf.then_some(entry.dirty())),
        ("PS", (level > 1).then_some(entry.page_size())),
        ("PAT", leaf.then_some(pat)),
        ("G", leaf.then_some(entry.global())),
        ("NX", Some(entry.no_execute())),
    ]
}

impl From<&WalkStep> for EntryView {
    fn from(step: &WalkStep) -> Self {
        // Of an entry that is not present the other bits mean nothing.
        let set = letters(step.level, step.entry).into_iter().filter(|&(_, bit)| bit == Some(true));
        let bits = if step.entry.present() { set.map(|(name, _)| name.to_owned()).collect() } else { Vec::new() };
        Self {
            name: step.name().to_owned(),
            level: step.level,
            index: step.index,
            address: Hex(step.gpa),
            value: Hex(step.entry.0),
            bits,
        }
    }
}

/// Whether a TLB may hold the translation that a walk found, and what, or why not (Intel SDM volume 3, 5.10.2).
pub(super) fn rule(walk: &Walk) -> (bool, String) {
    let page = match &walk.end {
        Ok(_) if walk.steps.is_empty() => return (false, "has nothing to hold: paging is off".to_owned()),
        Ok(page) => page,
        Err(WalkError::NotCanonical) => {
            return (false, "is never asked: an address that is not canonical raises #GP or #SS before".to_owned());
        }
        Err(WalkError::NotPresent { .. } | WalkError::Reserved { .. }) => {
            return (false, "holds nothing of it: only entries with P set and no reserved bits are cached".to_owned());
        }
        Err(WalkError::OutsideRam { .. } | WalkError::UnknownMode) => {
            return (false, "holds nothing that this walk could find".to_owned());
        }
    };
    let mut rule = "may hold it for reads".to_owned();
    if page.writable {
        rule.push_str(if page.dirty { ", writes" } else { ", writes (once D is set)" });
    }
    if page.executable {
        rule.push_str(", fetches");
    }
    rule.push_str(if page.user { " of every ring" } else { " of rings 0 to 2" });
    if !page.accessed {
        rule.push_str(", once A is set in every entry");
    }
    rule.push_str(if page.global {
        ", until INVLPG, also when CR3 is loaded"
    } else {
        ", until CR3 is loaded or INVLPG"
    });
    (true, rule)
}

#[cfg(test)]
mod tests {
    use vmm_min::Page;

    use super::*;

    fn bits(level: u8, entry: u64) -> Vec<String> {
        let step = WalkStep { level, index: 0, gpa: 0, entry: PageTableEntry(entry) };
        EntryView::from(&step).bits
    }

    #[test]
    fn only_bits_that_mean_something_are_named() {
        assert_eq!(bits(4, 0x127), ["P", "W", "U", "A"], "no G in a table's entry");
        assert_eq!(bits(1, 0x8000_0000_0000_01e7), ["P", "W", "U", "A", "D", "PAT", "G", "NX"]);
        assert_eq!(bits(2, 0x1083), ["P", "W", "PS", "PAT"]);
        assert_eq!(bits(2, 0x1003), ["P", "W"]);
        assert_eq!(bits(1, 0x18), [] as [&str; 0]);
        assert_eq!(bits(3, 0x19), ["P", "PWT", "PCD"]);
    }

    #[test]
    fn the_rule_follows_from_the_walk() {
        let page = Page {
            gpa: 0x1000,
            size: 4096,
            writable: true,
            user: true,
            executable: false,
            global: false,
            accessed: true,
            dirty: true,
        };
        let step = WalkStep { level: 1, index: 0, gpa: 0, entry: PageTableEntry(0x67) };
        let of = |end| rule(&Walk { linear: 0, steps: vec![step], end });
        assert_eq!(
            of(Ok(page)),
            (true, "may hold it for reads, writes of every ring, until CR3 is loaded or INVLPG".to_owned())
        );
        let kernel = Page { user: false, executable: true, global: true, dirty: false, accessed: false, ..page };
        let text = "may hold it for reads, writes (once D is set), fetches of rings 0 to 2, once A is set in every entry, \
                    until INVLPG, also when CR3 is loaded";
        assert_eq!(of(Ok(kernel)), (true, text.to_owned()));
        assert!(!of(Err(WalkError::NotPresent { level: 1, entry: 0 })).0);
        assert!(of(Err(WalkError::NotCanonical)).1.contains("#GP"));
    }

    #[test]
    fn numbers_are_written_in_hexadecimal_and_read_back() {
        let json = serde_json::to_string(&Hex(0xabcd)).expect("JSON");
        assert_eq!(json, "\"0xabcd\"");
        assert_eq!(serde_json::from_str::<Hex>(&json).expect("a number"), Hex(0xabcd));
        assert!(serde_json::from_str::<Hex>("\"12\"").is_err() && serde_json::from_str::<Hex>("\"0xg\"").is_err());
    }
}
