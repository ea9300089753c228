//! Why a program takes as long as it takes: events, counted in its profile, each at its cost on the engine.
//!
//! `time = sum over events of count x cost + rest`. Counts are those of the guest, the same for all engines ([`crate::profile`]). Costs
//! are fitted, without negative ones, to the times of all workloads and micro-benchmarks on the engine; an event costs the same in
//! all of them. [`Account`] says what the events come to in one program, [`held_out`] how far the model is off for programs that it has
//! not seen. `docs/explain.md` has the events, the method and its limits.

mod account;
mod costs;
mod data;
mod events;
mod fit;
mod gather;
mod held_out;
mod reason;
#[cfg(test)]
mod tests;

pub use account::{Account, Item};
pub use costs::{COSTS_JSON, Costs, CostsError, EngineCosts, EventCost, HostKey};
pub use data::{Data, Kind, Pace, Profile, Row};
pub use events::{Event, events};
pub use fit::Model;
pub use gather::{
    EMPTY, PROFILE_TIMEOUT_S, ProfileError, event_name, is_usable, profile, profile_event, rows_of, rows_of_micro,
};
pub use held_out::{Prediction, held_out};
pub use reason::reason;
