//! What kind of work a workload is: tables and charts show workloads by group, and means keep groups apart.

/// The group of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The two programs of the course studio.
    Studio,
    /// Arithmetic, branches and calls on data that fits the caches.
    Compute,
    /// Caches, memory and address translation.
    Memory,
    /// A program that is not in the catalogue.
    Own,
    /// System calls, faults, switches, exits.
    System,
    /// A program that sleeps: it takes as long as it asks for, on every engine, so it is part of no mean.
    Sleep,
    /// The empty region of interest: what measuring itself costs, so it is part of no mean.
    Empty,
}

impl Group {
    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Studio => "Studio",
            Self::Compute => "Compute",
            Self::Memory => "Memory",
            Self::Own => "Own programs",
            Self::System => "System",
            Self::Sleep => "Sleep",
            Self::Empty => "Empty region of interest",
        }
    }

    /// Whether the mean over the system workloads, or else the one over the programs, takes it in.
    ///
    /// The two are never pooled: one exit or fault in a microsecond of work has a ratio that says nothing about programs.
    #[must_use]
    pub const fn in_mean(self, system: bool) -> bool {
        match self {
            Self::Studio | Self::Compute | Self::Memory | Self::Own => !system,
            Self::System => system,
            Self::Sleep | Self::Empty => false,
        }
    }
}

/// The group of the workload of this name.
#[must_use]
pub fn group(name: &str) -> Group {
    if name == "noop" {
        return Group::Empty;
    }
    if name == "sleep" {
        return Group::Sleep;
    }
    match workloads::find(name).map(|w| w.group) {
        Some(workloads::Group::Studio) => Group::Studio,
        Some(workloads::Group::Compute) => Group::Compute,
        Some(workloads::Group::Memory) => Group::Memory,
        Some(workloads::Group::System) => Group::System,
        None => Group::Own,
    }
}
