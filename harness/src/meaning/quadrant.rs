//! The region of interest as ring of the processor times guest or host, and how each engine knows: see
//! `docs/reading-results.md`.

use super::{Meaning, entry};
use crate::host::KvmBackend;
use crate::model::EngineId;

/// The parts of the region of interest, in the order in which they are shown: the end of the counter's name, and a title.
pub const PARTS: [(&str, &str); 8] = [
    ("quadrant.guest_user_ns", "guest user"),
    ("quadrant.guest_kernel_ns", "guest kernel"),
    ("quadrant.guest_ns", "guest user + kernel, not told apart"),
    ("quadrant.mixed_ns", "on the processor, not told apart"),
    ("quadrant.host_kernel_ns", "host kernel"),
    ("quadrant.host_user_ns", "host user"),
    ("quadrant.idle_ns", "idle: the guest halted"),
    ("quadrant.off_cpu_ns", "off the processor"),
];

/// The bound on how far a part may be off.
pub const ERROR: &str = "quadrant.error_ns";

/// How the parts of an engine are known, and what they are not.
#[must_use]
pub const fn method(engine: EngineId, backend: Option<KvmBackend>) -> &'static str {
    match engine {
        EngineId::Native => {
            "CPU time of the process (in nanoseconds) and its parts in user and system mode \
             (sampled at the host's ticks, told in 10 ms), read when the markers arrive. Guest user is user mode, host \
             kernel is system mode. Regions below some 0.1 s are not divided."
        }
        EngineId::Kvm => match backend {
            Some(KvmBackend::Pvm) => {
                "Host user is the time outside KVM_RUN, by the time-stamp counter. The time inside is divided by the \
                 thread's system time, sampled at the host's ticks. On PVM the guest's kernel is emulated by the host's: it \
                 is in host kernel, and guest is ring 3 alone. Regions of few ticks are not divided."
            }
            _ => {
                "Host user is the time outside KVM_RUN, by the time-stamp counter. The time inside is divided by the \
                 thread's system time, sampled at the host's ticks: host kernel is KVM's own work, guest is both rings of \
                 the guest, which nothing tells apart. Regions of few ticks are not divided."
            }
        },
        EngineId::QemuKvm => {
            "Of the thread of QEMU that worked most: guest, user and system time, sampled at the host's ticks and told in \
             10 ms, read when the markers arrive; idle is in off the processor. On PVM guest is ring 3 alone. Regions below \
             some 0.1 s are not divided."
        }
        EngineId::QemuTcg => {
            "Of the thread of QEMU that worked most: user time is translated guest code, the translator and devices, which \
             nothing tells apart; host kernel is system time, sampled at the host's ticks and told in 10 ms; idle is in off \
             the processor."
        }
        EngineId::EmuDbt | EngineId::EmuInterp | EngineId::EmuNaive => {
            "All of it is host user to Linux. Guest user and guest kernel are the emulator's work for these rings, by the \
             time-stamp counter at every change of ring; host user is translating and serving exits. What the host's kernel \
             or other processes took (sampled, or the thread's CPU time against the clock) is taken off all of them alike."
        }
    }
}

const fn vmm(name: &'static str, text: &'static str) -> Meaning {
    entry("vmm", name, text)
}

const fn host(name: &'static str, text: &'static str) -> Meaning {
    entry("host", name, text)
}

pub(super) const TABLE: &[Meaning] = &[
    vmm("quadrant.guest_user_ns", "time of the region of interest in ring 3 of the guest: the emulator's work for it"),
    vmm("quadrant.guest_kernel_ns", "time in rings 0 to 2 of the guest: the emulator's work for them"),
    Meaning {
        on_pvm: "ring 3 alone: ring 0 is emulated by the host's kernel",
        ..vmm("quadrant.guest_ns", "time in the guest, user and kernel, which nothing tells apart")
    },
    vmm("quadrant.mixed_ns", "time inside KVM_RUN, guest and KVM, not told apart since the region is too short"),
    Meaning {
        on_pvm: "with the guest's ring 0",
        ..vmm("quadrant.host_kernel_ns", "time in the host's kernel, sampled: KVM's own work, system calls")
    },
    vmm("quadrant.host_user_ns", "time in the VMM, and in the translator of emu-dbt"),
    vmm("quadrant.idle_ns", "time for which the guest was halted and the host slept"),
    vmm("quadrant.off_cpu_ns", "time for which the host gave the processor to somebody else"),
    vmm("quadrant.error_ns", "how far one of these parts may be off"),
    host("quadrant.guest_user_ns", "user time of the program's process"),
    Meaning {
        on_pvm: "ring 3 alone: ring 0 is emulated by the host's kernel",
        ..host("quadrant.guest_ns", "guest time of QEMU's busiest thread, both rings of the guest")
    },
    host(
        "quadrant.mixed_ns",
        "time on the processor that is not told apart: user and kernel where the region is too short; guest code, \
         translator and devices of QEMU",
    ),
    host("quadrant.host_kernel_ns", "system time of the program's process, or of QEMU's busiest thread"),
    host("quadrant.host_user_ns", "user time of QEMU's busiest thread outside the guest"),
    host("quadrant.off_cpu_ns", "time for which that thread did not run: halted, waiting, or others had the processor"),
    host("quadrant.error_ns", "how far one of these parts may be off"),
];
