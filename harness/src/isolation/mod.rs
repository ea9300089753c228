//! The isolation suite: hostile guests on every engine, and whether each is contained.
//!
//! Contained means: the process that runs the guest ends in good order and the guest with an outcome that the attack
//! allows; the canaries around guest RAM are whole, where the process is this program; and another guest that runs at the
//! same time on the same engine computes what it should. `docs/isolation.md` says more.

mod attack;
mod files;
mod judge;
mod outcome;
pub(crate) mod process;
mod suite;

pub use attack::{Attack, attacks};
#[cfg(test)]
pub(crate) use files::made;
pub use files::{Files, ISOLATION_CSV, ISOLATION_JSON, Meta, Tested, is_isolation, read};
pub use judge::Finding;
pub use outcome::End;
pub use suite::{Options, Suite};
