//! CPU models: the micro-architecture levels x86-64-v1 to v3.

use std::fmt;
use std::str::FromStr;

use iced_x86::CpuidFeature as F;

use crate::features::Features;
use crate::simd;

/// What the CPU offers to programs: a micro-architecture level (System V ABI, AMD64 supplement, 3.1.1). System features,
/// such as 1 GiB pages, are the same in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Model {
    /// x86-64-v1: SSE2.
    V1,
    /// x86-64-v2: up to SSE4.2, POPCNT and CMPXCHG16B.
    V2,
    /// x86-64-v3: AVX2, FMA, BMI, MOVBE and XSAVE; also AES, PCLMULQDQ and SHA where the host has them.
    V3,
}

/// Why there is no such model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// SIMD instructions are executed by the host's own, and it lacks these.
    #[error("the CPU model {model} needs {} on this host's processor, which lacks it; choose a lower one", .lacks.join(" and "))]
    Host {
        /// The model asked for.
        model: Model,
        /// Extensions that the host lacks.
        lacks: Vec<&'static str>,
    },
    /// The host refuses memory for the code that executes SIMD instructions.
    #[error("the CPU model {0} makes host code, for which this host refuses executable memory; choose v1")]
    ExecutableMemory(Model),
    /// Not the name of a model.
    #[error("{0:?} is no CPU model; choose from v1, v2 and v3")]
    Unknown(String),
}

/// Extensions whose instructions execute as themselves on the host, and whether the host has them.
fn executed_by_the_host() -> [(F, &'static str, bool); 11] {
    macro_rules! host {
        ($($feature:ident $name:tt),*) => { [$((F::$feature, $name, is_x86_feature_detected!($name))),*] };
    }
    host!(
        SSE3 "sse3", SSSE3 "ssse3", SSE4_1 "sse4.1", SSE4_2 "sse4.2", AVX "avx", AVX2 "avx2", FMA "fma", F16C "f16c",
        AES "aes", PCLMULQDQ "pclmulqdq", SHA "sha"
    )
}

impl Model {
    /// All of them, the lowest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// The highest model that this host can execute.
    #[must_use]
    pub fn highest() -> Self {
        Self::ALL.into_iter().rfind(|model| model.available().is_ok()).unwrap_or(Self::V1)
    }

    /// This model, if the host can execute all of it.
    ///
    /// # Errors
    /// The host's processor lacks instructions of the model's level, or the host refuses executable memory.
    pub fn available(self) -> Result<Self, ModelError> {
        let lacks = self.lacks(executed_by_the_host());
        if !lacks.is_empty() {
            return Err(ModelError::Host { model: self, lacks });
        }
        if self >= Self::V2 && !simd::is_possible() {
            return Err(ModelError::ExecutableMemory(self));
        }
        Ok(self)
    }

    fn lacks(self, host: impl IntoIterator<Item = (F, &'static str, bool)>) -> Vec<&'static str> {
        let required = |feature| match feature {
            F::AES | F::PCLMULQDQ | F::SHA => false,
            F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2 => self >= Self::V2,
            _ => self >= Self::V3,
        };
        host.into_iter().filter(|&(feature, _, has)| !has && required(feature)).map(|(_, name, _)| name).collect()
    }

    /// What a CPU of this model has on this host, if that gives it executable memory.
    pub(crate) fn features(self) -> Features {
        let level = match self {
            Self::V1 => Features::v1(),
            Self::V2 => Features::v2(),
            Self::V3 => Features::v3(),
        };
        let missing = executed_by_the_host().into_iter().filter(|&(_, _, has)| !has);
        missing.fold(level, |features, (feature, _, _)| features.without_one(feature))
    }

    /// LAHF and SAHF exist in 64-bit mode.
    pub(crate) fn has_lahf_in_64_bit_mode(self) -> bool {
        self >= Self::V2
    }
}

impl Default for Model {
    /// [`Self::highest`].
    fn default() -> Self {
        Self::highest()
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|model| model.name() == text).ok_or_else(|| ModelError::Unknown(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for model in Model::ALL {
            assert_eq!(model.name().parse(), Ok(model));
        }
        let unknown = "v4".parse::<Model>().unwrap_err();
        assert_eq!(unknown.to_string(), "\"v4\" is no CPU model; choose from v1, v2 and v3");
    }

    #[test]
    fn the_first_model_runs_on_every_host() {
        assert_eq!(Model::V1.available(), Ok(Model::V1));
        assert!(Model::highest().available().is_ok());
    }

    #[test]
    fn a_model_needs_its_vector_instructions_on_the_host() {
        let without = |lacking: &'static [&'static str]| {
            executed_by_the_host().map(|(feature, name, _)| (feature, name, !lacking.contains(&name)))
        };
        assert_eq!(Model::V3.lacks(without(&["avx2", "fma", "sha"])), ["avx2", "fma"]);
        assert!(Model::V2.lacks(without(&["avx2", "fma", "sha"])).is_empty());
        assert_eq!(Model::V2.lacks(without(&["sse4.1"])), ["sse4.1"]);
        assert!(Model::V1.lacks(without(&["sse4.1"])).is_empty());
        let error = ModelError::Host { model: Model::V3, lacks: vec!["avx2", "fma"] };
        assert_eq!(
            error.to_string(),
            "the CPU model v3 needs avx2 and fma on this host's processor, which lacks it; choose a lower one"
        );
    }
}
