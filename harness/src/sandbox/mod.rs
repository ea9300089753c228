//! The sandbox of the process that runs a guest: just before the guest's first instruction it gives up what it does not
//! need, for good.
//!
//! A guest that broke out of an engine would find itself in a process that can make no system call but the few of
//! [`rules`](rules::rules) (seccomp), open no file and no connection (Landlock, where the kernel has it), and gain no
//! right by executing a program (no_new_privs). A forbidden call ends the process with a sentence that names it.

mod report;
mod rest;
mod rules;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, RestrictSelfAttr, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter_all_threads};
use syscalls::Sysno;

use crate::model::SandboxChoice;

pub use rules::{Runner, list};

/// The newest Landlock that this program asks for; the kernel enforces what it knows of it.
const LANDLOCK: ABI = ABI::V6;

/// Why the sandbox could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter cannot be made.
    #[error("cannot make the seccomp filter: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refuses the filter.
    #[error("this kernel refuses the seccomp filter: {0}; --no-sandbox runs the guest without it")]
    Seccomp(seccompiler::Error),
    /// The kernel has Landlock but refuses the rules.
    #[error("this kernel refuses the Landlock rules: {0}; --no-sandbox runs the guest without them")]
    Landlock(#[from] landlock::RulesetError),
    /// The filter's report of forbidden calls cannot be installed.
    #[error("cannot prepare to report forbidden system calls: {0}")]
    Report(std::io::Error),
    /// A thread was not ready for the filter.
    #[error("cannot see that the other threads of this process are at rest: {0}")]
    Threads(std::io::Error),
    /// A test names a rule or a call that there is not.
    #[error("the sandbox knows no '{0}'")]
    Unknown(String),
}

/// Enters the sandbox. Returns what is in force.
///
/// # Errors
/// A [`SandboxError`]; the process must then not run the guest.
pub fn enter(runner: Runner, choice: &SandboxChoice) -> Result<String, SandboxError> {
    let mut rules = rules::rules(runner);
    if let Some(name) = &choice.without {
        let count = rules.len();
        rules.retain(|rule| rule.name != name);
        if rules.len() == count {
            return Err(SandboxError::Unknown(name.clone()));
        }
    }
    let call: Option<Sysno> = match &choice.call {
        Some(name) => Some(name.parse().map_err(|()| SandboxError::Unknown(name.clone()))?),
        None => None,
    };
    let count = rules.len();
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules::by_call(&rules)?, SeccompAction::Trap, SeccompAction::Allow, target)?;
    let filter = BpfProgram::try_from(filter)?;
    report::install().map_err(SandboxError::Report)?;
    rest::wait().map_err(SandboxError::Threads)?;
    let landlock = restrict_files()?;
    apply_filter_all_threads(&filter).map_err(SandboxError::Seccomp)?;
    if let Some(call) = call {
        // SAFETY: all arguments are zero. Either the filter ends the process, or the call reaches no memory: zero is no
        // valid pointer, and as a length, a descriptor or an address that the rules admit it changes nothing of ours.
        unsafe { libc::syscall(i64::from(call.id()), 0, 0, 0, 0, 0, 0) };
    }
    Ok(format!("seccomp with {count} rules, {landlock}, no_new_privs"))
}

/// Takes away files, connections, and signals to other processes, as far as the kernel can.
fn restrict_files() -> Result<String, SandboxError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .all_threads(true)?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => "no Landlock in this kernel".to_owned(),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
            format!("Landlock{}", abi(&status.landlock).map_or_else(String::new, |abi| format!(" ABI {abi}")))
        }
    })
}

/// The number of the ABI that the kernel has.
fn abi(status: &LandlockStatus) -> Option<i32> {
    match status {
        LandlockStatus::Available { effective_abi, kernel_abi } => Some(kernel_abi.unwrap_or(*effective_abi as i32)),
        _ => None,
    }
}

/// What of the sandbox this host has, in a line.
#[must_use]
pub fn support() -> String {
    let action = libc::SECCOMP_RET_TRAP;
    // SAFETY: the call reads one word, which lives on this stack.
    let seccomp =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) } == 0;
    // SAFETY: asked for its version, the call takes no attributes.
    let landlock = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    let seccomp = if seccomp { "seccomp" } else { "no seccomp, so guests need --no-sandbox" };
    match landlock {
        1.. => format!("{seccomp}, Landlock ABI {landlock}"),
        _ => format!("{seccomp}, no Landlock in this kernel (Linux 5.13 has it, if it is enabled)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_rules_have_names_of_their_own() {
        for runner in [Runner::Kvm, Runner::Emulator, Runner::DebuggedKvm, Runner::DebuggedEmulator] {
            let rules = rules::rules(runner);
            for (i, rule) in rules.iter().enumerate() {
                assert!(rules[..i].iter().all(|other| other.name != rule.name), "{}", rule.name);
                assert!(!rule.why.is_empty(), "{}", rule.name);
            }
            let by_call = rules::by_call(&rules).expect("the rules are sound");
            let filter = SeccompFilter::new(by_call, SeccompAction::Trap, SeccompAction::Allow, TargetArch::x86_64)
                .expect("sound");
            assert!(BpfProgram::try_from(filter).is_ok());
        }
    }

    #[test]
    fn the_host_is_described() {
        assert!(support().contains("seccomp"), "{}", support());
    }
}
