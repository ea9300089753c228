//! Where a processor expects branches to go.
//!
//! Conditional branches: gshare (McFarling, "Combining Branch Predictors", DEC WRL TN-36, 1993). Indirect ones: the last target
//! under the path that led there (Chang, Hao and Patt, "Target Prediction for Indirect Jumps", ISCA 1997). Returns: a stack.

/// Entries of each table, as a shift.
const BITS: u32 = 14;
/// Return addresses that are remembered.
const DEPTH: usize = 16;

/// The predictors.
#[derive(Debug)]
pub(super) struct Predictor {
    /// Two-bit counters.
    taken: Vec<u8>,
    /// Outcomes of the last conditional branches, the latest lowest.
    history: u64,
    targets: Vec<u64>,
    /// The last targets of indirect branches, mixed.
    path: u64,
    returns: [u64; DEPTH],
    top: usize,
}

impl Predictor {
    pub(super) fn new() -> Self {
        Self {
            taken: vec![1; 1 << BITS],
            history: 0,
            targets: vec![0; 1 << BITS],
            path: 0,
            returns: [0; DEPTH],
            top: 0,
        }
    }

    /// Whether a conditional branch was foreseen.
    pub(super) fn conditional(&mut self, at: u64, taken: bool) -> bool {
        let index = (at ^ at >> BITS ^ self.history) as usize & ((1 << BITS) - 1);
        self.history = self.history << 1 | u64::from(taken);
        let Some(counter) = self.taken.get_mut(index) else { return false };
        let expected = *counter >= 2;
        *counter = if taken { (*counter + 1).min(3) } else { counter.saturating_sub(1) };
        expected == taken
    }

    /// Whether the target of an indirect branch was foreseen.
    pub(super) fn indirect(&mut self, at: u64, target: u64) -> bool {
        let index = (at ^ at >> BITS ^ self.path) as usize & ((1 << BITS) - 1);
        self.path = self.path << 4 ^ target >> 2 ^ target;
        self.targets.get_mut(index).is_some_and(|expected| std::mem::replace(expected, target) == target)
    }

    /// A call, after which the next return is expected at `next`.
    pub(super) fn call(&mut self, next: u64) {
        self.top = (self.top + 1) % DEPTH;
        self.returns[self.top] = next;
    }

    /// Whether the target of a return was foreseen.
    pub(super) fn returned(&mut self, target: u64) -> bool {
        let expected = self.returns[self.top];
        self.top = (self.top + DEPTH - 1) % DEPTH;
        expected == target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_learnt() {
        let mut predictor = Predictor::new();
        let mut missed = |i: u64| usize::from(!predictor.conditional(0x40, i.is_multiple_of(3)));
        let first: usize = (0..300).map(&mut missed).sum();
        let later: usize = (300..600).map(&mut missed).sum();
        assert!(first > 0 && later == 0, "{first} {later}");
    }

    #[test]
    fn returns_go_back_to_their_calls() {
        let mut predictor = Predictor::new();
        for next in 0..10 {
            predictor.call(next);
        }
        assert!((0..10).rev().all(|target| predictor.returned(target)));
        for next in 0..20 {
            predictor.call(next);
        }
        let found = (0..20).rev().filter(|&target| predictor.returned(target)).count();
        assert_eq!(found, DEPTH, "no more are remembered");
    }

    #[test]
    fn an_indirect_branch_that_alternates_is_learnt_by_its_path() {
        let mut predictor = Predictor::new();
        let mut missed = |i: u64| usize::from(!predictor.indirect(0x80, 0x1000 + i % 2 * 0x100));
        let first: usize = (0..100).map(&mut missed).sum();
        let later: usize = (100..200).map(&mut missed).sum();
        assert!(first > 0 && later == 0, "{first} {later}");
    }
}
