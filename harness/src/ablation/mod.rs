//! What each mechanism is worth: the ladder from the naive emulator to the processor itself, one mechanism at a time, and
//! the full sets with one mechanism taken out.
//!
//! [`steps`] says what is measured and [`Step`] what each measurement is compared with; the experiment itself is the
//! studio's. [`Analysis`] is what it says in numbers.

mod analysis;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use analysis::ns_per_instruction;
pub use analysis::{Analysis, Effect, Row};
pub use steps::{Kind, MECHANISMS, Mechanism, Step, setups, steps};
pub use table::{ABLATION_COLUMNS, to_csv};
