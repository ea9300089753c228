//! QEMU's command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

use super::Accelerator;

/// The environment variable that names another machine type than [`MACHINE`], to compare them.
pub(super) const MACHINE_ENV: &str = "EVLAB_QEMU_MACHINE";

/// The machine type that starts fastest; figures are in the parent module. `acpi=off` also selects the small firmware
/// (qboot) in the versions of QEMU that would otherwise start SeaBIOS.
const MACHINE: &str = "microvm,acpi=off";

/// Everything that a command line depends on.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) accelerator: Accelerator,
    /// The model of CPU, with its properties.
    pub(super) cpu: &'static str,
    pub(super) ram_mib: u32,
    pub(super) prefault: bool,
    pub(super) kernel: PathBuf,
    pub(super) program: PathBuf,
    pub(super) append: String,
    /// The writing ends of pipes that QEMU inherits.
    pub(super) markers: RawFd,
    pub(super) console: RawFd,
    /// A connected socket that QEMU inherits.
    pub(super) qmp: RawFd,
    /// Whether it filters its own system calls.
    pub(super) sandbox: bool,
}

/// QEMU's filter at its strictest.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The arguments of a run, without the program's name.
pub(super) fn arguments(options: &Options) -> Vec<String> {
    arguments_on(options, &std::env::var(MACHINE_ENV).unwrap_or_else(|_| MACHINE.to_owned()))
}

fn arguments_on(options: &Options, machine: &str) -> Vec<String> {
    let pipe = |id, fd: RawFd| format!("file,id={id},path=/proc/self/fd/{fd}");
    let mut args: Vec<String> = [
        // Nothing but what is asked for: no configuration of the user's, no default devices, no window.
        ["-no-user-config", "-nodefaults"].as_slice(),
        &["-display", "none"],
        // A triple fault ends QEMU instead of starting over.
        &["-no-reboot"],
        &["-M", machine],
        &["-accel", options.accelerator.name()],
        &["-cpu", options.cpu],
        &["-m", &format!("{}M", options.ram_mib)],
        &["-kernel", &options.kernel.to_string_lossy()],
        &["-initrd", &options.program.to_string_lossy()],
        &["-append", &options.append],
        &["-chardev", &pipe("markers", options.markers)],
        &["-device", "isa-debugcon,iobase=0xe9,chardev=markers"],
        &["-chardev", &pipe("console", options.console)],
        &["-serial", "chardev:console"],
        &["-device", "isa-debug-exit,iobase=0xf4,iosize=1"],
        &["-chardev", &format!("socket,id=qmp,fd={}", options.qmp)],
        &["-mon", "chardev=qmp,mode=control"],
    ]
    .into_iter()
    .flatten()
    .map(|&word| word.to_owned())
    .collect();
    if options.sandbox {
        args.extend(["-sandbox", SANDBOX].map(str::to_owned));
    }
    if options.prefault {
        args.push("-mem-prealloc".to_owned());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_line() {
        let options = Options {
            accelerator: Accelerator::Kvm,
            cpu: "host",
            ram_mib: 64,
            prefault: true,
            kernel: "/k".into(),
            program: "/p".into(),
            append: "procs=1 hold -- p 1".to_owned(),
            markers: 10,
            console: 11,
            qmp: 12,
            sandbox: true,
        };
        insta::assert_snapshot!(arguments_on(&options, MACHINE).join("\n"));
        let lazy = Options { prefault: false, sandbox: false, ..options };
        assert!(!arguments_on(&lazy, "q35").contains(&"-sandbox".to_owned()));
        assert!(!arguments_on(&lazy, "q35").contains(&"-mem-prealloc".to_owned()));
        assert!(arguments_on(&lazy, "q35").contains(&"q35".to_owned()));
    }
}
