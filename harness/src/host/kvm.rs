//! Which KVM this host has. Figures of one backend say nothing about another, so it is named wherever they are shown.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vmm_min::probe;

use crate::engines::{Availability, engine};
use crate::model::EngineId;

/// What executes guests behind /dev/kvm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvmBackend {
    /// Intel VT-x.
    #[serde(rename = "VT-x")]
    VtX,
    /// AMD-V, also called SVM.
    #[serde(rename = "AMD-V")]
    AmdV,
    /// Pagetable Virtual Machine: ring 3 runs natively, ring 0 is emulated, no hardware support.
    #[serde(rename = "PVM")]
    Pvm,
    /// Another, or one that its signs contradict.
    #[serde(rename = "unknown")]
    Unknown,
    /// There is no usable KVM.
    #[serde(rename = "none")]
    None,
}

impl KvmBackend {
    /// The backend by what the kernel has loaded, without the measurement that could refute it.
    #[must_use]
    pub fn loaded() -> Option<Self> {
        by_module(&modules())
    }
}

impl fmt::Display for KvmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::VtX => "VT-x",
            Self::AmdV => "AMD-V",
            Self::Pvm => "PVM",
            Self::Unknown => "unknown",
            Self::None => "none",
        })
    }
}

/// The KVM of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KvmInfo {
    /// What executes guests.
    pub backend: KvmBackend,
    /// Whether the processor's virtualization extensions are used.
    pub hardware_assisted: bool,
    /// Whether those extensions are themselves emulated by an outer hypervisor; `None` where none are used.
    pub nested: Option<bool>,
    /// How all this was found out, or why there is no KVM.
    pub evidence: String,
    /// The measured speed of the rings, if it could be measured.
    pub rings: Option<Rings>,
}

/// Time of one iteration of a loop of register instructions in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rings {
    /// In ring 0, nanoseconds.
    pub ring0_ns: f64,
    /// In ring 3, nanoseconds.
    pub ring3_ns: f64,
    /// How many times as long ring 0 takes: about 1 with hardware support.
    pub ratio: f64,
}

/// From this ratio on, ring 0 is emulated. Hardware gives about 1, PVM some thousands.
const EMULATED: f64 = 50.0;

impl KvmInfo {
    /// No KVM, and why.
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self { backend: KvmBackend::None, hardware_assisted: false, nested: None, evidence: why.into(), rings: None }
    }
}

/// Looks at modules and processor flags, and measures.
pub(super) fn detect(flags: &BTreeSet<String>) -> KvmInfo {
    if let Availability::Missing { reason, .. } = engine(EngineId::Kvm).availability() {
        return KvmInfo::none(reason);
    }
    let modules = modules();
    let rings = probe::ring_times().map_err(|error| error.to_string()).map(|times| {
        // More digits would only be noise.
        let round = |ns: f64| (ns * 1000.0).round() / 1000.0;
        Rings { ring0_ns: round(times.ring0_ns), ring3_ns: round(times.ring3_ns), ratio: round(times.ratio()) }
    });
    judge(flags, &modules, rings)
}

/// The kernel's modules that tell.
fn modules() -> BTreeSet<&'static str> {
    let modules = ["kvm_intel", "kvm_amd", "kvm_pvm"];
    modules.into_iter().filter(|name| Path::new("/sys/module").join(name).exists()).collect()
}

fn by_module(modules: &BTreeSet<&str>) -> Option<KvmBackend> {
    if modules.contains("kvm_pvm") {
        Some(KvmBackend::Pvm)
    } else if modules.contains("kvm_intel") {
        Some(KvmBackend::VtX)
    } else if modules.contains("kvm_amd") {
        Some(KvmBackend::AmdV)
    } else {
        None
    }
}

/// Draws the conclusion from flags, modules and measurement.
fn judge(flags: &BTreeSet<String>, modules: &BTreeSet<&str>, rings: Result<Rings, String>) -> KvmInfo {
    let mut evidence: Vec<_> = modules.iter().map(|name| format!("/sys/module/{name}")).collect();
    let extensions: Vec<_> = ["vmx", "svm"].into_iter().filter(|flag| flags.contains(*flag)).collect();
    evidence.push(match extensions.as_slice() {
        [] => "neither vmx nor svm in /proc/cpuinfo".to_owned(),
        found => format!("{} in /proc/cpuinfo", found.join(" and ")),
    });
    let emulated = match &rings {
        Ok(rings) => {
            evidence.push(format!("a loop takes {} times as long in ring 0 as in ring 3", short(rings.ratio)));
            Some(rings.ratio >= EMULATED)
        }
        Err(why) => {
            evidence.push(format!("the rings could not be measured: {why}"));
            None
        }
    };
    let by_flag = match extensions.as_slice() {
        ["vmx"] => Some(KvmBackend::VtX),
        ["svm"] => Some(KvmBackend::AmdV),
        _ => None,
    };
    let claimed = by_module(modules).or(by_flag).unwrap_or(KvmBackend::Unknown);
    // The measurement can refute a claim, but cannot tell which backend it is instead.
    let backend = match (claimed, emulated) {
        (KvmBackend::VtX | KvmBackend::AmdV, Some(true)) | (KvmBackend::Pvm, Some(false)) => KvmBackend::Unknown,
        (claimed, _) => claimed,
    };
    let hardware_assisted = matches!(backend, KvmBackend::VtX | KvmBackend::AmdV);
    KvmInfo {
        backend,
        hardware_assisted,
        nested: hardware_assisted.then(|| flags.contains("hypervisor")),
        evidence: evidence.join("; "),
        rings: rings.ok(),
    }
}

/// Two digits at least, and no more than are true.
fn short(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(flags: &[&str], modules: &[&'static str], ratio: Option<f64>) -> KvmInfo {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let rings = ratio.map(|ratio| Rings { ring0_ns: ratio, ring3_ns: 1.0, ratio }).ok_or_else(|| "no".to_owned());
        judge(&flags, &modules.iter().copied().collect(), rings)
    }

    #[test]
    fn hardware_is_named_and_nesting_noticed() {
        let intel = judged(&["vmx"], &["kvm_intel"], Some(1.0));
        assert_eq!((intel.backend, intel.hardware_assisted, intel.nested), (KvmBackend::VtX, true, Some(false)));
        let amd = judged(&["svm", "hypervisor"], &["kvm_amd"], Some(1.1));
        assert_eq!((amd.backend, amd.hardware_assisted, amd.nested), (KvmBackend::AmdV, true, Some(true)));
        assert_eq!(judged(&["vmx"], &[], Some(1.0)).backend, KvmBackend::VtX, "a kernel without modules");
        assert_eq!(judged(&[], &["kvm_intel"], None).backend, KvmBackend::VtX, "flags hidden, nothing measured");
    }

    #[test]
    fn pvm_is_never_called_hardware() {
        let pvm = judged(&["hypervisor"], &["kvm_pvm"], Some(2500.0));
        assert_eq!((pvm.backend, pvm.hardware_assisted, pvm.nested), (KvmBackend::Pvm, false, None));
        assert_eq!(
            pvm.evidence,
            "/sys/module/kvm_pvm; neither vmx nor svm in /proc/cpuinfo; a loop takes 2500 times as long in \
             ring 0 as in ring 3"
        );
        assert_eq!(judged(&["vmx"], &["kvm_intel", "kvm_pvm"], None).backend, KvmBackend::Pvm);
    }

    #[test]
    fn a_measurement_refutes_a_claim() {
        assert_eq!(judged(&["vmx"], &["kvm_intel"], Some(3000.0)).backend, KvmBackend::Unknown);
        assert_eq!(judged(&[], &["kvm_pvm"], Some(1.0)).backend, KvmBackend::Unknown);
        let unknown = judged(&[], &[], Some(2000.0));
        assert_eq!((unknown.backend, unknown.hardware_assisted), (KvmBackend::Unknown, false));
    }
}
