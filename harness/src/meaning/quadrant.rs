//! The region of interest as ring of the processor times guest or host: see `docs/reading-results.md`.

use super::Meaning;

pub(super) const TABLE: &[Meaning] = &[];
