//! `--emu`: the mechanisms of the emulated CPU.

use clap::Args;

use crate::model::{EngineId, Setup, SetupError};

/// The mechanisms of the emulated CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct EmuArgs {
    /// Choose mechanisms of emu-naive, emu-interp and emu-dbt anew: decode=each|cached, mmu=walk|tlb,
    /// flags=eager|lazy, and link, fuse, bulk, translate, chain, inline-cache and window=off|on, separated
    /// by commas [default: each engine's own]
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub emu: Option<String>,
}

/// Why `--emu` cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmuError {
    /// No engine that it is about.
    #[error(
        "--emu chooses mechanisms of emu-naive, emu-interp and emu-dbt, which are not among the engines chosen; choose \
         one, or leave --emu out"
    )]
    NoEmulatedCpu,
    /// No such choice.
    #[error("--emu: {0}")]
    Setup(#[from] SetupError),
}

impl EmuArgs {
    /// The engines with the mechanisms chosen; those without an emulated CPU stay as they are.
    ///
    /// # Errors
    /// Mechanisms were chosen that do not exist or do not fit, or no engine has any.
    pub fn setups(&self, engines: impl IntoIterator<Item = EngineId>) -> Result<Vec<Setup>, EmuError> {
        let engines: Vec<EngineId> = engines.into_iter().collect();
        let Some(choices) = &self.emu else { return Ok(engines.into_iter().map(Setup::plain).collect()) };
        if !engines.iter().any(|engine| engine.has_emulated_cpu()) {
            return Err(EmuError::NoEmulatedCpu);
        }
        let setup = |engine: EngineId| {
            if engine.has_emulated_cpu() { Setup::new(engine, choices) } else { Ok(Setup::plain(engine)) }
        };
        Ok(engines.into_iter().map(setup).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(emu: Option<&str>, engines: &[EngineId]) -> Result<Vec<String>, String> {
        let args = EmuArgs { emu: emu.map(str::to_owned) };
        let setups = args.setups(engines.iter().copied()).map_err(|e| e.to_string())?;
        Ok(setups.iter().map(Setup::name).collect())
    }

    #[test]
    fn the_choices_are_for_engines_that_have_them() {
        use EngineId::{EmuDbt, EmuInterp, EmuNaive, Native};
        let all = [Native, EmuInterp, EmuNaive];
        assert_eq!(names(None, &all).unwrap(), ["native", "emu-interp", "emu-naive"]);
        let off = names(Some("link=off"), &all).unwrap();
        assert_eq!(off, ["native", "emu-interp[link=off]", "emu-naive"]);
        let error = names(Some("link=off"), &[Native]).unwrap_err();
        assert!(error.contains("not among the engines chosen"), "{error}");
        let error = names(Some("fuze=off"), &all).unwrap_err();
        assert!(error.starts_with("--emu: ") && error.ends_with("did you mean 'fuse'?"), "{error}");
        let error = names(Some("mmu=walk"), &[EmuDbt]).unwrap_err();
        assert_eq!(error, "--emu: emu-dbt with mmu=walk: translate=on needs mmu=tlb");
    }
}
