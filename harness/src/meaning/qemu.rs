//! Counters of QEMU's translator (`info jit`), over the whole run.

use super::{Meaning, entry};

const fn qemu(name: &'static str, text: &'static str) -> Meaning {
    entry("qemu", name, text)
}

pub(super) const TABLE: &[Meaning] = &[
    qemu("jit.code_bytes", "bytes of host code in the translator's buffer at the end"),
    qemu("jit.tb_count", "translated blocks (TBs) in it"),
    qemu("jit.tb_avg_target_bytes", "bytes of guest code of a block, on average"),
    qemu("jit.tb_avg_host_bytes", "bytes of host code of a block, on average"),
    qemu("jit.tb_cross_page", "blocks that cross a page"),
    qemu("jit.tb_direct_jump", "blocks that jump to the next directly"),
    qemu("jit.tb_flush", "times that all blocks were dropped"),
    qemu("jit.tb_invalidate", "blocks dropped because the guest wrote to their code"),
    qemu("tlb.flush_full", "flushes of the whole soft TLB"),
    qemu("tlb.flush_partial", "flushes of a part of it"),
    qemu("tlb.flush_elided", "flushes that there was nothing to do for"),
];
