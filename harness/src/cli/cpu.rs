//! `--cpu`: the model of the emulated CPU.

use std::str::FromStr;

use clap::Args;
use emu_min::{Model, ModelError};

/// The model of the emulated CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct CpuArgs {
    /// CPU model of emu-naive, emu-interp and emu-dbt: v1, v2 or v3, for x86-64-v1 to -v3 [default:
    /// the highest that this host can execute]
    #[arg(long, value_name = "MODEL", value_parser = parse_model)]
    pub cpu: Option<Model>,
}

/// `--cpu` without an engine that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "--cpu sets the model of emu-naive, emu-interp and emu-dbt, which are not among the engines chosen; choose one, or leave \
     --cpu out"
)]
pub struct NoEmulatedCpu;

impl CpuArgs {
    /// The model to use, on engines one of which `emulated` should be true for.
    ///
    /// # Errors
    /// A model was asked for, and no engine has an emulated CPU.
    pub fn model(self, emulated: impl IntoIterator<Item = bool>) -> Result<Model, NoEmulatedCpu> {
        match self.cpu {
            Some(_) if !emulated.into_iter().any(|emulated| emulated) => Err(NoEmulatedCpu),
            Some(model) => Ok(model),
            None => Ok(Model::highest()),
        }
    }
}

/// A model that this host can execute.
fn parse_model(text: &str) -> Result<Model, ModelError> {
    Model::from_str(text)?.available()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_for_emulated_cpus() {
        let asked = CpuArgs { cpu: Some(Model::V1) };
        assert_eq!(asked.model([false, true]), Ok(Model::V1));
        assert_eq!(asked.model([false]), Err(NoEmulatedCpu));
        assert_eq!(CpuArgs { cpu: None }.model([false]), Ok(Model::highest()));
        assert!(parse_model("v4").is_err());
        assert_eq!(parse_model("v1"), Ok(Model::V1));
    }
}
