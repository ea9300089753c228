//! Whether a program becomes faster while it runs, and from when on it no longer does: measured, not assumed.
//!
//! A run is one process that does the same work many times, in laps. A changepoint analysis divides its laps into segments
//! of one level each ([`segments`]); the segments say whether the run was flat, warmed up, slowed down or never became steady
//! ([`Course`]). A cell is all runs of a workload on an engine.
//!
//! Source of the method and of the classes: Barrett, Bolz-Tereick, Killick, Mount and Tratt, "Virtual Machine Warmup Blows
//! Hot and Cold", Proceedings of the ACM on Programming Languages 1 (OOPSLA), 2017.

mod campaign;
mod cell;
mod changepoint;
mod classify;
mod files;
mod folder;
mod laps;

pub use campaign::{Plan, measure};
pub use cell::{Cell, Classes, Run};
pub use changepoint::segments;
pub use classify::{Class, Course, TOLERANCE};
pub use files::{Files, LAPS_CSV, WARMUP_CSV, WARMUP_JSON};
pub use folder::{Warmup, is_warmup, read};
pub use laps::laps;
