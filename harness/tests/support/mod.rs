//! What the integration tests share: the binary, the engines of this host, and the processes below one.

use std::path::Path;
use std::process::Command;

/// The binary under test.
pub(crate) fn evlab() -> Command {
    Command::new(env!("CARGO_BIN_EXE_evlab"))
}

/// The engines that this host has. Says which it skips; with `EVLAB_REQUIRE_ENGINES` set, as in CI, it skips none.
pub(crate) fn engines() -> impl Iterator<Item = &'static str> {
    let require = std::env::var_os("EVLAB_REQUIRE_ENGINES").is_some();
    let kvm = Path::new("/dev/kvm").exists();
    let qemu = Command::new("qemu-system-x86_64").arg("--version").output().is_ok_and(|o| o.status.success());
    ["native", "kvm", "emu-naive", "emu-interp", "emu-dbt", "qemu-tcg", "qemu-kvm"].into_iter().filter(move |engine| {
        let missing = match (engine.contains("kvm") && !kvm, engine.contains("qemu") && !qemu) {
            (true, _) => "there is no /dev/kvm",
            (_, true) => "there is no qemu-system-x86_64",
            _ => return true,
        };
        if !require {
            eprintln!("skipped on {engine}: {missing}");
        }
        require
    })
}
