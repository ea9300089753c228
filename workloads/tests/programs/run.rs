//! Runs programs of the catalogue as Linux processes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use workloads::catalogue;

/// The folder with an executable of every program. All are written before the first is started: a file that is still open
/// for writing in a process that another thread just forked cannot be executed.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    fs::create_dir_all(&folder).expect("the folder for the programs");
    for workload in catalogue() {
        let path = folder.join(workload.name);
        fs::write(&path, workload.elf).expect("a program as a file");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("an executable file");
    }
    folder
});

/// Writes the executables now, where a test is about to start something else.
pub(crate) fn install() {
    LazyLock::force(&FOLDER);
}

/// A run that ended well.
pub(crate) struct Run {
    /// What stands behind `result`.
    pub(crate) checksum: u64,
    /// What stands behind `ticks`.
    pub(crate) ticks: u64,
}

/// Starts a program with descriptor 3 as the shell's `redirection` says.
pub(crate) fn start(name: &str, args: &[String], redirection: &str) -> Output {
    shell(&format!("exec \"$0\" \"$@\" {redirection}"), name, args)
}

/// Starts a program that may map no more than 64 MiB.
pub(crate) fn start_limited(name: &str, args: &[String]) -> Output {
    shell("ulimit -v 65536; exec \"$0\" \"$@\"", name, args)
}

fn shell(script: &str, name: &str, args: &[String]) -> Output {
    Command::new("sh").arg("-c").arg(script).arg(FOLDER.join(name)).args(args).output().expect("sh")
}

/// Runs a program and checks everything but the checksum: exit code, markers, the two lines.
pub(crate) fn run(name: &str, args: &[String]) -> Run {
    // Descriptors 2 and 3 are one pipe: what arrives there shows the markers, and that no message came with them.
    let output = start(name, args, "3>&2");
    let markers = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name} {args:?}: {markers}");
    assert_eq!(markers, "BE", "markers of {name} {args:?}");
    parse(&output).unwrap_or_else(|| panic!("{name} {args:?} printed {:?}", String::from_utf8_lossy(&output.stdout)))
}

/// The two lines of a program, if they are just these.
pub(crate) fn parse(output: &Output) -> Option<Run> {
    let text = str::from_utf8(&output.stdout).ok()?;
    let (result, ticks) = text.strip_suffix('\n')?.split_once('\n')?;
    let digits = result.strip_prefix("result ")?;
    let checksum = u64::from_str_radix(digits, 16).ok()?;
    if format!("{checksum:016x}") != digits {
        return None;
    }
    Some(Run { checksum, ticks: ticks.strip_prefix("ticks ")?.parse().ok()? })
}
