//! Getting QEMU through the host's package manager, where it may be used.

use std::io;
use std::path::Path;

use crate::engines::{qemu_is_named, qemu_path};

/// The package that holds `qemu-system-x86_64` on Debian and its descendants.
const PACKAGE: &str = "qemu-system-x86";
const APT: &str = "/usr/bin/apt-get";

/// What an installation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// It was there before, at this path.
    Already(String),
    /// It is there now, at this path.
    Now(String),
}

/// Why QEMU was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The user named a QEMU that is not there, and would go on using that one.
    #[error("QEMU was not installed: {0}")]
    Named(String),
    /// The host is no Debian.
    #[error(
        "QEMU was not installed: {system} has no apt-get; use its own package manager, such as 'dnf install \
         qemu-system-x86-core' or 'pacman -S qemu-system-x86'"
    )]
    NoApt {
        /// The distribution.
        system: String,
    },
    /// The user may not install packages.
    #[error(
        "QEMU was not installed: this user is not root and sudo wants a password; run 'sudo apt-get install {PACKAGE}'"
    )]
    NotPermitted,
    /// The package manager could not be started.
    #[error("QEMU was not installed: cannot start {command}: {source}")]
    Start {
        /// What was to be started.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The package manager failed.
    #[error("QEMU was not installed: '{command}' ended with {status}; its output is above")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
    },
    /// The package is there and the program is not found.
    #[error("QEMU was installed, but {0}")]
    StillMissing(String),
}

/// Installs QEMU unless it is there. What apt-get prints appears on standard error as it comes.
///
/// # Errors
/// An [`InstallError`] that says what to do by hand.
pub fn install_qemu() -> Result<Installed, InstallError> {
    match qemu_path() {
        Ok(path) => return Ok(Installed::Already(path.display().to_string())),
        Err(why) if qemu_is_named() => return Err(InstallError::Named(why)),
        Err(_) => (),
    }
    let host = Host {
        apt: Path::new(APT).exists(),
        // SAFETY: the call has no arguments and cannot fail.
        root: unsafe { libc::geteuid() } == 0,
        sudo: || succeeds(&["sudo", "-n", "true"]),
    };
    let prefix = host.prefix()?;
    let apt = |words: &[&str]| {
        let command = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", APT], words].concat();
        run(&command)
    };
    // Package lists may be stale or absent; where they cannot be fetched, those there are may still do.
    if let Err(error) = apt(&["update"]) {
        eprintln!("evlab: the package lists were not updated ({error}); going on with those there are");
    }
    apt(&["install", "--yes", "--no-install-recommends", PACKAGE])?;
    match qemu_path() {
        Ok(path) => Ok(Installed::Now(path.display().to_string())),
        Err(why) => Err(InstallError::StillMissing(why)),
    }
}

/// What decides how packages can be installed.
struct Host<F> {
    apt: bool,
    root: bool,
    /// Whether sudo works without a password; asked only if it matters.
    sudo: F,
}

impl<F: FnOnce() -> bool> Host<F> {
    /// What goes before a command that needs root.
    fn prefix(self) -> Result<&'static [&'static str], InstallError> {
        if !self.apt {
            let system = sysinfo::System::name().unwrap_or_else(|_| "this host".to_owned());
            return Err(InstallError::NoApt { system });
        }
        if self.root {
            return Ok(&[]);
        }
        if (self.sudo)() { Ok(&["sudo", "-n"]) } else { Err(InstallError::NotPermitted) }
    }
}

fn succeeds(command: &[&str]) -> bool {
    let quiet = duct::cmd(command[0], &command[1..]).stdin_null().stdout_null().stderr_null();
    quiet.unchecked().run().is_ok_and(|output| output.status.success())
}

/// Runs a command whose output the user sees on standard error, since standard output may be somebody's JSON.
///
/// Other than an engine's child, it is not killed with this process: a package manager must not die half-way.
fn run(command: &[&str]) -> Result<(), InstallError> {
    let line = command.join(" ");
    eprintln!("+ {line}");
    let loud = duct::cmd(command[0], &command[1..]).stdin_null().stdout_to_stderr();
    match loud.unchecked().run() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(InstallError::Failed { command: line, status: output.status.to_string() }),
        Err(source) => Err(InstallError::Start { command: line, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_no_sudo_and_others_need_it_without_a_password() {
        let prefix = |apt, root, sudo: bool| Host { apt, root, sudo: move || sudo }.prefix();
        assert!(prefix(true, true, false).is_ok_and(<[_]>::is_empty));
        assert!(prefix(true, false, true).is_ok_and(|words| words == ["sudo", "-n"]));
        assert!(matches!(prefix(true, false, false), Err(InstallError::NotPermitted)));
        assert!(matches!(prefix(false, true, true), Err(InstallError::NoApt { .. })));
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let failed = run(&["sh", "-c", "exit 3"]).expect_err("it fails").to_string();
        assert!(failed.contains("'sh -c exit 3' ended with exit status: 3"), "{failed}");
        let absent = run(&["/nonexistent/apt-get"]).expect_err("there is none").to_string();
        assert!(absent.contains("cannot start /nonexistent/apt-get"), "{absent}");
        assert!(run(&["true"]).is_ok());
    }
}
