//! What a gate can tell on a host, from rounds of one build that were measured there.
//!
//! The rounds are cut into a baseline, a first and a second measurement in many ways, always of consecutive rounds, so that
//! the slow and fast phases of the host stay together; each cut is a gate of a build against itself. Had the build become
//! slower by a factor, each ratio and its interval would be larger by it: so every cut also says from which factor on that
//! gate would have failed, and the quantiles of these factors are the effects that are noticed with a given power.

use serde::{Deserialize, Serialize};

use super::judge::{Judge, Judged, Sides, Standing, Subject};
use super::plan::Plan;
use super::rules::Rules;
use super::samples::Samples;
use crate::model::Setup;
use crate::stats::{Bootstrap, quantile};

/// What one comparison can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    /// The engine.
    pub engine: Setup,
    /// The workload with its arguments, or what a mean is over.
    pub workload: String,
    /// So many times slower, and four of five gates notice it.
    pub power_80: f64,
    /// So many times slower, and nineteen of twenty gates notice it.
    pub power_95: f64,
    /// Half the width of the 95% interval of its ratio over all rounds, as a part of the ratio; of cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
}

/// What a gate can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Gates of the build against itself that were made of the rounds.
    pub gates: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that could not tell.
    pub inconclusive: usize,
    /// Each comparison, means first.
    pub subjects: Vec<Detectable>,
}

/// Fewest rounds that can be cut.
#[must_use]
pub const fn fewest(rules: &Rules) -> u32 {
    rules.runs + 2 * rules.rerun
}

/// A gate, cut out of rounds.
struct Cut {
    base: Samples,
    first: Samples,
    second: Samples,
}

/// What gates by these rules can tell, by at least [`fewest`] rounds of one build.
#[must_use]
pub fn power(plan: &Plan, samples: &Samples, rules: Rules, seed: u64) -> Power {
    let judge = Judge { plan, rules, by_reference: true, seed };
    let subjects = judge.subjects();
    let cuts = cuts(plan, samples, &rules);
    let mut least: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    let (mut failed, mut inconclusive) = (0, 0);
    for cut in &cuts {
        let standings = judge_cut(&judge, &subjects, cut, &mut least);
        let has = |standing| standings.contains(&standing);
        failed += usize::from(has(Standing::Slower));
        inconclusive += usize::from(!has(Standing::Slower) && has(Standing::Inconclusive));
    }
    let detectable = subjects
        .iter()
        .zip(least)
        .filter_map(|(&subject, mut least)| {
            least.sort_unstable_by(f64::total_cmp);
            let (engine, workload) = judge.names(subject);
            Some(Detectable {
                engine,
                workload,
                power_80: quantile(&least, 0.8)?,
                power_95: quantile(&least, 0.95)?,
                half_width: half_width(subject, samples, seed),
            })
        })
        .collect();
    Power { gates: cuts.len(), failed, inconclusive, subjects: detectable }
}

/// How a cut stands; adds to each subject from which factor on it would have failed.
fn judge_cut(judge: &Judge<'_>, subjects: &[Subject], cut: &Cut, least: &mut [Vec<f64>]) -> Vec<Standing> {
    let first = Sides { base: Some(&cut.base), head: &cut.first };
    let second = Sides { base: Some(&cut.base), head: &cut.second };
    let mut suspects: Vec<(Subject, Judged)> = Vec::new();
    for (&subject, least) in subjects.iter().zip(least) {
        let Some(screened) = judge.screen(subject, first) else { continue };
        least.extend(judge.least_noticed(subject, first, second));
        if screened.standing == Standing::Suspect {
            suspects.push((subject, screened));
        }
    }
    let count = suspects.len();
    suspects.iter().map(|(subject, first)| judge.confirm(first, *subject, second, count).standing).collect()
}

/// All cuts of the rounds, which are taken as a ring: the baseline before the measurements, and after them.
fn cuts(plan: &Plan, samples: &Samples, rules: &Rules) -> Vec<Cut> {
    let (runs, rerun) = (rules.runs as usize, rules.rerun as usize);
    let rounds = (0..plan.cells.len()).map(|cell| samples.get(cell).len()).max().unwrap_or(0);
    if rounds < runs + 2 * rerun {
        return Vec::new();
    }
    let piece = |from: usize, length: usize| {
        let of = |cell: usize| {
            let all = samples.get(cell);
            // A cell that lost runs has a shorter ring.
            (from..from + length).filter_map(|at| all.get(at % rounds).copied()).collect()
        };
        Samples::of((0..plan.cells.len()).map(of).collect())
    };
    (0..rounds)
        .flat_map(|at| {
            let before =
                Cut { base: piece(at, rerun), first: piece(at + rerun, runs), second: piece(at + rerun + runs, rerun) };
            let after =
                Cut { first: piece(at, runs), second: piece(at + runs, rerun), base: piece(at + runs + rerun, rerun) };
            [before, after]
        })
        .collect()
}

fn half_width(subject: Subject, samples: &Samples, seed: u64) -> Option<f64> {
    let Subject::Cell(cell) = subject else { return None };
    Bootstrap::new(seed).median(&format!("width/{cell}"), &samples.ratios(cell))?.relative_half_width()
}

/// Rounds until the half width is `precision`, if it is `half_width` after so many: it shrinks with their square root.
#[must_use]
pub fn rounds_for(precision: f64, half_width: f64, rounds: u32) -> u32 {
    (f64::from(rounds) * (half_width / precision).powi(2)).ceil().max(3.0) as u32
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::gate::plan::tests::plan;
    use crate::gate::samples::Sample;
    use crate::model::EngineId;

    /// Rounds whose ratios vary by so much to either side.
    fn rounds(plan: &Plan, count: usize, noise: f64) -> Samples {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut cell = |_| {
            let mut sample =
                || Sample { ns: 5e6 * (1.0 + rng.random_range(-noise..=noise)), against_ns: 1e6, yardstick_ns: None };
            (0..count).map(|_| sample()).collect()
        };
        Samples::of((0..plan.cells.len()).map(&mut cell).collect())
    }

    fn of(noise: f64) -> Power {
        let plan = plan(&[EngineId::Native, EngineId::EmuInterp], &["sieve", "fib", "qsort"]);
        power(&plan, &rounds(&plan, 60, noise), Rules::default(), 1)
    }

    #[test]
    fn less_noise_is_more_power() {
        let (quiet, loud) = (of(0.001), of(0.1));
        assert_eq!((quiet.gates, quiet.failed, quiet.inconclusive), (120, 0, 0));
        assert_eq!(quiet.subjects.len(), 4, "three cells and their mean");
        for (quiet, loud) in quiet.subjects.iter().zip(&loud.subjects) {
            let threshold = if quiet.half_width.is_none() { 1.02 } else { 1.15 };
            assert!(quiet.power_95 >= threshold && quiet.power_95 < threshold + 0.005, "{quiet:?}");
            assert!(loud.power_80 <= loud.power_95 && loud.power_95 > quiet.power_95 + 0.01, "{loud:?}");
        }
    }

    #[test]
    fn too_few_rounds_tell_nothing() {
        let plan = plan(&[EngineId::Native, EngineId::EmuInterp], &["sieve", "fib"]);
        let power = power(&plan, &rounds(&plan, 56, 0.1), Rules::default(), 1);
        assert_eq!((power.gates, power.subjects.len()), (0, 0));
        assert_eq!(fewest(&Rules::default()), 57);
    }

    #[test]
    fn twice_the_precision_takes_four_times_the_rounds() {
        assert_eq!(rounds_for(0.02, 0.04, 40), 160);
        assert_eq!(rounds_for(0.04, 0.04, 40), 40);
        assert_eq!(rounds_for(0.5, 0.04, 40), 3);
    }
}
