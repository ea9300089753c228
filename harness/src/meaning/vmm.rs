//! Counters of the machine in vmm-min.

use super::{Meaning, entry};

const fn vmm(name: &'static str, text: &'static str) -> Meaning {
    entry("vmm", name, text)
}

pub(super) const TABLE: &[Meaning] = &[
    vmm("exit.total", "all exits to the machine"),
    vmm("exit.io", "exits for port I/O"),
    vmm("exit.io.out", "port I/O: writes (out, outs)"),
    vmm("exit.io.in", "port I/O: reads (in, ins)"),
    vmm("exit.io.scratch", "port I/O at 0x80, which does nothing: the port to measure an exit with"),
    vmm("exit.io.console", "port I/O at the serial port 0x3f8: text of the guest"),
    vmm("exit.io.marker", "port I/O at the marker port 0xe9; that of E is always in the region of interest"),
    vmm("exit.io.exit", "port I/O at the exit port 0xf4"),
    vmm("exit.io.pit", "port I/O at the timer (8254)"),
    vmm("exit.io.pic", "port I/O at the interrupt controllers (8259A)"),
    vmm("exit.io.nobody", "port I/O at ports without a device"),
    vmm("exit.mmio", "exits for memory accesses outside RAM"),
    vmm("exit.hlt", "exits because the guest halted"),
    vmm("exit.shutdown", "exits because the processor shut down (triple fault)"),
    vmm("exit.irq_window", "exits because the guest can take an interrupt that waits for it"),
    vmm("exit.intr", "exits because somebody outside interrupted the virtual CPU: a timer tick, a stop"),
    vmm("exit.error", "exits after which the virtual CPU could not go on"),
    vmm("exit.*_ns", "time to serve exits of this kind, outside the virtual CPU, in sum"),
    vmm("exit.*.p50_ns", "time to serve one exit of this kind: the median"),
    vmm("exit.*.p90_ns", "time to serve one exit of this kind: exceeded by one in 10"),
    vmm("exit.*.p99_ns", "time to serve one exit of this kind: exceeded by one in 100"),
    vmm("exit.*.max_ns", "time to serve one exit of this kind: the longest"),
    vmm("run.*.p50_ns", "stay inside the virtual CPU before an exit of this kind (entry, guest, way out): the median"),
    vmm("run.*.p90_ns", "stay inside the virtual CPU before an exit of this kind: exceeded by one in 10"),
    vmm("run.*.p99_ns", "stay inside the virtual CPU before an exit of this kind: exceeded by one in 100"),
    vmm("run.*.max_ns", "stay inside the virtual CPU before an exit of this kind: the longest"),
    vmm("run_ns", "time inside the virtual CPU: KVM_RUN, or the emulated CPU"),
    vmm("serve_ns", "time outside it: the VMM serves exits"),
    vmm("idle_ns", "time for which the guest was halted and the host slept"),
    vmm("irq.timer", "interrupts of the timer that the guest took"),
    vmm("irq.spurious", "interrupts without a source that the guest took"),
    vmm("startup.ram_ns", "mapping guest RAM, before the guest ran"),
    vmm("startup.cpu_ns", "making the virtual CPU, before the guest ran"),
    vmm("startup.load_ns", "loading kernel and program, before the guest ran"),
    vmm("startup.kvm_open_ns", "opening /dev/kvm"),
    vmm("startup.kvm_vm_ns", "KVM_CREATE_VM"),
    vmm("startup.kvm_memory_ns", "KVM_SET_USER_MEMORY_REGION"),
    vmm("startup.kvm_vcpu_ns", "KVM_CREATE_VCPU"),
    vmm("startup.kvm_cpuid_ns", "KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2"),
];
