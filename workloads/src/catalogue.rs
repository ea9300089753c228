//! The list of programs.

use crate::sizes;
use crate::workload::{Group, Workload};

/// The image that `build.rs` made of `programs/<name>.rs`.
macro_rules! elf {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".elf"))
    };
}

/// An entry that runs everywhere, as one process.
macro_rules! workload {
    ($name:literal, $group:ident, $params:ident, $summary:literal) => {
        Workload {
            name: $name,
            group: Group::$group,
            summary: $summary,
            elf: elf!($name),
            native: true,
            processes: 1,
            params: &sizes::$params,
        }
    };
}

static CATALOGUE: [Workload; 1] =
    [workload!("noop", System, NOOP, "an empty region of interest: the price of measuring")];

/// Every program, in the order in which tables and charts show them: by group, then from plain to intricate.
pub fn catalogue() -> &'static [Workload] {
    &CATALOGUE
}

/// The program of this name.
pub fn find(name: &str) -> Option<&'static Workload> {
    CATALOGUE.iter().find(|workload| workload.name == name)
}

/// The guest kernel, an ELF64 image with a PVH entry note.
pub fn kernel() -> &'static [u8] {
    elf!("kernel")
}
