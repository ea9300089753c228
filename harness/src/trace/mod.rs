//! `evlab trace`: what a guest's processor does.
//!
//! An emulated CPU is stepped: each instruction with its effects, each event that is delivered, each page walk. On KVM the
//! processor runs freely, and what can be seen of it are the exits to the machine. Nothing of this is in the way of a guest
//! that is not traced: stepping is a loop of its own ([`emu_min::Cpu::single_step`]).

mod access;
mod effects;
mod exits;
mod line;
mod options;
mod step;
#[cfg(test)]
mod tests;
mod text;
mod tracer;

pub use line::{Change, Delivered, ExitLine, InsnLine, Line, MemLine, WalkLine};
pub use options::{EventKind, Options, OptionsError, parse_exception, parse_range};
pub use tracer::{TraceError, Traced, trace};
