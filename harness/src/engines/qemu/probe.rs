//! Which QEMU there is and what it can do.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::engines::child::Child;
use crate::engines::console::Console;
use crate::engines::tap::Tap;

/// The environment variable that names another QEMU than the one in `PATH`.
pub(super) const QEMU_ENV: &str = "EVLAB_QEMU";

/// The program's name.
const NAME: &str = "qemu-system-x86_64";

/// Longest time that QEMU may take to print a list.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no QEMU, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoQemu {
    pub(super) reason: String,
    pub(super) fix: String,
}

/// What a QEMU says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Such as `7.2.22`, with the distribution's addition.
    pub(super) version: String,
    accelerators: String,
    machines: String,
    /// Whether it was built with seccomp.
    pub(super) sandbox: bool,
}

impl Facts {
    /// Whether it was built with this accelerator.
    pub(super) fn has_accelerator(&self, name: &str) -> bool {
        self.accelerators.lines().any(|line| line.trim() == name)
    }

    /// Whether it was built with this machine type.
    pub(super) fn has_machine(&self, name: &str) -> bool {
        self.machines.lines().any(|line| line.split_whitespace().next() == Some(name))
    }
}

/// Finds QEMU's program.
pub(super) fn locate() -> Result<PathBuf, NoQemu> {
    find(std::env::var_os(QEMU_ENV), std::env::var_os("PATH"))
}

fn find(named: Option<OsString>, path: Option<OsString>) -> Result<PathBuf, NoQemu> {
    if let Some(named) = named.filter(|name| !name.is_empty()) {
        let program = PathBuf::from(named);
        if program.is_file() {
            return Ok(program);
        }
        return Err(NoQemu {
            reason: format!("{QEMU_ENV} names {}, which is not there", program.display()),
            fix: format!("correct or unset {QEMU_ENV}"),
        });
    }
    std::env::split_paths(&path.unwrap_or_default())
        .map(|folder| folder.join(NAME))
        .find(|program| program.is_file())
        .ok_or_else(|| NoQemu {
            reason: format!("{NAME} is not installed"),
            fix: "run 'apt-get install qemu-system-x86' as root, or 'evlab doctor --install'".to_owned(),
        })
}

/// Asks QEMU; its first good answer stands for this process.
pub(super) fn facts() -> Result<Facts, NoQemu> {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    if let Some(facts) = FACTS.get() {
        return Ok(facts.clone());
    }
    let facts = ask(&locate()?)?;
    Ok(FACTS.get_or_init(|| facts).clone())
}

fn ask(program: &Path) -> Result<Facts, NoQemu> {
    let ask = |args: &[&str]| {
        output(program, args).map_err(|error| NoQemu {
            reason: format!("{} does not work: {error}", program.display()),
            fix: "install it again".to_owned(),
        })
    };
    let banner = ask(&["--version"])?;
    let Some(version) = version_of(&banner) else {
        return Err(NoQemu {
            reason: format!("{} is no QEMU: its version is {:?}", program.display(), first_line(&banner)),
            fix: format!("let {QEMU_ENV} name a {NAME}"),
        });
    };
    Ok(Facts {
        version,
        accelerators: ask(&["-accel", "help"])?,
        machines: ask(&["-M", "help"])?,
        sandbox: ask(&["-help"])?.lines().any(|line| line.starts_with("-sandbox on")),
    })
}

/// `QEMU emulator version 7.2.22 (Debian ...)` without the words.
fn version_of(banner: &str) -> Option<String> {
    first_line(banner).strip_prefix("QEMU emulator version ").map(|version| version.trim().to_owned())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What a program prints, if it ends well and in time.
fn output(program: &Path, args: &[&str]) -> io::Result<String> {
    let (reader, writer) = io::pipe()?;
    let tap = Tap::<Console>::open("probe", reader)?;
    let command = duct::cmd(program, args).stdin_null().stderr_to_stdout().stdout_file(writer);
    let child = Child::start(&command, Vec::new())?;
    drop(command);
    let status = child.wait(PATIENCE)?;
    drop(child);
    let text = tap.finish().finish().text;
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(io::Error::other(format!("{status}: {}", text.lines().last().unwrap_or_default()))),
        None => Err(io::Error::other("it does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_that_is_named_must_exist() {
        let named = find(Some("/nonexistent/qemu".into()), None).expect_err("it does not exist");
        assert!(named.reason.contains("EVLAB_QEMU names /nonexistent/qemu"), "{named:?}");
        let none = find(None, Some("/nonexistent:/also/not".into())).expect_err("no folder holds it");
        assert!(none.fix.contains("apt-get install qemu-system-x86"), "{none:?}");
        assert_eq!(find(Some("/bin/sh".into()), None), Ok("/bin/sh".into()));
    }

    #[test]
    fn a_program_that_is_no_qemu_is_told_apart() {
        let echo = ask(Path::new("/bin/echo")).expect_err("echo is no QEMU");
        assert!(echo.reason.contains("is no QEMU"), "{echo:?}");
        let fails = ask(Path::new("/bin/false")).expect_err("false fails");
        assert!(fails.reason.contains("does not work"), "{fails:?}");
    }

    #[test]
    fn lists_are_read_by_word() {
        let facts = Facts {
            version: version_of("QEMU emulator version 7.2.22 (Debian 1:7.2)\nCopyright").expect("it is QEMU's banner"),
            accelerators: "Accelerators supported in QEMU binary:\ntcg\nkvm\n".to_owned(),
            machines: "Supported machines are:\nmicrovm              microvm (i386)\npc  PC (alias)\n".to_owned(),
            sandbox: true,
        };
        assert_eq!(facts.version, "7.2.22 (Debian 1:7.2)");
        assert!(facts.has_accelerator("kvm") && !facts.has_accelerator("xen"));
        assert!(facts.has_machine("microvm") && !facts.has_machine("micro"));
    }
}
