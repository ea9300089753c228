//! What every counter means, in one line: the one place from which terminal, report and documentation take it.
//!
//! A name may have one `*`, for what stands there in the counter's name.

mod emu;
mod kvm;
mod qemu;
pub mod quadrant;
mod vmm;

use crate::host::KvmBackend;

/// What a counter, or a family of them, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Who counts.
    pub source: &'static str,
    /// Its name, without `total.`; `*` stands for any text.
    pub name: &'static str,
    /// What it counts, in one line.
    pub text: &'static str,
    /// What is otherwise on the PVM backend of KVM; empty where nothing is.
    pub on_pvm: &'static str,
}

const fn entry(source: &'static str, name: &'static str, text: &'static str) -> Meaning {
    Meaning { source, name, text, on_pvm: "" }
}

/// All meanings, by source.
pub fn all() -> impl Iterator<Item = &'static Meaning> {
    [vmm::TABLE, quadrant::TABLE, kvm::TABLE, emu::TABLE, qemu::TABLE].into_iter().flatten()
}

/// The meaning of a counter, in the region of interest or in total; of several names that fit, the longest.
#[must_use]
pub fn of(source: &str, counter: &str) -> Option<&'static Meaning> {
    let counter = counter.strip_prefix("total.").unwrap_or(counter);
    all().filter(|m| m.source == source && fits(m.name, counter)).max_by_key(|m| m.name.len())
}

/// What a counter means where KVM has this backend, in one line. Empty where nobody knows.
#[must_use]
pub fn text(source: &str, counter: &str, backend: Option<KvmBackend>) -> String {
    let Some(meaning) = of(source, counter) else { return String::new() };
    match backend {
        Some(KvmBackend::Pvm) if !meaning.on_pvm.is_empty() => format!("{}; on PVM {}", meaning.text, meaning.on_pvm),
        _ => meaning.text.to_owned(),
    }
}

/// Whether a name is one that the pattern stands for.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.len() > head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
    }
}

/// The rows of the table in `docs/counters.md`.
#[must_use]
pub fn rows() -> Vec<String> {
    all().map(|m| format!("| `{}` | `{}` | {} | {} |", m.source, m.name, m.text, m.on_pvm)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meaning_is_a_line_and_no_name_is_there_twice() {
        let all: Vec<_> = all().collect();
        for (i, m) in all.iter().enumerate() {
            assert!(!m.text.is_empty() && !m.text.ends_with('.') && !m.text.contains(['\n', '|']), "{m:?}");
            assert!(!m.on_pvm.contains(['\n', '|']) && m.name.matches('*').count() <= 1, "{m:?}");
            assert!(all[..i].iter().all(|o| (o.source, o.name) != (m.source, m.name)), "{m:?}");
        }
    }

    #[test]
    fn the_most_exact_name_counts() {
        assert_eq!(of("vmm", "total.exit.io").map(|m| m.name), Some("exit.io"));
        assert_eq!(of("vmm", "exit.io.p99_ns").map(|m| m.name), Some("exit.*.p99_ns"));
        assert_eq!(of("vmm", "exit.io_ns").map(|m| m.name), Some("exit.*_ns"));
        assert_eq!(of("emu", "exception.pf").map(|m| m.name), Some("exception.*"));
        assert_eq!(of("emu", "exception."), None);
        assert_eq!((of("vmm", "nonsense"), text("vmm", "nonsense", None)), (None, String::new()));
    }

    #[test]
    fn a_backend_has_its_say() {
        let plain = text("kvm", "io_exits", Some(KvmBackend::VtX));
        let pvm = text("kvm", "io_exits", Some(KvmBackend::Pvm));
        assert!(pvm.starts_with(&plain) && pvm.contains("on PVM "), "{pvm}");
        assert_eq!(text("kvm", "io_exits", None), plain);
    }

    #[test]
    fn the_documentation_has_every_row() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/counters.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        let missing: Vec<_> = rows().into_iter().filter(|row| !page.contains(row.as_str())).collect();
        assert!(missing.is_empty(), "docs/counters.md lacks:\n{}", missing.join("\n"));
    }
}
