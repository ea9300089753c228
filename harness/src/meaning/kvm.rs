//! KVM's own statistics of a virtual CPU, and of its machine (`vm.`), as Linux defines them (`struct kvm_vcpu_stat` and
//! `struct kvm_vm_stat`, arch/x86/include/asm/kvm_host.h, and where they are counted); and what was found otherwise on PVM.
//!
//! "With shadow paging" is where the processor does not walk the guest's page tables itself (EPT, NPT): PVM, and hosts
//! that lack or disable those.

use super::{Meaning, entry};

const fn kvm(name: &'static str, text: &'static str) -> Meaning {
    entry("kvm", name, text)
}

const fn pvm(name: &'static str, text: &'static str, on_pvm: &'static str) -> Meaning {
    Meaning { on_pvm, ..kvm(name, text) }
}

pub(super) const TABLE: &[Meaning] = &[
    pvm(
        "exits",
        "returns from the guest to KVM, also those that KVM served itself",
        "these are returns from ring 3 and from the emulation of ring 0",
    ),
    pvm("io_exits", "exits for port I/O", "stays 0: ports are accessed by emulated instructions; see exit.io"),
    kvm("mmio_exits", "accesses outside RAM that KVM handed to the VMM"),
    kvm("signal_exits", "KVM_RUN ended because a signal waited"),
    kvm("irq_window_exits", "exits because the guest can take an interrupt that waits for it"),
    kvm("nmi_window_exits", "exits because the guest can take a non-maskable interrupt that waits for it"),
    kvm("notify_window_exits", "exits because the guest kept the processor from taking events for too long"),
    kvm("halt_exits", "HLT executed by the guest"),
    kvm("request_irq_exits", "KVM_RUN ended because the VMM asked for the interrupt window"),
    kvm("irq_exits", "exits for an interrupt of the host, which the host then served"),
    kvm("nmi_injections", "non-maskable interrupts injected into the guest"),
    kvm("irq_injections", "interrupts injected into the guest"),
    kvm("req_event", "times that KVM looked for events to inject"),
    pvm(
        "insn_emulation",
        "instructions that KVM's emulator executed in the processor's place (MMIO, string I/O, ...)",
        "this is nearly every instruction of the guest's ring 0: the price of its kernel",
    ),
    pvm(
        "insn_emulation_fail",
        "instructions that KVM's emulator could not execute",
        "some occur in runs that end well, and are then resolved otherwise",
    ),
    kvm("hypercalls", "hypercalls of the guest (VMCALL, VMMCALL)"),
    kvm("fpu_reload", "times that the guest's FPU registers were loaded: once for each KVM_RUN"),
    kvm("host_state_reload", "times that host segments and MSRs were put back after the guest's"),
    pvm(
        "pf_taken",
        "page faults that KVM itself had to look at: RAM not mapped yet (EPT or NPT violations)",
        "these are faults on shadow page tables",
    ),
    kvm("pf_fixed", "page faults for which KVM mapped a page"),
    kvm("pf_emulate", "page faults that ended in emulating the instruction"),
    kvm("pf_spurious", "page faults that somebody else had resolved already"),
    kvm("pf_fast", "page faults that KVM resolved without its lock"),
    kvm("pf_mmio_spte_created", "page faults that marked a page as outside RAM"),
    pvm(
        "pf_guest",
        "page faults that KVM handed to the guest's kernel; with EPT or NPT those do not leave the guest, so 0",
        "every page fault of the guest's own comes through here",
    ),
    kvm("pf_parked", "not in mainline Linux: by its name, page faults that were parked"),
    kvm("pf_park_timeouts", "not in mainline Linux: by its name, parked page faults that timed out"),
    kvm("tlb_flush", "flushes of the guest's TLB by KVM"),
    kvm("invlpg", "INVLPG of the guest that KVM carried out, with shadow paging"),
    kvm("l1d_flush", "flushes of the L1 data cache before entering the guest (L1TF)"),
    kvm("blocking", "whether the virtual CPU waits in HLT now"),
    kvm("halt_attempted_poll", "waits in HLT that began with polling"),
    kvm("halt_successful_poll", "waits in HLT that ended while polling"),
    kvm("halt_poll_invalid", "wake-ups that were no reason to poll"),
    kvm("halt_wakeup", "wake-ups of a virtual CPU that waited in HLT"),
    kvm("halt_poll_success_ns", "time polled with success"),
    kvm("halt_poll_fail_ns", "time polled in vain"),
    kvm("halt_wait_ns", "time slept in HLT"),
    kvm("nested_run", "entries into a guest of the guest"),
    kvm("guest_mode", "whether a guest of the guest runs now"),
    kvm("directed_yield_attempted", "times that a spinning virtual CPU offered its time to another"),
    kvm("directed_yield_successful", "offers that another virtual CPU took"),
    kvm("preemption_reported", "pre-emptions of the virtual CPU that KVM told the guest of"),
    kvm("preemption_other", "pre-emptions of the virtual CPU that KVM did not tell the guest of"),
    kvm("vm.remote_tlb_flush", "flushes of all virtual CPUs' TLBs"),
    kvm("vm.remote_tlb_flush_requests", "requests for them"),
    kvm("vm.mmu_shadow_zapped", "shadow page tables dropped, with shadow paging"),
    kvm("vm.mmu_pte_write", "writes of the guest to page tables that are shadowed; with EPT or NPT nobody looks, so 0"),
    kvm("vm.mmu_pde_zapped", "page-directory entries dropped after such writes"),
    kvm("vm.mmu_flooded", "shadow page tables dropped because they were written too often"),
    kvm("vm.mmu_recycled", "shadow page tables dropped to make room"),
    kvm("vm.mmu_cache_miss", "shadow page tables that had to be made anew"),
    kvm("vm.mmu_unsync", "shadow page tables that may differ from the guest's now"),
    kvm("vm.mmu_kicks_spared", "not in mainline Linux: by its name, kicks of virtual CPUs that were not needed"),
    kvm("vm.pages_4k", "pages of 4 KiB that KVM has mapped now"),
    kvm("vm.pages_2m", "pages of 2 MiB that KVM has mapped now"),
    kvm("vm.pages_1g", "pages of 1 GiB that KVM has mapped now"),
    kvm("vm.nx_lpage_splits", "large pages split for the iTLB multihit erratum, now"),
    kvm("vm.max_mmu_rmap_size", "longest list of mappings of one page, so far"),
    kvm("vm.max_mmu_page_hash_collisions", "longest search for a shadow page table, so far"),
];
