//! Several engines, each in a process of its own, since a process that has run a guest can open nothing more.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use super::{Picture, Report};
use crate::cli::WalkArgs;
use crate::model::{EngineId, Setup};
use crate::studio::die_with;

/// Why an engine has no picture.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Its process could not be started.
    #[error("cannot start evlab again for engine {engine}: {source}")]
    Start {
        /// The engine.
        engine: EngineId,
        /// The system's answer.
        source: io::Error,
    },
    /// It said why.
    #[error("{0}")]
    Said(String),
    /// It ended without a picture.
    #[error("the process for engine {engine} ended without a picture ({status})")]
    Silent {
        /// The engine.
        engine: EngineId,
        /// How it ended.
        status: std::process::ExitStatus,
    },
}

/// The picture of one engine, made by this very program in a process of its own.
///
/// # Errors
/// The process could not be started, or made no picture.
pub fn in_children(args: &WalkArgs, setup: Setup) -> Result<Picture, ChildError> {
    let engine = setup.id;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("evlab").args(arguments(args, setup)).stdin(Stdio::null());
    let parent = std::process::id();
    // SAFETY: between fork and exec only `prctl` and `getppid` are called, which are async-signal-safe.
    unsafe { command.pre_exec(move || die_with(parent)) };
    let output = command.output().map_err(|source| ChildError::Start { engine, source })?;
    if let Ok(report) = serde_json::from_slice::<Report>(&output.stdout)
        && let Some(picture) = report.engines.into_iter().next()
    {
        return Ok(picture);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => Err(ChildError::Said(line.strip_prefix("evlab: ").unwrap_or(line).to_owned())),
        None => Err(ChildError::Silent { engine, status: output.status }),
    }
}

/// The command line for one engine.
fn arguments(args: &WalkArgs, setup: Setup) -> Vec<OsString> {
    let machine = &args.machine;
    let at = args.at.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let mut words: Vec<String> = ["walk", "--json", "--engine", setup.id.name(), "--at", &at].map(str::to_owned).into();
    words.extend(["--size".to_owned(), machine.size.to_string()]);
    words.extend(["--ram".to_owned(), machine.ram.to_string(), "--timeout".to_owned(), machine.timeout.to_string()]);
    if let Some(hz) = machine.hz {
        words.extend(["--hz".to_owned(), hz.to_string()]);
    }
    if setup.id.has_emulated_cpu() {
        if machine.deterministic {
            words.push("--deterministic".to_owned());
        }
        if let Some(model) = machine.cpu.cpu {
            words.extend(["--cpu".to_owned(), model.name().to_owned()]);
        }
        if !setup.is_plain() {
            words.extend(["--emu".to_owned(), setup.choices()]);
        }
    }
    if machine.sandbox.no_sandbox {
        words.push("--no-sandbox".to_owned());
    }
    words.extend([args.workload.clone(), format!("{:#x}", args.address)]);
    if !args.args.is_empty() {
        words.push("--".to_owned());
        words.extend(args.args.iter().cloned());
    }
    words.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &[&str]) -> WalkArgs {
        let Command::Walk(args) = Cli::try_parse_from(line).expect("a command line").command else {
            panic!("another command")
        };
        args
    }

    #[test]
    fn a_child_is_asked_for_the_same() {
        let line = "evlab walk sieve 0x1000 --engine emu-interp,kvm --at first --size 0.5 --ram 64 --timeout 5 --hz 100 \
                    --deterministic --cpu v1 --emu link=off --no-sandbox -- 100";
        let args = parsed(&line.split_whitespace().collect::<Vec<_>>());
        let setup = Setup::new(EngineId::EmuInterp, "link=off").expect("it exists");
        let words = |setup| -> Vec<String> {
            arguments(&args, setup).into_iter().map(|word| word.into_string().expect("text")).collect()
        };
        let child = words(setup);
        let again: Vec<&str> = std::iter::once("evlab").chain(child.iter().map(String::as_str)).collect();
        let again = parsed(&again);
        assert_eq!((again.address, again.at, again.args.clone()), (0x1000, args.at, args.args.clone()));
        assert_eq!((again.engine, again.workload), (vec!["emu-interp".to_owned()], args.workload.clone()));
        assert_eq!((again.machine.size, again.machine.ram, again.machine.timeout), (0.5, 64, 5));
        assert_eq!((again.machine.hz, again.machine.deterministic), (Some(100), true));
        assert_eq!((again.machine.cpu, again.machine.emu), (args.machine.cpu, args.machine.emu.clone()));
        assert!(again.machine.sandbox.no_sandbox && again.json);
        let kvm = words(Setup::plain(EngineId::Kvm));
        assert!(!kvm.iter().any(|word| ["--cpu", "--emu", "--deterministic"].contains(&word.as_str())), "{kvm:?}");
    }
}
