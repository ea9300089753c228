//! Two experiments, cell by cell: what became faster or slower, what is the same, what cannot be told, and which exact
//! counts changed.

mod basis;
mod cells;
mod counts;
mod markdown;
mod verdict;

pub use basis::{Basis, BasisError};
pub use cells::{Compared, Comparison, compare};
pub use counts::Change;
pub use markdown::{interval, sentence, to_markdown};
pub use verdict::Verdict;
