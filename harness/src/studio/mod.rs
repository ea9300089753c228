//! The experiment: what is measured, in which order, by whom, and what becomes of each run.
//!
//! `plan` chooses the cells, `schedule` their order, an [`Executor`] does one run at a time, and [`conduct`] writes
//! what it yields. The executor is a trait so that all of this is tested without starting a process.

mod child;
mod conduct;
mod estimate;
mod executor;
mod folder;
mod live;
mod plan;
mod progress;
mod repeat;
mod schedule;

pub use child::ChildExecutor;
pub(crate) use child::{collect, die_with};
pub(crate) use conduct::settle;
pub use conduct::{Outcome, conduct};
pub use estimate::Estimate;
pub use executor::{Executor, MockExecutor, RunSpec};
pub use folder::{Folder, FolderError, prepare};
pub use plan::{PlanError, Settings, Work, cells, select};
pub use progress::{Progress, Silent, for_terminal, live};
pub use repeat::{CAP, FEWEST, Imprecise, Reached};
pub use schedule::{order, round};
