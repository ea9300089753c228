//! Consolidation: what becomes of throughput, fairness and memory as more and more guests share one host.
//!
//! [`calibrate`] finds how much work keeps a guest of an engine busy, a [`Crew`] runs a round of guests side by side, [`conduct`]
//! does the rounds of a plan and writes them, and [`summarize`] says what they mean. `docs/consolidation.md` says how to read
//! it.

mod calibrate;
mod conduct;
mod crew;
mod folder;
mod growth;
mod meta;
mod processes;
mod room;
mod rows;
mod summary;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod watch;

pub use calibrate::{Trial, Unfit, calibrate};
pub use conduct::{Ended, conduct};
pub use crew::{Crew, Guest, MockCrew, Processes, RoundSpec};
pub use folder::{CROWD_CSV, Crowd, CrowdWriter, is_crowd, read, render};
pub use growth::{Growth, GrowthError};
pub use meta::{CrowdMeta, CrowdPlan, CrowdProblem, EngineWork, FORMAT};
pub use processes::Memory;
pub use room::{NoRoom, available_mib, check as check_room};
pub use rows::{COLUMNS, GuestRow, judge};
pub use summary::{Point, PointRow, SUMMARY_COLUMNS, jain, summarize};
pub use table::{crowd_table, table};
pub use watch::Span;
