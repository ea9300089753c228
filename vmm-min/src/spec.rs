//! What to put into a machine.

use std::borrow::Cow;

use emu_min::{Mechanisms, Model as CpuModel, Observer};

/// Guest RAM when nobody asks for another size, MiB (contract, "The machine").
pub const DEFAULT_RAM_MIB: u32 = 256;
/// Most guest RAM, MiB (contract, "The machine"): above it lies the space that devices use on a PC.
pub const MAX_RAM_MIB: u32 = 3072;
/// Most modules of one machine.
pub const MAX_MODULES: usize = 64;
/// Farthest that modules may be moved up, pages: 16 MiB.
pub const MAX_MODULE_OFFSET_PAGES: u32 = 4096;

/// A guest: its kernel, its modules, its options and its memory.
#[derive(Debug, Clone)]
pub struct GuestSpec<'a> {
    /// The kernel, an ELF64 with a PVH note.
    pub kernel: Cow<'a, [u8]>,
    /// What the kernel finds beside it: programs.
    pub modules: Vec<Module<'a>>,
    /// How many pages above the first free one behind the kernel the first module lies.
    pub module_offset_pages: u32,
    /// The kernel command line: `[option ...] [-- argv0 arg1 ...]`.
    pub cmdline: String,
    /// Guest RAM, MiB.
    pub ram_mib: u32,
    /// Back all guest RAM with host memory before the region of interest begins.
    pub prefault: bool,
    /// What the guest is told about the frequency of its time-stamp counter.
    pub tsc_khz: TscKhz,
    /// The model of the CPU, if it is emu-min's.
    pub cpu_model: CpuModel,
    /// The mechanisms of the CPU, if it is emu-min's; `None` for those that its kind has.
    pub mechanisms: Option<Mechanisms>,
    /// Let time pass in the guest with its instructions alone, if its CPU is emu-min's: every run, on every host, is the same
    /// to it.
    pub deterministic: bool,
    /// Nanoseconds that an instruction takes in such a guest, 1 to 1000 (more is 1000): how often the timer interrupts it
    /// depends on that.
    pub instruction_ns: u32,
    /// Makes somebody who looks on at every instruction, if the CPU is emu-min's; its counts are of the source `profile`.
    pub observer: Option<fn() -> Box<dyn Observer>>,
    /// Make a CPU that can be stepped ([`Scene::set_stepping`](crate::Scene::set_stepping)), if it is emu-min's.
    pub stepped: bool,
    /// Put canaries around RAM, and say in the outcome what became of them.
    pub fenced: bool,
    /// A bug to plant into the CPU, if it is emu-min's, to see whether it is noticed.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub bug: Option<Bug>,
    /// A regression to plant into the CPU, if it is emu-min's, to see whether a gate notices it.
    #[cfg(any(debug_assertions, feature = "planted"))]
    #[doc(hidden)]
    pub regression: Option<Regression>,
}

/// Something that a gate should notice.
#[cfg(any(debug_assertions, feature = "planted"))]
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Regression {
    /// The CPU takes longer by this part of the time.
    Slower(f64),
    /// The CPU leaves the guest once more than it has to.
    Exit,
}

/// A check that an emulated CPU leaves out, in builds with debug assertions alone.
#[cfg(debug_assertions)]
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Ring 3 may use supervisor pages.
    SupervisorCheck,
    /// Stores may reach the canary above RAM; with RAM that is not fenced this bug is not planted.
    BoundsCheck,
}

impl<'a> GuestSpec<'a> {
    /// A guest of `kernel` alone, with default RAM, prefaulting and the engine's own TSC frequency.
    pub fn new(kernel: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            kernel: kernel.into(),
            modules: Vec::new(),
            module_offset_pages: 0,
            cmdline: String::new(),
            ram_mib: DEFAULT_RAM_MIB,
            prefault: true,
            tsc_khz: TscKhz::Auto,
            cpu_model: CpuModel::default(),
            mechanisms: None,
            deterministic: false,
            instruction_ns: 1,
            observer: None,
            stepped: false,
            fenced: false,
            #[cfg(debug_assertions)]
            bug: None,
            #[cfg(any(debug_assertions, feature = "planted"))]
            regression: None,
        }
    }

    /// Adds a module without a command line of its own.
    #[must_use]
    pub fn with_module(mut self, elf: impl Into<Cow<'a, [u8]>>) -> Self {
        self.modules.push(Module { elf: elf.into(), cmdline: None });
        self
    }

    /// Sets the kernel command line.
    #[must_use]
    pub fn with_cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.cmdline = cmdline.into();
        self
    }

    /// Nanoseconds that an instruction takes, where they are the guest's time.
    pub(crate) fn instruction_ns(&self) -> u32 {
        self.instruction_ns.clamp(1, 1000)
    }

    /// Checks what needs no look into the files.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.ram_mib > MAX_RAM_MIB {
            return Err(SpecError::TooMuchRam { ram_mib: self.ram_mib });
        }
        if self.ram_mib < MIN_RAM_MIB {
            return Err(SpecError::TooLittleRam { ram_mib: self.ram_mib });
        }
        if self.modules.len() > MAX_MODULES {
            return Err(SpecError::TooManyModules { count: self.modules.len() });
        }
        if self.module_offset_pages > MAX_MODULE_OFFSET_PAGES {
            return Err(SpecError::TooFarUp { pages: self.module_offset_pages });
        }
        Ok(())
    }

    /// The kernel command line, with `tsc_khz=` among the options if the frequency is known and not yet given.
    pub(crate) fn full_cmdline(&self, engine_khz: Option<u32>) -> String {
        let khz = match self.tsc_khz {
            TscKhz::Auto => engine_khz,
            TscKhz::Fixed(khz) => Some(khz),
            TscKhz::Absent => None,
        };
        let (options, argv) = split_argv(&self.cmdline);
        let given = options.split_ascii_whitespace().any(|word| word.starts_with("tsc_khz="));
        let Some(khz) = khz.filter(|_| !given) else { return self.cmdline.clone() };
        let mut line = options.trim_end().to_owned();
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&format!("tsc_khz={khz}"));
        if !argv.is_empty() {
            line.push(' ');
            line.push_str(argv);
        }
        line
    }
}

/// Least guest RAM, MiB: a kernel at 1 MiB, and something to run in.
const MIN_RAM_MIB: u32 = 2;

/// Splits a command line before the word `--`.
fn split_argv(line: &str) -> (&str, &str) {
    let at = if line == "--" || line.starts_with("-- ") {
        Some(0)
    } else {
        line.find(" -- ").or_else(|| line.ends_with(" --").then(|| line.len() - 3)).map(|i| i + 1)
    };
    at.map_or((line, ""), |at| line.split_at(at))
}

/// A PVH module: a program and, optionally, its own `argv`.
#[derive(Debug, Clone)]
pub struct Module<'a> {
    /// The program, an ELF64 of the contract.
    pub elf: Cow<'a, [u8]>,
    /// Replaces the `argv` of the kernel command line.
    pub cmdline: Option<String>,
}

/// What the guest is told about the frequency of its time-stamp counter (`tsc_khz=` on its command line).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TscKhz {
    /// What the virtual CPU says, if it knows.
    #[default]
    Auto,
    /// This many kHz.
    Fixed(u32),
    /// Nothing: the guest has no clock.
    Absent,
}

/// Why a [`GuestSpec`] describes no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// More RAM than the contract allows.
    #[error("{ram_mib} MiB of guest RAM is more than a guest may have; --ram takes at most {MAX_RAM_MIB}")]
    TooMuchRam {
        /// RAM asked for, MiB.
        ram_mib: u32,
    },
    /// Less RAM than a kernel needs.
    #[error("{ram_mib} MiB of guest RAM is too little to load a kernel; --ram takes at least {MIN_RAM_MIB}")]
    TooLittleRam {
        /// RAM asked for, MiB.
        ram_mib: u32,
    },
    /// Modules farther up than anybody needs.
    #[error("modules cannot be moved up {pages} pages; a machine moves them at most {MAX_MODULE_OFFSET_PAGES}")]
    TooFarUp {
        /// Pages asked for.
        pages: u32,
    },
    /// More modules than the boot information holds.
    #[error("{count} modules are too many; a machine takes at most {MAX_MODULES}")]
    TooManyModules {
        /// Modules asked for.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cmdline: &str, tsc: TscKhz) -> String {
        let mut spec = GuestSpec::new(&b""[..]).with_cmdline(cmdline);
        spec.tsc_khz = tsc;
        spec.full_cmdline(Some(3000))
    }

    #[test]
    fn the_frequency_goes_before_the_program() {
        assert_eq!(line("", TscKhz::Auto), "tsc_khz=3000");
        assert_eq!(line("", TscKhz::Absent), "");
        assert_eq!(line("procs=2", TscKhz::Auto), "procs=2 tsc_khz=3000");
        assert_eq!(line("-- sieve 10", TscKhz::Auto), "tsc_khz=3000 -- sieve 10");
        assert_eq!(line("procs=2 -- p -- q", TscKhz::Fixed(7)), "procs=2 tsc_khz=7 -- p -- q");
        assert_eq!(line("hold --", TscKhz::Fixed(7)), "hold tsc_khz=7 --");
    }

    #[test]
    fn a_given_frequency_stays() {
        assert_eq!(line("tsc_khz=5 -- x", TscKhz::Auto), "tsc_khz=5 -- x");
        assert_eq!(line("-- tsc_khz=5", TscKhz::Auto), "tsc_khz=3000 -- tsc_khz=5");
    }

    #[test]
    fn refuses_impossible_machines() {
        let mut spec = GuestSpec::new(&b""[..]);
        assert_eq!(spec.check(), Ok(()));
        spec.ram_mib = 3073;
        assert_eq!(spec.check(), Err(SpecError::TooMuchRam { ram_mib: 3073 }));
        spec.ram_mib = 0;
        assert_eq!(spec.check(), Err(SpecError::TooLittleRam { ram_mib: 0 }));
        spec.ram_mib = 256;
        spec.modules = vec![Module { elf: Cow::Borrowed(b""), cmdline: None }; 65];
        assert_eq!(spec.check(), Err(SpecError::TooManyModules { count: 65 }));
        spec.modules.clear();
        spec.module_offset_pages = 4097;
        assert_eq!(spec.check(), Err(SpecError::TooFarUp { pages: 4097 }));
    }
}
