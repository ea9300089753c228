//! The guests of evlab: a kernel and the programs it runs, compiled by `build.rs` and embedded as ELF images.
//!
//! [`kernel`] is what every engine but `native` boots; [`catalogue`] lists the programs with their parameters. The same
//! bytes run on every engine, and each program is also a static Linux executable.

mod attacks;
mod catalogue;
mod event;
mod micro;
mod param;
pub mod sizes;
mod workload;

pub use attacks::{attack, hostile_kernel};
pub use catalogue::{catalogue, find, kernel};
pub use event::Event;
pub use micro::{micro_kernel, micro_program};
pub use param::{BadValue, Param, Scale};
pub use workload::{Group, Profile, Workload};
