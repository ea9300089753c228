//! Why a debugging session cannot be.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::engines::EngineError;
use crate::model::EngineId;

/// Why a debugging session cannot be.
#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    /// The program would run as a Linux process.
    #[error(
        "engine native is a Linux process, which gdb debugs by itself: gdb --args {program}; or choose --engine emu-interp"
    )]
    Native {
        /// The program's file, or its name.
        program: String,
    },
    /// QEMU is a debugger's server itself.
    #[error(
        "engine {0} has a GDB server of its own: qemu-system-x86_64 ... -gdb tcp:127.0.0.1:1234 -S; evlab debug takes kvm, \
         emu-naive, emu-interp and emu-dbt"
    )]
    Qemu(EngineId),
    /// The guest cannot be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No place to listen at.
    #[error("'{0}' is no address to listen at; give --listen 127.0.0.1:PORT, with port 0 for any that is free")]
    Address(String),
    /// A place that other hosts reach.
    #[error(
        "{0} can be reached from other hosts, and whoever connects reads and writes the guest without a password; listen at \
         127.0.0.1, or allow it with --allow-remote"
    )]
    Remote(SocketAddr),
    /// Somebody listens there.
    #[error("{0} is in use; choose another port, or --listen 127.0.0.1:0 for any that is free")]
    InUse(SocketAddr),
    /// The socket's file is there.
    #[error("{} exists; remove it, or choose another path for --unix", .0.display())]
    Exists(PathBuf),
    /// The host refuses the socket.
    #[error("cannot listen at {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The connection failed before the session.
    #[error("cannot take the debugger's connection: {0}")]
    Accept(io::Error),
    /// The images cannot be written.
    #[error("cannot write the guest's images for gdb to {}: {source}; choose a folder with --images", path.display())]
    Images {
        /// Where to.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// The machine could not be run to any end.
    #[error("the guest cannot be run: {0}")]
    Run(#[from] vmm_min::RunError),
}
