//! Raw machine code in ring 3, on any engine: the same snippet, the same initial state, the final state compared.
//!
//! A [`Snippet`] is machine code with registers and memory; a [`Runner`] executes it on the processor of the host, on
//! KVM or on emu-min until `hlt`, an exception or the end of the instruction budget, and returns a [`FinalState`].

mod args;
mod describe;
mod diff;
mod emu;
mod end;
mod error;
mod finish;
mod image;
mod json;
mod kvm;
mod memory;
mod names;
pub mod native;
mod registers;
mod runner;
mod snippet;

pub(crate) use args::parse_number;
pub use args::{ArgsError, Assignment, Bytes, ExecArgs, Load, Map};
pub use describe::describe;
pub use diff::{Difference, Scope, differences};
pub use emu::EmuRunner;
pub use end::{End, Exception, error_code_pushed, exception_name};
pub use error::ExecError;
pub(crate) use finish::final_bytes;
pub use json::to_json;
pub use kvm::KvmRunner;
pub use memory::{Access, MemoryChange, PAGE, Region};
pub use names::{NameError, get_register, nonzero_registers, set_register};
pub use native::NativeRunner;
pub use registers::{Registers, X87};
pub use runner::{Engine, FinalState, Runner, open};
pub use snippet::{Mode, Snippet};
