//! Where a run's stack and program lie: what is otherwise the same in all runs, and biases all alike.
//!
//! The size of the environment moves the stack, and the order in which a program was linked moves its code; either alone
//! can make a program faster or slower by more than what is being measured (Mytkowicz, Diwan, Hauswirth and Sweeney,
//! "Producing Wrong Data Without Doing Anything Obviously Wrong!", ASPLOS 2009). One of their remedies, experimental setup
//! randomization, is to draw the set-up anew for each run, so that the bias becomes noise, which intervals show.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the size of an environment is a multiple of, bytes: the stack is aligned to it, so less would move nothing.
const STEP: u32 = 16;
/// No environment is so large, bytes.
const ENVIRONMENT_END: u32 = 4096;
/// No program is loaded so many pages further up.
const OFFSET_END: u32 = 256;

/// A placement that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Size of the program's environment, bytes: one string with its end, or none for 0.
    pub environment_bytes: u32,
    /// How many pages of 4 KiB further up in guest RAM the program is loaded, on `kvm` and `emu-*`.
    pub offset_pages: u32,
}

impl Placement {
    /// Draws one; the same seed draws the same.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            environment_bytes: rng.random_range(0..ENVIRONMENT_END / STEP) * STEP,
            offset_pages: rng.random_range(0..OFFSET_END),
        }
    }

    /// The seed of run number `run` in an experiment: the first eight bytes, the lowest first, of the SHA-256 of the
    /// experiment's seed and the number, 8 and 4 bytes, the lowest first.
    #[must_use]
    pub fn seed_of_run(experiment: u64, run: u32) -> u64 {
        let digest = Sha256::new().chain_update(experiment.to_le_bytes()).chain_update(run.to_le_bytes()).finalize();
        digest.iter().take(8).rev().fold(0, |seed, &byte| seed << 8 | u64::from(byte))
    }

    /// The environment: its one variable, name and value, or none. The guest kernel makes the same string.
    #[must_use]
    pub fn environment(self) -> Option<(String, String)> {
        // Two bytes are "E=", one is the end.
        let value = self.environment_bytes.checked_sub(3)?;
        Some(("E".to_owned(), "x".repeat(value as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0xbeac964caa691e8b;
    const DRAWN: Placement = Placement { environment_bytes: 528, offset_pages: 41 };

    #[test]
    fn a_seed_means_one_placement_for_ever() {
        // A recorded seed must give the recorded placement in later versions too.
        let seed = Placement::seed_of_run(42, 7);
        assert_eq!(seed, SEED);
        assert_eq!(Placement::drawn(seed), DRAWN);
        assert_ne!(seed, Placement::seed_of_run(42, 8));
        assert_ne!(seed, Placement::seed_of_run(43, 7));
    }

    #[test]
    fn all_sizes_and_offsets_are_drawn() {
        let drawn: Vec<Placement> = (0..8000).map(Placement::drawn).collect();
        let all = |value: fn(&Placement) -> u32| {
            let mut values: Vec<u32> = drawn.iter().map(value).collect();
            values.sort_unstable();
            values.dedup();
            (values.len(), values.first().copied(), values.last().copied())
        };
        assert_eq!(all(|p| p.environment_bytes), (256, Some(0), Some(4080)));
        assert_eq!(all(|p| p.offset_pages), (256, Some(0), Some(255)));
        assert!(drawn.iter().all(|p| p.environment_bytes % STEP == 0));
    }

    #[test]
    fn the_environment_has_the_size_that_was_drawn() {
        let of = |environment_bytes| Placement { environment_bytes, offset_pages: 0 }.environment();
        assert_eq!(of(0), None);
        let (name, value) = of(16).expect("a variable");
        assert_eq!(name.len() + 1 + value.len() + 1, 16);
        assert_eq!(value, "x".repeat(13));
    }
}
