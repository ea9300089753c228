//! evlab: emulation versus virtualization, measured.
//!
//! The orchestrator: it plans an experiment, runs every run as its own process on one of the engines, checks that all
//! engines computed the same, and writes CSV, charts and a report.

pub mod ablation;
pub mod calibration;
pub mod cli;
pub mod compare;
pub mod crowd;
pub mod debug;
pub mod engines;
pub mod exec;
pub mod explain;
pub mod fuzz;
pub mod gate;
pub mod host;
pub mod isolation;
mod markdown;
pub mod meaning;
pub mod micro;
pub mod model;
pub mod profile;
pub mod report;
pub mod results;
pub mod sandbox;
pub mod stats;
pub mod studio;
pub mod trace;
pub mod walk;
pub mod warmup;
