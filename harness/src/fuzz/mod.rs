//! The oracle: random machine code on two engines, what differs found, shrunk and kept.
//!
//! The judge is the host's processor; emu-min is what is judged. See [`Campaign`] for a run, [`corpus`] for the cases
//! that are replayed first.

mod args;
mod campaign;
mod catalog;
pub mod corpus;
mod coverage;
mod disputes;
mod encode;
mod features;
mod generate;
mod judge;
mod layout;
mod recipe;
mod rng;
mod shrink;
mod state;
#[cfg(test)]
mod tests;
mod trace;
mod undefined;

pub use args::FuzzArgs;
pub use campaign::{Campaign, Finding, Limits, Opener, Progress, Tally};
pub use catalog::{Catalog, CatalogError, Exclusion};
pub use coverage::{Coverage, flaws};
pub use features::{Features, emulated, host, processor};
pub use generate::{Case, Generator};
pub use judge::{Judge, Verdict};
pub use shrink::shrink;
