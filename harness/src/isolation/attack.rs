//! The attacks: what each does, and how a run of it may end.

use std::borrow::Cow;

use super::outcome::End;
use crate::engines::{Job, Program};
use crate::model::{EngineId, RunRequest};

/// Guest RAM of every attack, MiB; the hostile kernel knows it.
const RAM_MIB: u32 = 64;
/// Time limit of attacks that end by themselves, seconds.
const AMPLE: u64 = 20;
/// Time limit of those that do not.
const BRIEF: u64 = 2;

/// One attack.
#[derive(Debug)]
pub struct Attack {
    /// Its name, as users type it.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    guest: Guest,
    /// Every way in which it may end when it is contained.
    ends: &'static [End],
    /// Further ways where KVM executes it: that of Linux's `kvm_pvm` emulates ring 0, and gives up or tries for ever where a
    /// processor would shut down.
    on_kvm: &'static [End],
    /// Seconds after which it is stopped.
    pub timeout_s: u64,
    /// The checksum that it must print.
    pub checksum: Option<&'static str>,
    /// Words that must stand on the console so many times: a report of the guest kernel for each thing that was tried.
    pub reports: Option<(&'static str, usize)>,
    /// Why it does not apply to a Linux process, if so.
    pub not_native: Option<&'static str>,
}

#[derive(Debug)]
enum Guest {
    /// A program in ring 3 of the guest kernel: image, processes, arguments.
    Program(&'static str, u32, &'static [&'static str]),
    /// A kernel of its own; the letter says what it does.
    Kernel(&'static str),
}

const RING_0: Option<&str> = Some("a Linux process has no ring 0");
const GUEST_KERNEL: Option<&str> = Some("its parts are processes of the guest kernel");

/// Killed as by SIGSEGV.
const KILLED: &[End] = &[End::Exit(139)];
const LIVED: &[End] = &[End::Exit(0)];
const TIMEOUT: &[End] = &[End::Timeout];
/// A processor that cannot go on shuts down.
const DEAD: &[End] = &[End::TripleFault];
const GIVEN_UP: &[End] = &[End::KvmGaveUp];

const PROGRAM: Attack = Attack {
    name: "",
    summary: "",
    guest: Guest::Kernel(""),
    ends: KILLED,
    on_kvm: &[],
    timeout_s: AMPLE,
    checksum: None,
    reports: None,
    not_native: None,
};
const KERNEL: Attack = Attack { ends: LIVED, on_kvm: GIVEN_UP, not_native: RING_0, ..PROGRAM };

static ATTACKS: [Attack; 23] = [
    Attack {
        name: "kernel-read",
        summary: "ring 3 reads the kernel, at its address and in its map of all RAM",
        guest: Guest::Program("trespass", 2, &["0"]),
        reports: Some(("#PF at rip=", 2)),
        ..PROGRAM
    },
    Attack {
        name: "kernel-write",
        summary: "ring 3 writes over the kernel's code",
        guest: Guest::Program("trespass", 2, &["1"]),
        reports: Some(("#PF at rip=", 2)),
        ..PROGRAM
    },
    Attack {
        name: "kernel-jump",
        summary: "ring 3 jumps into the kernel",
        guest: Guest::Program("trespass", 2, &["2"]),
        reports: Some(("#PF at rip=", 2)),
        ..PROGRAM
    },
    Attack {
        name: "kernel-deputy",
        summary: "ring 3 hands the kernel's addresses to 16 system calls",
        guest: Guest::Program("deputy", 1, &[]),
        ends: LIVED,
        checksum: Some("0000000000000010"),
        not_native: Some("it tests the guest kernel's system calls"),
        ..PROGRAM
    },
    Attack {
        name: "other-process",
        summary: "one process reads and writes the memory of another",
        guest: Guest::Program("spy", 2, &[]),
        reports: Some(("process 2: #PF at rip=", 1)),
        checksum: Some("402b629d2f518925"),
        not_native: GUEST_KERNEL,
        ..PROGRAM
    },
    Attack {
        name: "privileged-1",
        summary: "ring 3 executes hlt, cli, mov cr0, mov cr3, wrmsr, lgdt, lidt, invlpg",
        guest: Guest::Program("privileged", 8, &["0"]),
        reports: Some(("#GP at rip=", 8)),
        not_native: GUEST_KERNEL,
        ..PROGRAM
    },
    Attack {
        name: "privileged-2",
        summary: "ring 3 executes swapgs, sysret, iret to ring 0, mov dr7, ltr, clts, rdmsr, wbinvd",
        guest: Guest::Program("privileged", 8, &["8"]),
        reports: Some(("#GP at rip=", 8)),
        not_native: GUEST_KERNEL,
        ..PROGRAM
    },
    Attack {
        name: "ring3-ports",
        summary: "ring 3 writes to the exit port, the marker channel, the console and others",
        guest: Guest::Program("ports", 8, &[]),
        reports: Some(("#GP at rip=", 8)),
        not_native: GUEST_KERNEL,
        ..PROGRAM
    },
    Attack {
        name: "ring3-stack",
        summary: "ring 3 recurses until its stack is used up",
        guest: Guest::Program("recurse", 1, &[]),
        ..PROGRAM
    },
    Attack {
        name: "self-modifying",
        summary: "code changes itself across a page boundary 2001 times",
        guest: Guest::Program("selfmod", 1, &[]),
        ends: LIVED,
        checksum: Some("492c5edd486af48d"),
        ..PROGRAM
    },
    Attack {
        name: "console-flood",
        summary: "ring 3 prints without end",
        guest: Guest::Program("flood", 1, &[]),
        ends: TIMEOUT,
        timeout_s: BRIEF,
        ..PROGRAM
    },
    Attack {
        name: "wild-physical",
        summary: "ring 0 writes to physical addresses outside RAM, and strings over its end",
        guest: Guest::Kernel("a"),
        ..KERNEL
    },
    Attack {
        name: "wild-tables",
        summary: "page-table entries of each level lead outside RAM",
        guest: Guest::Kernel("b"),
        ..KERNEL
    },
    Attack { name: "wild-root", summary: "CR3 points outside RAM", guest: Guest::Kernel("c"), ends: DEAD, ..KERNEL },
    Attack {
        name: "own-tables",
        summary: "ring 0 rewrites its own page tables: aliases, pages outside, read-only, recursive",
        guest: Guest::Kernel("d"),
        ..KERNEL
    },
    Attack {
        name: "every-port",
        summary: "all 65536 ports are read and written, then wide and with strings",
        guest: Guest::Kernel("e"),
        ..KERNEL
    },
    Attack {
        name: "triple-fault",
        summary: "an exception without any handler",
        guest: Guest::Kernel("f"),
        ends: DEAD,
        ..KERNEL
    },
    Attack {
        name: "interrupt-storm",
        summary: "the timer at its fastest, and an exception whose handler returns to it",
        guest: Guest::Kernel("g"),
        ends: TIMEOUT,
        timeout_s: BRIEF,
        ..KERNEL
    },
    Attack {
        name: "serial-flood",
        summary: "ring 0 fills the serial port without end",
        guest: Guest::Kernel("h"),
        ends: TIMEOUT,
        timeout_s: BRIEF,
        ..KERNEL
    },
    Attack {
        name: "endless-loop",
        summary: "a loop without end, interrupts off",
        guest: Guest::Kernel("i"),
        ends: TIMEOUT,
        timeout_s: BRIEF,
        ..KERNEL
    },
    Attack {
        name: "kernel-stack",
        summary: "ring 0 uses up its stack, so that no exception can be delivered",
        guest: Guest::Kernel("j"),
        ends: DEAD,
        ..KERNEL
    },
    Attack {
        name: "wild-descriptors",
        summary: "descriptor tables outside RAM",
        guest: Guest::Kernel("k"),
        ends: DEAD,
        on_kvm: &[End::KvmGaveUp, End::Timeout],
        timeout_s: 5,
        ..KERNEL
    },
    Attack {
        name: "wild-msrs",
        summary: "172 model-specific registers get an address outside RAM",
        guest: Guest::Kernel("l"),
        ends: &[End::Exit(0), End::TripleFault],
        ..KERNEL
    },
];

/// Every attack, ring 3 first.
#[must_use]
pub fn attacks() -> &'static [Attack] {
    &ATTACKS
}

impl Attack {
    /// Every way in which it may end on an engine when it is contained.
    #[must_use]
    pub fn ends_on(&self, engine: EngineId) -> Vec<End> {
        let kvm = matches!(engine, EngineId::Kvm | EngineId::QemuKvm);
        self.ends.iter().chain(self.on_kvm.iter().filter(|_| kvm)).copied().collect()
    }

    /// Why it does not apply to an engine, if so.
    #[must_use]
    pub fn not_on(&self, engine: EngineId) -> Option<&'static str> {
        self.not_native.filter(|_| engine == EngineId::Native)
    }

    /// The run that makes it.
    #[must_use]
    pub fn job(&self, engine: EngineId) -> Job<'static> {
        let (program, args, kernel) = match self.guest {
            Guest::Program(image, processes, args) => {
                let elf = Cow::Borrowed(workloads::attack(image).unwrap_or_default());
                let native = self.not_native.is_none();
                (Program { name: image.to_owned(), elf, processes, native }, args, workloads::kernel())
            }
            Guest::Kernel(ref letter) => {
                // It starts no program, but a machine has one.
                let elf = Cow::Borrowed(workloads::find("noop").map_or(&[][..], |noop| noop.elf));
                let program = Program { name: "hostile".to_owned(), elf, processes: 1, native: false };
                (program, std::slice::from_ref(letter), workloads::hostile_kernel())
            }
        };
        let request = RunRequest {
            workload: self.name.to_owned(),
            args: args.iter().map(|&word| word.to_owned()).collect(),
            engine: engine.into(),
            ram_mib: RAM_MIB,
            timeout_s: self.timeout_s,
            prefault: false,
            cpu: emu_min::Model::default(),
            hz: 0,
            deterministic: false,
            profile: None,
            placement: None,
            confine: crate::model::Confine { fenced: true, ..Default::default() },
        };
        Job { request, program, kernel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_its_guest_and_a_name_of_its_own() {
        for (i, attack) in attacks().iter().enumerate() {
            let job = attack.job(EngineId::EmuInterp);
            job.check(EngineId::EmuInterp).unwrap_or_else(|e| panic!("{}: {e}", attack.name));
            assert!(!attack.ends_on(EngineId::EmuDbt).is_empty() && !attack.summary.is_empty(), "{}", attack.name);
            assert!(attacks()[..i].iter().all(|other| other.name != attack.name), "{}", attack.name);
        }
    }
}
