use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn two_sided(first: &[f64], second: &[f64]) -> MannWhitney {
    mann_whitney(first, second, Alternative::TwoSided).expect("two samples")
}

fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() < within, "{found} instead of {expected}");
}

#[test]
fn samples_that_are_none_have_no_test() {
    for (first, second) in [(&[][..], &[1.0][..]), (&[1.0], &[]), (&[f64::NAN], &[1.0])] {
        assert_eq!(mann_whitney(first, second, Alternative::TwoSided), None);
    }
    assert_eq!(mann_whitney_stratified(&[], Alternative::Less), None);
}

#[test]
fn the_distribution_of_the_paper() {
    // Mann and Whitney 1947, table I, n = 3: P(U <= u) for m = 3.
    let counts = counts(3, 3);
    assert_eq!(counts, [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 2.0, 1.0, 1.0]);
    // 20 and 20 observations have C(40, 20) orders.
    assert_eq!(super::counts(20, 20).iter().sum::<f64>(), 137_846_528_820.0);
}

#[test]
fn textbook_examples() {
    // R's help page of wilcox.test, from Hollander and Wolfe, "Nonparametric Statistical Methods", 1973, page 69: the
    // permeability of the human chorioamnion. W = 35, one-sided p-value 0.1272.
    let at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
    let earlier = [1.15, 0.88, 0.90, 0.74, 1.21];
    let found = mann_whitney(&at_term, &earlier, Alternative::Greater).expect("two samples");
    assert!(found.exact);
    assert_eq!(found.u, 35.0);
    close(found.p, 0.1272, 5e-5);
    // Five against five, apart: 2 / C(10, 5).
    let found = two_sided(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]);
    assert_eq!((found.u, found.exact), (0.0, true));
    close(found.p, 2.0 / 252.0, 1e-12);
}

#[test]
fn ties_take_the_normal_distribution() {
    // By hand: U = 2.5 of 16; variance 16/12 (9 - (24 + 6)/56) = 11.2857; z = -(8 - 2.5 - 0.5)/3.3594 = -1.4884.
    let found = two_sided(&[1.0, 2.0, 2.0, 3.0], &[2.0, 3.0, 4.0, 5.0]);
    assert!(!found.exact);
    assert_eq!(found.u, 2.5);
    close(found.p, 0.13666, 5e-5);
    let equal = two_sided(&[3.0; 5], &[3.0; 5]);
    assert_eq!((equal.p, equal.exact), (1.0, false));
}

#[test]
fn the_approximation_meets_the_exact_values_where_it_takes_over() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..50 {
        let mut draw = |shift: f64| -> Vec<f64> { (0..20).map(|_| rng.random_range(0.0..1.0) + shift).collect() };
        let (first, second) = (draw(0.0), draw(0.1));
        let strata = [Stratum::of(&first, &second).expect("two samples")];
        let (exact, normal) = (exact_tails(&strata, strata[0].u), normal_tails(&strata, strata[0].u));
        close(normal.0, exact.0, 0.003);
        close(normal.1, exact.1, 0.003);
    }
}

#[test]
fn how_many_runs_a_level_takes() {
    assert_eq!(fewest_runs(0.05), 4, "2 / 70");
    assert_eq!(fewest_runs(0.01), 5, "2 / 252");
    assert_eq!(fewest_runs(0.05 / 90.0), 8, "2 / 12870");
    for n in 1..30 {
        let counts = super::counts(n, n);
        let least = 2.0 / counts.iter().sum::<f64>();
        assert_eq!(fewest_runs(least * 1.0001), n, "{n}");
    }
    assert!(fewest_runs(0.0) > 0, "it ends");
}

#[test]
fn small_differences_add_up_over_pairs() {
    // One against one says nothing; in one direction throughout ten pairs it does: 2 / 2^10.
    let pairs: Vec<(Vec<f64>, Vec<f64>)> = (0..10).map(|i| (vec![f64::from(i)], vec![f64::from(i) + 0.1])).collect();
    let pairs: Vec<(&[f64], &[f64])> = pairs.iter().map(|(a, b)| (a.as_slice(), b.as_slice())).collect();
    let found = mann_whitney_stratified(&pairs, Alternative::TwoSided).expect("pairs");
    close(found.p, 2.0 / 1024.0, 1e-12);
    assert_eq!(found.u, 0.0);
}

/// The share of p-values below 0.05 in that many experiments without any difference.
fn false_alarms(experiments: u32, (m, n): (usize, usize), steps: u32) -> u32 {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut draw = |count: usize| -> Vec<f64> { (0..count).map(|_| f64::from(rng.random_range(0..steps))).collect() };
    (0..experiments).map(|_| u32::from(two_sided(&draw(m), &draw(n)).p < 0.05)).sum()
}

#[test]
fn without_a_difference_one_in_twenty_is_significant() {
    // 0.05 and four standard deviations of a binomial distribution, sqrt(4000 * 0.05 * 0.95) = 13.8, both ways. Exact
    // tests reach a little less than their level, as U has steps.
    let few = false_alarms(4000, (12, 12), u32::MAX);
    assert!((145..=255).contains(&few), "{few} of 4000");
    let many = false_alarms(4000, (30, 30), u32::MAX);
    assert!((145..=255).contains(&many), "{many} of 4000");
    let tied = false_alarms(4000, (15, 15), 8);
    assert!((145..=255).contains(&tied), "{tied} of 4000");
}

/// P(U <= u) and P(U >= u) over every way to choose the first sample among all observations.
fn by_force(first: &[f64], second: &[f64]) -> (f64, f64) {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let u_of = |chosen: u32| -> f64 {
        let side = |ours: bool| all.iter().enumerate().filter(move |(i, _)| (chosen >> i & 1 == 1) == ours);
        let wins = |x: f64| side(false).filter(|(_, y)| x > **y).count() as f64;
        side(true).map(|(_, x)| wins(*x)).sum()
    };
    let observed = u_of((1 << first.len()) - 1);
    let (mut ways, mut less, mut greater) = (0.0, 0.0, 0.0);
    for chosen in (0..1u32 << all.len()).filter(|chosen| chosen.count_ones() as usize == first.len()) {
        let u = u_of(chosen);
        ways += 1.0;
        less += f64::from(u32::from(u <= observed));
        greater += f64::from(u32::from(u >= observed));
    }
    (less / ways, greater / ways)
}

fn sample() -> impl Strategy<Value = Vec<f64>> {
    // Few different values, so that there are ties.
    prop::collection::vec((0u32..12).prop_map(f64::from), 1..15)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_values_are_those_of_all_permutations(
        all in prop::collection::hash_set(0u32..1_000_000, 2..11), at in 1usize..10,
    ) {
        let all: Vec<f64> = all.into_iter().map(f64::from).collect();
        let (first, second) = all.split_at(at.min(all.len() - 1));
        let (less, greater) = by_force(first, second);
        let of = |alternative| mann_whitney(first, second, alternative).expect("two samples").p;
        prop_assert!((of(Alternative::Less) - less).abs() < 1e-12);
        prop_assert!((of(Alternative::Greater) - greater).abs() < 1e-12);
        prop_assert!((of(Alternative::TwoSided) - (2.0 * less.min(greater)).min(1.0)).abs() < 1e-12);
    }

    #[test]
    fn p_is_a_probability_and_sides_can_be_swapped(a in sample(), b in sample()) {
        let (one, two) = (two_sided(&a, &b), two_sided(&b, &a));
        prop_assert!((0.0..=1.0).contains(&one.p));
        prop_assert!((one.p - two.p).abs() < 1e-12, "{one:?} {two:?}");
        prop_assert_eq!(one.u + two.u, (a.len() * b.len()) as f64);
        let less = mann_whitney(&a, &b, Alternative::Less).expect("two samples").p;
        let greater = mann_whitney(&b, &a, Alternative::Greater).expect("two samples").p;
        prop_assert!((less - greater).abs() < 1e-12);
    }

    #[test]
    fn only_the_order_matters(a in sample(), b in sample()) {
        let cubed = |s: &[f64]| s.iter().map(|x| x * x * x + 5.0).collect::<Vec<_>>();
        prop_assert_eq!(two_sided(&a, &b), two_sided(&cubed(&a), &cubed(&b)));
    }
}
