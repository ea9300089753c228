//! Facts that Linux states in files: processor, memory, load, settings.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// The processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its model, by its own word.
    pub model: String,
    /// Its maker, by its own word.
    pub vendor: String,
    /// Logical cores that are online.
    pub cores: usize,
}

/// Whether the host is itself a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtualization {
    /// It is: CPUID says that there is a hypervisor.
    pub guest: bool,
    /// What the firmware calls the machine (DMI), which often names the hypervisor.
    pub product: Option<String>,
}

/// How many processors this process may use; 1 if the kernel does not say.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(super) fn cpu() -> Cpu {
    let all = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let cores = System::new_with_specifics(all).map(|system| {
        let first = system.cpus().first().map(|cpu| (cpu.brand().to_owned(), cpu.vendor_id().to_owned()));
        (first, system.cpus().len())
    });
    match cores {
        Ok((Some((model, vendor)), cores)) => Cpu { model: model.trim().to_owned(), vendor, cores },
        _ => Cpu { model: "unknown".to_owned(), vendor: "unknown".to_owned(), cores: 1 },
    }
}

pub(super) fn memory_mib() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    System::new_with_specifics(memory).map_or(0, |system| system.total_memory() >> 20)
}

pub(super) fn kernel() -> String {
    System::kernel_version().map_or_else(|_| "Linux".to_owned(), |release| format!("Linux {release}"))
}

pub(super) fn distribution() -> Option<String> {
    let name = System::name().ok()?;
    Some(System::os_version().map_or_else(|_| name.clone(), |version| format!("{name} {version}")))
}

pub(super) fn load() -> [f64; 3] {
    System::load_average().map_or([0.0; 3], |load| [load.one, load.five, load.fifteen])
}

/// The processor's feature flags.
pub(super) fn cpu_flags() -> BTreeSet<String> {
    flags_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn flags_of(cpuinfo: &str) -> BTreeSet<String> {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

pub(super) fn virtualization(flags: &BTreeSet<String>) -> Virtualization {
    let name = sysinfo::Product::name().ok();
    let vendor = sysinfo::Product::vendor_name().ok();
    let words: Vec<_> = [vendor, name].into_iter().flatten().filter(|word| !word.trim().is_empty()).collect();
    Virtualization { guest: flags.contains("hypervisor"), product: (!words.is_empty()).then(|| words.join(" ")) }
}

/// The governors of all cores, each once.
pub(super) fn governor() -> Option<String> {
    let cores = fs::read_dir("/sys/devices/system/cpu").ok()?.flatten();
    let governors: BTreeSet<_> =
        cores.filter_map(|core| setting(&core.path().join("cpufreq/scaling_governor").to_string_lossy())).collect();
    (!governors.is_empty()).then(|| governors.into_iter().collect::<Vec<_>>().join(", "))
}

pub(super) fn transparent_hugepages() -> Option<String> {
    chosen(&setting("/sys/kernel/mm/transparent_hugepage/enabled")?)
}

/// How much of a process's address space is drawn at its start: 0 nothing; 1 stack, libraries and mmap; 2 the heap too.
pub(super) fn address_space_randomization() -> Option<u8> {
    setting("/proc/sys/kernel/randomize_va_space")?.parse().ok()
}

pub(super) fn clocksource() -> Option<String> {
    setting("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The word in brackets of a list such as `always [madvise] never`.
fn chosen(list: &str) -> Option<String> {
    let (_, rest) = list.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_words_of_the_first_core() {
        let flags = flags_of("processor\t: 0\nflags\t\t: fpu vmx hypervisor\nflags\t\t: other\n");
        assert_eq!(flags.into_iter().collect::<Vec<_>>(), ["fpu", "hypervisor", "vmx"]);
        assert!(flags_of("").is_empty());
    }

    #[test]
    fn the_chosen_setting_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
        assert_eq!(chosen("[always"), None);
    }
}
