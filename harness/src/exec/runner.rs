//! What executes snippets.

use std::fmt;
use std::str::FromStr;

use emu_min::{Config, Model};

use super::emu::EmuRunner;
use super::end::End;
use super::error::ExecError;
use super::kvm::KvmRunner;
use super::memory::MemoryChange;
use super::native::NativeRunner;
use super::registers::Registers;
use super::snippet::Snippet;
use crate::model::{EngineId, Setup};

/// An engine that executes snippets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The host's processor, in a child process.
    Native,
    /// The host's processor, through KVM.
    Kvm,
    /// emu-min, decoding every instruction every time.
    EmuNaive,
    /// emu-min with cached blocks and translations.
    EmuInterp,
    /// emu-min that translates hot code to host code.
    EmuDbt,
}

impl Engine {
    /// All of them, the judges first.
    pub const ALL: [Self; 5] = [Self::Native, Self::Kvm, Self::EmuNaive, Self::EmuInterp, Self::EmuDbt];

    /// Whether its CPU is emu-min's, which has models.
    #[must_use]
    pub const fn has_emulated_cpu(self) -> bool {
        self.id().has_emulated_cpu()
    }

    /// The same engine as one that runs guests.
    #[must_use]
    pub const fn id(self) -> EngineId {
        match self {
            Self::Native => EngineId::Native,
            Self::Kvm => EngineId::Kvm,
            Self::EmuNaive => EngineId::EmuNaive,
            Self::EmuInterp => EngineId::EmuInterp,
            Self::EmuDbt => EngineId::EmuDbt,
        }
    }

    /// The emulated CPU of this engine, of that model and with the engine's own mechanisms; of no meaning on the others.
    #[must_use]
    pub fn config(self, model: Model) -> Config {
        Setup::plain(self.id()).config(model)
    }

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.id().name()
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|engine| engine.name() == text).ok_or_else(|| {
            format!(
                "no engine {text:?} executes machine code; choose from native, kvm, emu-naive, emu-interp and emu-dbt"
            )
        })
    }
}

/// The state in which execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalState {
    /// Why it ended.
    pub end: End,
    /// All registers.
    pub registers: Registers,
    /// Memory that changed, by ascending address within each region.
    pub memory: Vec<MemoryChange>,
}

/// Executes snippets.
pub trait Runner {
    /// Which engine this is.
    fn engine(&self) -> Engine;

    /// Executes one snippet.
    ///
    /// # Errors
    /// The snippet is not valid, or the host failed.
    fn run(&mut self, snippet: &Snippet) -> Result<FinalState, ExecError>;

    /// Executes several snippets, independent of each other; faster than one by one where the engine can.
    fn run_many(&mut self, snippets: &[Snippet]) -> Vec<Result<FinalState, ExecError>> {
        snippets.iter().map(|snippet| self.run(snippet)).collect()
    }
}

/// Opens an engine; `cpu` is how to make emu-min's, if it is that.
///
/// # Errors
/// The host lacks it.
pub fn open(engine: Engine, cpu: Config) -> Result<Box<dyn Runner>, ExecError> {
    Ok(match engine {
        Engine::Native => Box::new(NativeRunner::new()?),
        Engine::Kvm => Box::new(KvmRunner::new()?),
        Engine::EmuNaive | Engine::EmuInterp | Engine::EmuDbt => Box::new(EmuRunner::new(engine, cpu)),
    })
}
