//! `evlab walk`: how an address becomes a physical one, for each process of a guest, entry by entry.
//!
//! The moments at which a guest can be looked at are the exits of its machine, since then every virtual CPU stands still, and
//! since they are the same on every engine. From the first entry into ring 3 on, each exit belongs to the process whose page
//! tables CR3 names; of each process one look is kept, which [`Moment`] chooses. Processes are numbered in the order in which
//! they are first seen, which is that of their ids if each makes the machine exit in turn.

mod children;
mod picture;
mod watch;

pub use children::{ChildError, in_children};
pub use picture::{
    EntryView, Hex, LookView, PageView, Picture, Report, TlbEntryView, TlbKind, TlbView, ValueView, letters,
};
pub use watch::{Watch, watch};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Which look at a process is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// The first exit at which the address is mapped in it.
    First,
    /// The last such exit up to the beginning of the region of interest.
    Begin,
    /// The last such exit up to the end of the region of interest.
    End,
    /// The last such exit of all.
    Last,
}
