//! What executes snippets.

use std::fmt;
use std::str::FromStr;

use emu_min::Model;

use super::emu::EmuRunner;
use super::end::End;
use super::error::ExecError;
use super::kvm::KvmRunner;
use super::memory::MemoryChange;
use super::native::NativeRunner;
use super::registers::Registers;
use super::snippet::Snippet;

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
}

impl Engine {
    /// All of them, the judges first.
    pub const ALL: [Self; 4] = [Self::Native, Self::Kvm, Self::EmuNaive, Self::EmuInterp];

    /// Whether its CPU is emu-min's, which has models.
    #[must_use]
    pub const fn has_emulated_cpu(self) -> bool {
        matches!(self, Self::EmuNaive | Self::EmuInterp)
    }

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kvm => "kvm",
            Self::EmuNaive => "emu-naive",
            Self::EmuInterp => "emu-interp",
        }
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
            format!("no engine {text:?} executes machine code; choose from native, kvm, emu-naive and emu-interp")
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

/// Opens an engine; `cpu` is the model of emu-min's.
///
/// # Errors
/// The host lacks it.
pub fn open(engine: Engine, cpu: Model) -> Result<Box<dyn Runner>, ExecError> {
    Ok(match engine {
        Engine::Native => Box::new(NativeRunner::new()?),
        Engine::Kvm => Box::new(KvmRunner::new()?),
        Engine::EmuNaive | Engine::EmuInterp => Box::new(EmuRunner::new(engine, cpu)),
    })
}
