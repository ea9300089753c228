//! Options of the isolation suite, and of what keeps guests in.

use std::path::PathBuf;

use clap::Args;
#[cfg(debug_assertions)]
use clap::ValueEnum;

use crate::model::SandboxChoice;

/// What the process that runs a guest may do.
#[derive(Debug, Clone, Default, Args)]
pub struct SandboxArgs {
    /// Leave the process that runs the guest all its rights, for debugging
    #[arg(long)]
    pub no_sandbox: bool,
    /// A rule of the sandbox to leave out, for its tests.
    #[arg(long, value_name = "RULE", hide = true)]
    pub sandbox_without: Option<String>,
    /// A system call to make from within, for its tests.
    #[arg(long, value_name = "NAME", hide = true)]
    pub sandbox_call: Option<String>,
}

impl SandboxArgs {
    /// The sandbox, unless it is refused.
    #[must_use]
    pub fn choice(&self) -> Option<SandboxChoice> {
        let choice = || SandboxChoice { without: self.sandbox_without.clone(), call: self.sandbox_call.clone() };
        (!self.no_sandbox).then(choice)
    }
}

/// `evlab isolation`
#[derive(Debug, Args)]
#[command(after_help = ISOLATION_HELP)]
pub struct IsolationArgs {
    /// Only these engines, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Only these attacks, separated by commas
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub attacks: Vec<String>,
    /// Write the results into this folder [default: results/<UTC time>-<host>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print what came of each attack as JSON
    #[arg(long)]
    pub json: bool,
    /// What the processes may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// A bug to plant into the emulator, to prove that it is noticed.
    #[cfg(debug_assertions)]
    #[arg(long, value_enum, hide = true)]
    pub plant: Option<Plant>,
}

const ISOLATION_HELP: &str = "\
Each attack runs in a process of its own, and beside it another guest on the same engine. It is \
contained if the process ends in good order, the guest with an outcome that the attack allows, the \
memory around guest RAM is whole, and the guest beside it computes the right result. '-' marks \
attacks that do not apply to an engine. docs/isolation.md describes every attack.

Exit codes: 0 all are contained; 1 one is not; 2 usage or environment error.

Examples:
  evlab isolation                                 everything, in about two minutes
  evlab isolation --engines kvm,emu-dbt           two engines
  evlab isolation --attacks wild-physical --json  one attack, as JSON";

/// `evlab attack`
#[derive(Debug, Args)]
pub struct AttackArgs {
    /// The attack.
    #[arg(value_name = "ATTACK")]
    pub name: String,
    /// The engine to run it on.
    #[arg(long, short, value_name = "ENGINE")]
    pub engine: String,
    /// What the process may do.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// A bug to plant into the emulator.
    #[cfg(debug_assertions)]
    #[arg(long, value_enum)]
    pub plant: Option<Plant>,
}

/// A check of the emulator that is left out. It exists in builds with debug assertions alone.
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// Ring 3 may use supervisor pages.
    SupervisorCheck,
    /// Stores may go beyond the end of RAM.
    BoundsCheck,
}

#[cfg(debug_assertions)]
impl Plant {
    /// The word users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SupervisorCheck => "supervisor-check",
            Self::BoundsCheck => "bounds-check",
        }
    }
}

#[cfg(debug_assertions)]
impl From<Plant> for vmm_min::Bug {
    fn from(plant: Plant) -> Self {
        match plant {
            Plant::SupervisorCheck => Self::SupervisorCheck,
            Plant::BoundsCheck => Self::BoundsCheck,
        }
    }
}
