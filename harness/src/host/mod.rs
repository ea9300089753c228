//! The host: what an experiment ran on, and what of it touches the figures.

mod install;
mod kvm;
mod pressure;
mod system;

pub use install::{InstallError, Installed, install_qemu};
pub use kvm::{KvmBackend, KvmInfo, Rings};
pub use pressure::Pressure;
pub use system::{Cpu, Virtualization, processors};

use serde::{Deserialize, Serialize};

/// A description of the host. What cannot be read is `None`, never an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostInfo {
    /// Its name on the network.
    pub hostname: Option<String>,
    /// Its processor.
    pub cpu: Cpu,
    /// Physical memory, MiB.
    pub memory_mib: u64,
    /// The kernel and its release.
    pub kernel: String,
    /// The distribution and its version.
    pub distribution: Option<String>,
    /// Whether it is itself a virtual machine.
    pub virtualization: Virtualization,
    /// What runs guests on /dev/kvm.
    pub kvm: KvmInfo,
    /// The frequency governors in use (cpufreq); `None` where the kernel does not scale frequencies.
    pub governor: Option<String>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// The setting of transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_hugepages: Option<String>,
    /// How much of a process's address space Linux draws at its start (`randomize_va_space`): 0 nothing; 1 stack, libraries
    /// and mappings; 2 the heap too.
    #[serde(default)]
    pub address_space_randomization: Option<u8>,
    /// The kernel's clock source.
    pub clocksource: Option<String>,
    /// Frequency of the time-stamp counter, kHz, measured.
    pub tsc_khz: u32,
    /// Version of QEMU, if it is installed.
    pub qemu: Option<String>,
    /// What keeps the processes that run guests from the host.
    #[serde(default)]
    pub sandbox: String,
}

/// Whether two descriptions, as JSON, are of one host with the same KVM backend: figures of another say nothing about it.
#[must_use]
pub fn is_same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    ["/hostname", "/cpu/model", "/kvm/backend"].into_iter().all(|field| a.pointer(field) == b.pointer(field))
}

/// Describes this host; takes some tens of milliseconds, most of them to measure KVM.
pub fn describe() -> HostInfo {
    let flags = system::cpu_flags();
    HostInfo {
        hostname: sysinfo::System::host_name().ok(),
        cpu: system::cpu(),
        memory_mib: system::memory_mib(),
        kernel: system::kernel(),
        distribution: system::distribution(),
        virtualization: system::virtualization(&flags),
        kvm: kvm::detect(&flags),
        governor: system::governor(),
        load: system::load(),
        transparent_hugepages: system::transparent_hugepages(),
        address_space_randomization: system::address_space_randomization(),
        clocksource: system::clocksource(),
        tsc_khz: vmm_min::host_tsc_khz(),
        qemu: crate::engines::qemu_version(),
        sandbox: sandbox(),
    }
}

/// What keeps the processes that run guests from the host.
fn sandbox() -> String {
    let own = crate::sandbox::support();
    match crate::engines::qemu_has_sandbox() {
        Some(true) => format!("{own}; QEMU: its own seccomp filter"),
        Some(false) => format!("{own}; QEMU: none, it was built without seccomp"),
        None => own,
    }
}

impl HostInfo {
    /// What a reader of the figures must know about this host, a sentence each.
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if !matches!(self.kvm.backend, KvmBackend::None) && !self.kvm.hardware_assisted {
            cautions.push(format!(
                "KVM runs on the backend {} without hardware support for virtualization: its figures say nothing about \
                 VT-x or AMD-V",
                self.kvm.backend
            ));
        }
        if self.kvm.nested == Some(true) {
            cautions.push(
                "KVM is nested in another hypervisor: exits and page faults cost several times what they cost on bare \
                 hardware"
                    .to_owned(),
            );
        }
        if let Some(governor) = self.governor.as_deref().filter(|governor| *governor != "performance") {
            cautions.push(format!(
                "the frequency governor is {governor}: times vary with the clock rate; 'cpupower frequency-set -g \
                 performance' pins it"
            ));
        }
        if self.load[0] > self.cpu.cores as f64 / 2.0 {
            cautions.push(format!(
                "the load is {:.1} on {} cores: other work competes with the runs, and intervals will be wide",
                self.load[0], self.cpu.cores
            ));
        }
        if self.clocksource.as_deref().is_some_and(|source| !matches!(source, "tsc" | "kvm-clock" | "pvclock")) {
            cautions.push(format!(
                "the kernel's clock source is {}: its time stamps are slow to read",
                self.clocksource.as_deref().unwrap_or_default()
            ));
        }
        cautions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described_and_survives_json() {
        let host = describe();
        assert!(host.cpu.cores > 0 && !host.cpu.model.is_empty(), "{host:?}");
        assert!(host.memory_mib > 16 && host.kernel.starts_with("Linux "), "{host:?}");
        assert!(host.tsc_khz > 100_000, "{host:?}");
        let json = serde_json::to_string(&host).expect("it is plain data");
        assert_eq!(serde_json::from_str::<HostInfo>(&json).expect("it was just written"), host);
    }

    #[test]
    fn cautions_name_what_spoils_figures() {
        let calm = HostInfo {
            kvm: KvmInfo {
                backend: KvmBackend::VtX,
                hardware_assisted: true,
                nested: Some(false),
                ..KvmInfo::none("")
            },
            governor: Some("performance".to_owned()),
            load: [0.0; 3],
            clocksource: Some("tsc".to_owned()),
            ..describe()
        };
        assert_eq!(calm.cautions(), Vec::<String>::new());
        let rough = HostInfo {
            kvm: KvmInfo { backend: KvmBackend::Pvm, hardware_assisted: false, nested: None, ..KvmInfo::none("") },
            governor: Some("powersave".to_owned()),
            load: [1e3, 0.0, 0.0],
            clocksource: Some("hpet".to_owned()),
            ..calm
        };
        let cautions = rough.cautions().join("\n");
        for word in ["PVM", "powersave", "1000.0", "hpet"] {
            assert!(cautions.contains(word), "{cautions}");
        }
    }
}
