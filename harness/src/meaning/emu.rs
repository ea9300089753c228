//! Counters of emu-min.

use super::{Meaning, entry};

const fn emu(name: &'static str, text: &'static str) -> Meaning {
    entry("emu", name, text)
}

pub(super) const TABLE: &[Meaning] = &[
    emu("instructions", "guest instructions retired, exactly; a repeated string instruction is one"),
    emu("ring3.instructions", "guest instructions of ring 3: the program's"),
    emu("ring0.instructions", "guest instructions of rings 0 to 2: the guest kernel's"),
    emu("tlb.hit", "data accesses that the soft TLB served; host code does not count its own"),
    emu("tlb.miss", "data accesses and fetches that the soft TLB did not serve"),
    emu("tlb.recall", "data accesses that the second level of the soft TLB served; they are among the hits"),
    emu("page.walk", "walks of the guest's page tables"),
    emu("device.io", "port accesses that left the CPU"),
    emu("device.mmio", "accesses outside RAM that left the CPU"),
    emu("exception.*", "exceptions of this kind that the guest got (pf: page fault, ud: undefined instruction, ...)"),
    emu("interrupt", "external interrupts delivered to the guest"),
    emu("undefined.*", "instructions of this name that were refused with #UD for want of an implementation"),
    emu("string.bulk", "elements of repeated string instructions that were done in bulk"),
    emu("block.decoded", "blocks decoded: straight pieces of guest code, kept for the next time"),
    emu("block.executed", "blocks executed"),
    emu("block.invalidated", "blocks dropped because the guest wrote to their code"),
    emu("link.hit", "ways from a block to the next that needed no lookup"),
    emu("link.miss", "ways that needed one, and entries of the run loop"),
    emu("flush.space", "translations of an address space dropped: CR3 was written, or INVPCID executed"),
    emu("flush.page", "translations of a page dropped: INVLPG, INVPCID, or a page fault"),
    emu("flush.full", "all translations dropped: paging, protection or features changed"),
    emu("flush.code", "translations for writing dropped: a page began to hold decoded code"),
    emu("flush.written", "times that decoded code was written"),
    emu("flush.host_code", "times that all host code was dropped, since its room was used up"),
    emu("tier.interpreted", "instructions that were interpreted"),
    emu("tier.translated", "instructions that were executed as host code"),
    emu("region.translated", "regions translated: what is compiled at a time, several blocks"),
    emu("block.translated", "blocks in translated regions"),
    emu("translate_ns", "time that translating took"),
    emu("code.guest_instructions", "guest instructions translated"),
    emu("code.guest_bytes", "bytes of guest code translated"),
    emu("code.bytes", "bytes of host code made of them"),
    emu("translated.entry", "entries into host code from the run loop"),
    emu("translated.link", "jumps between regions that were made direct"),
    emu("translated.step", "exits from host code for an instruction that is interpreted, or a look outside"),
    emu("translated.tlb_miss", "exits from host code for a page that its tables did not know"),
    emu("translated.indirect_miss", "exits from host code for a branch target that its tables did not know"),
];
