//! Two experiments, cell by cell: what became faster or slower, what is the same, what cannot be told, and which exact
//! counts changed.

mod basis;
mod cells;
mod counts;
mod evidence;
mod markdown;
mod verdict;

pub use basis::{Basis, BasisError};
pub use cells::{Compared, Comparison, compare};
pub use counts::Change;
pub use evidence::ALPHA;
pub use markdown::{interval, p_value, sentence, shortage, to_markdown, verdict};
pub use verdict::Verdict;
