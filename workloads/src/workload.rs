//! One entry of the catalogue.

use std::fmt;

use crate::param::{Param, Scale};

/// What a workload stresses; tables and charts show workloads by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The two programs of the course studio.
    Studio,
    /// Arithmetic, branches and calls on data that fits the caches.
    Compute,
    /// Caches, memory and address translation.
    Memory,
    /// The kernel and the machine: system calls, faults, switches, exits.
    System,
}

impl Group {
    /// The name shown to users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Studio => "studio",
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much work a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The default sizes.
    Full,
    /// About a fifth of the work.
    Quick,
}

/// A program of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its name, which is also its `argv[0]`.
    pub name: &'static str,
    /// What it stresses.
    pub group: Group,
    /// What it does and what that shows, in one line.
    pub summary: &'static str,
    /// The static, non-PIE ELF64 executable.
    pub elf: &'static [u8],
    /// Whether it runs as a Linux process too.
    pub native: bool,
    /// How many processes of it the guest kernel must start (its option `procs`).
    pub processes: u32,
    /// Timer interrupts per second that it needs (the kernel's option `hz`); 0: none.
    pub hz: u32,
    /// Whether it can do its work several times in one process (a last argument `laps=K`).
    pub laps: bool,
    /// Its parameters, in the order of its arguments.
    pub params: &'static [Param],
}

impl Workload {
    /// The arguments of a run, without the program's name; `size` is the factor by which the work grows.
    ///
    /// Values stay within their bounds, so a `size` that is no positive number yields the smallest work.
    pub fn args(&self, profile: Profile, size: f64) -> Vec<String> {
        self.params.iter().map(|param| sized(param, profile, size).to_string()).collect()
    }
}

fn sized(param: &Param, profile: Profile, size: f64) -> u64 {
    let base = match profile {
        Profile::Full => param.default,
        Profile::Quick => param.quick,
    };
    let factor = match param.scale {
        Scale::Fixed => return base,
        Scale::Linear => size,
        Scale::Sqrt => size.sqrt(),
        Scale::Cbrt => size.cbrt(),
    };
    // The cast saturates, and makes 0 of what is no number.
    ((base as f64 * factor).round() as u64).clamp(param.min, param.max)
}

#[cfg(test)]
mod tests {
    use crate::{Profile, catalogue, find};

    fn args(name: &str, profile: Profile, size: f64) -> Vec<String> {
        find(name).expect("a program of the catalogue").args(profile, size)
    }

    #[test]
    fn size_scales_the_work() {
        let params = find("dense_mm").expect("dense_mm").params;
        let n = params[0].default;
        assert_eq!(args("dense_mm", Profile::Full, 1.0), [n.to_string()]);
        assert_eq!(
            args("dense_mm", Profile::Full, 8.0),
            [(2 * n).to_string()],
            "eight times the work is twice the rows"
        );
        let n = find("sieve").expect("sieve").params[0].default;
        assert_eq!(args("sieve", Profile::Full, 2.5), [(n * 5 / 2).to_string()]);
        let [mib, reads] = crate::sizes::RANDOM_ACCESS;
        let expected = [mib.quick.to_string(), (reads.quick / 2).to_string()];
        assert_eq!(args("random_access", Profile::Quick, 0.5), expected, "the footprint stays");
    }

    #[test]
    fn scaled_values_stay_within_bounds() {
        for workload in catalogue() {
            for size in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-30, 1e30] {
                for (arg, param) in workload.args(Profile::Full, size).iter().zip(workload.params) {
                    assert_eq!(
                        param.parse(arg.as_bytes()),
                        Ok(arg.parse().expect("a number")),
                        "{} {size}",
                        workload.name
                    );
                }
            }
        }
    }
}
