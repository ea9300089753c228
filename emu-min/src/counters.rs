//! What the CPU counts while it runs.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names of the exception vectors 0-31, as used in `exception.<name>`.
pub const EXCEPTION_NAMES: [&str; 32] = [
    "de", "db", "nmi", "bp", "of", "br", "ud", "nm", "df", "cso", "ts", "np", "ss", "gp", "pf", "v15", "mf", "ac",
    "mc", "xm", "ve", "cp", "v22", "v23", "v24", "v25", "v26", "v27", "hv", "vc", "sx", "v31",
];

/// How often cached translations or decoded code were dropped, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushes {
    /// CR3 was written, or INVPCID dropped an address space: all translations of the space but for global ones.
    pub space: u64,
    /// INVLPG, INVPCID or a page fault dropped a page.
    pub page: u64,
    /// Everything: paging, protection bits or features changed, or the machine asked for it.
    pub full: u64,
    /// A page began to hold decoded code: all translations for writing.
    pub code: u64,
    /// Decoded code was written: the blocks that held it.
    pub written: u64,
}

/// Totals since the CPU was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions retired, exactly; a repeated string instruction is one.
    pub instructions: u64,
    /// Those in ring 3; the others were in rings 0 to 2.
    pub user_instructions: u64,
    /// Data accesses that the soft TLB served (all data accesses less the misses). Translated code does not count its own.
    pub tlb_hit: u64,
    /// Data and fetch accesses that the soft TLB did not serve.
    pub tlb_miss: u64,
    /// Data accesses that the second array of the soft TLB served; they count as hits.
    pub tlb_recall: u64,
    /// What was dropped.
    pub flushes: Flushes,
    /// Elements of repeated string instructions that were done in bulk.
    pub bulk_elements: u64,
    /// Page-table walks.
    pub page_walk: u64,
    /// Exceptions by vector, including `int3` and `into`.
    pub exceptions: [u64; 32],
    /// Port accesses that left the CPU.
    pub device_io: u64,
    /// Accesses outside RAM that left the CPU.
    pub device_mmio: u64,
    /// Blocks decoded.
    pub block_decoded: u64,
    /// Blocks executed.
    pub block_executed: u64,
    /// Transitions from one block to the next that needed no lookup.
    pub link_hit: u64,
    /// Those that did, and entries of the run loop.
    pub link_miss: u64,
    /// Blocks dropped because their code was written.
    pub block_invalidated: u64,
    /// External interrupts delivered.
    pub interrupt: u64,
    /// What the translator did, if there is one.
    pub translation: Option<Translation>,
    /// Instructions that raised #UD for want of an implementation, by mnemonic.
    pub undefined: BTreeMap<String, u64>,
}

/// What the translator did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Translation {
    /// Instructions retired in translated code; the others were interpreted.
    pub instructions: u64,
    /// Regions translated.
    pub regions: u64,
    /// Blocks in them. Some are in several regions, or in one twice.
    pub blocks: u64,
    /// Guest instructions in them.
    pub guest_instructions: u64,
    /// Bytes of those.
    pub guest_bytes: u64,
    /// Bytes of host code made of them.
    pub host_bytes: u64,
    /// Time that translating took, in nanoseconds.
    pub nanoseconds: u64,
    /// Times that all host code was dropped.
    pub flushes: u64,
    /// Entries into host code from the run loop.
    pub entries: u64,
    /// Jumps between regions that were made direct.
    pub links: u64,
    /// Accesses whose page the tables of host code did not know.
    pub tlb_misses: u64,
    /// Indirect branches whose target they did not know.
    pub indirect_misses: u64,
    /// Exits for what the interpreter has to do: an instruction that is not translated, or a look at the outside.
    pub steps: u64,
}

impl Translation {
    fn iter(self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("tier.translated", self.instructions),
            ("region.translated", self.regions),
            ("block.translated", self.blocks),
            ("code.guest_instructions", self.guest_instructions),
            ("code.guest_bytes", self.guest_bytes),
            ("code.bytes", self.host_bytes),
            ("translate_ns", self.nanoseconds),
            ("flush.host_code", self.flushes),
            ("translated.entry", self.entries),
            ("translated.link", self.links),
            ("translated.tlb_miss", self.tlb_misses),
            ("translated.indirect_miss", self.indirect_misses),
            ("translated.step", self.steps),
        ]
        .into_iter()
    }
}

impl Counters {
    /// Name and value of every counter; exceptions and undefined instructions only where they occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'static, str>, u64)> + '_ {
        let fixed = [
            ("instructions", self.instructions),
            ("ring3.instructions", self.user_instructions),
            ("ring0.instructions", self.instructions.saturating_sub(self.user_instructions)),
            ("tlb.hit", self.tlb_hit),
            ("tlb.miss", self.tlb_miss),
            ("tlb.recall", self.tlb_recall),
            ("page.walk", self.page_walk),
            ("device.io", self.device_io),
            ("device.mmio", self.device_mmio),
            ("block.decoded", self.block_decoded),
            ("block.executed", self.block_executed),
            ("block.invalidated", self.block_invalidated),
            ("link.hit", self.link_hit),
            ("link.miss", self.link_miss),
            ("flush.space", self.flushes.space),
            ("flush.page", self.flushes.page),
            ("flush.full", self.flushes.full),
            ("flush.code", self.flushes.code),
            ("flush.written", self.flushes.written),
            ("string.bulk", self.bulk_elements),
            ("interrupt", self.interrupt),
        ];
        let exceptions = EXCEPTION_NAMES
            .iter()
            .zip(self.exceptions)
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| (Cow::Owned(format!("exception.{name}")), n));
        let undefined = self.undefined.iter().map(|(name, n)| (Cow::Owned(format!("undefined.{name}")), *n));
        let interpreted =
            self.translation.map(|t| ("tier.interpreted", self.instructions.saturating_sub(t.instructions)));
        let translation = self.translation.into_iter().flat_map(Translation::iter).chain(interpreted);
        let named = |(name, n)| (Cow::Borrowed(name), n);
        fixed.into_iter().chain(translation).map(named).chain(exceptions).chain(undefined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iteration_names_what_occurred() {
        let mut counters = Counters { instructions: 5, ..Counters::default() };
        counters.exceptions[14] = 2;
        counters.undefined.insert("vaddps".into(), 1);
        let all: Vec<_> = counters.iter().collect();
        assert!(all.contains(&("instructions".into(), 5)));
        assert!(all.contains(&("exception.pf".into(), 2)));
        assert!(all.contains(&("undefined.vaddps".into(), 1)));
        assert!(!all.iter().any(|(name, _)| name == "exception.ud" || name == "tier.interpreted"));
    }

    #[test]
    fn tiers_add_up_to_all_instructions() {
        let translation = Some(Translation { instructions: 3, ..Translation::default() });
        let all: Vec<_> = Counters { instructions: 5, translation, ..Counters::default() }.iter().collect();
        assert!(all.contains(&("tier.translated".into(), 3)) && all.contains(&("tier.interpreted".into(), 2)));
    }
}
