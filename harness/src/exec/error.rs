//! Why a snippet was not executed.

use std::io;

use super::runner::Engine;

/// Why a snippet was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A region that no engine can map.
    #[error("the region of {size:#x} bytes at {address:#x} cannot be mapped: {rule}")]
    Region {
        /// First address.
        address: u64,
        /// Bytes.
        size: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Two regions overlap.
    #[error("two regions overlap at {address:#x}; keep them apart")]
    Overlap {
        /// Where the second begins.
        address: u64,
    },
    /// More memory than the engines hold.
    #[error("{bytes:#x} bytes in {regions} regions are too much; at most 64 MiB in 32 regions")]
    TooMuchMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Regions asked for.
        regions: usize,
    },
    /// A register value that cannot be loaded in ring 3.
    #[error("{name} cannot be {value:#x}: {rule}")]
    Register {
        /// The register.
        name: &'static str,
        /// The value.
        value: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The host has no such engine.
    #[error("engine {engine} is not available: {reason}")]
    Missing {
        /// The engine.
        engine: Engine,
        /// Why, and what to do.
        reason: String,
    },
    /// The host refused something the engine needs.
    #[error("engine {engine}: {what}: {source}")]
    Host {
        /// The engine.
        engine: Engine,
        /// What was asked.
        what: &'static str,
        /// The host's answer.
        source: io::Error,
    },
    /// The child process that executes natively cannot map the region there.
    #[error(
        "the region at {address:#x} is in use by the native runner or below vm.mmap_min_addr ({source}); choose another \
         address"
    )]
    NativeAddress {
        /// First address.
        address: u64,
        /// The host's answer.
        source: io::Error,
    },
    /// The child process died.
    #[error("the child process that executes natively died ({how}); the snippet destroyed it")]
    ChildDied {
        /// Its wait status in words.
        how: String,
    },
    /// A case of a campaign could not be executed.
    #[error("case {index}: {source}")]
    Case {
        /// Its number.
        index: u64,
        /// Why.
        source: Box<ExecError>,
    },
    /// The engine left in a way that ring-3 code cannot cause.
    #[error("engine {engine} left the snippet unexpectedly: {what}")]
    Unexpected {
        /// The engine.
        engine: Engine,
        /// What it said.
        what: String,
    },
}
