//! The order of runs: rounds that hold every cell once, each shuffled by a seeded generator.
//!
//! Interleaving spreads a slow phase of the host over all cells alike, and the shuffle keeps one cell from always
//! following another (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong", 2009).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Indices of `cells` cells, each `rounds` times. The same seed gives the same order on every host.
#[must_use]
pub fn order(cells: usize, rounds: u32, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order = Vec::with_capacity(cells * rounds as usize);
    let mut round: Vec<usize> = (0..cells).collect();
    for _ in 0..rounds {
        round.shuffle(&mut rng);
        order.extend_from_slice(&round);
    }
    order
}

/// A round of these cells that is added to an experiment, its `number` counted from 1 with the planned ones. It depends
/// on seed, number and cells alone.
#[must_use]
pub fn round(mut cells: Vec<usize>, seed: u64, number: u32) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A stream of its own, which stream 0, the planned rounds', never meets.
    rng.set_stream(u64::from(number));
    cells.shuffle(&mut rng);
    cells
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{order, round};

    #[test]
    fn an_added_round_depends_on_seed_and_number() {
        let cells = || (0..30).collect::<Vec<_>>();
        assert_eq!(round(cells(), 7, 4), round(cells(), 7, 4));
        assert_ne!(round(cells(), 7, 4), round(cells(), 7, 5));
        assert_ne!(round(cells(), 7, 4), round(cells(), 8, 4));
        let mut sorted = round(cells(), 7, 4);
        sorted.sort_unstable();
        assert_eq!(sorted, cells());
    }

    #[test]
    fn a_seed_means_one_order_for_ever() {
        // A recorded seed must give the recorded order in later versions too.
        assert_ne!(order(30, 2, 42), order(30, 2, 43));
        assert_eq!(order(6, 2, 42), [2, 1, 5, 4, 3, 0, 2, 3, 5, 4, 1, 0]);
    }

    proptest! {
        #[test]
        fn each_round_holds_every_cell_once(cells in 1usize..60, rounds in 1u32..6, seed: u64) {
            for round in order(cells, rounds, seed).chunks(cells) {
                let mut sorted = round.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..cells).collect::<Vec<_>>());
            }
        }
    }
}
