//! The parameters of every program, the one place where sizes are written down.
//!
//! The programs include this file too: a program without arguments runs with the `default` of this table.
//!
//! Defaults are chosen so that an emulator of some 10 million instructions a second needs about a second for set-up and
//! region of interest together, and, where the cost is one of events (system calls, faults, exits), so that a KVM whose
//! event costs tens of microseconds needs a few tenths of a second. `quick` is about a fifth of that.

use crate::param::{Param, Scale};

/// `dense_mm`.
pub const DENSE_MM: [Param; 1] = [Param {
    name: "n",
    doc: "rows and columns of the matrices",
    unit: "rows",
    default: 128,
    quick: 75,
    min: 1,
    max: 8192,
    scale: Scale::Cbrt,
}];

/// `noop`.
pub const NOOP: [Param; 0] = [];
