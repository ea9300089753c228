//! The devices of the contract, one file each.

pub(crate) mod exit;
pub(crate) mod marker;
pub(crate) mod pic;
pub(crate) mod pit;
pub(crate) mod scratch;
pub(crate) mod serial;
