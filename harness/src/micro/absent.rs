//! Why an event has no value on an engine: what its processor lacks, or what a KVM backend cannot do.

use workloads::Event;

use super::benchmark::Ring;
use crate::host::KvmBackend;

/// On KVM, ours or QEMU's.
pub(super) fn on_kvm(event: Event, ring: Ring, backend: KvmBackend) -> Option<&'static str> {
    let pvm = backend == KvmBackend::Pvm;
    match (event, ring) {
        (Event::Hypercall, _) if pvm => Some("PVM never returns from vmcall or vmmcall in ring 0"),
        (Event::Interrupt | Event::Breakpoint, Ring::Zero) if pvm => {
            Some("PVM emulates ring 0 and knows neither int n nor int3 there")
        }
        _ => None,
    }
}

/// On emulated processors.
pub(super) fn on_emulators(event: Event) -> Option<&'static str> {
    match event {
        Event::Hypercall => Some("the emulated processor has no hypervisor below it to call"),
        _ => None,
    }
}
