//! Many tests at a time.

/// Holm's step-down adjustment: p-values, in the order given, that may each be held against one level.
///
/// With k of them in ascending order, the i-th becomes the largest of `(k - j + 1) p_j` for j up to i, at most 1. Calling
/// significant what is below a level then calls one or more wrongly with at most that probability, whatever hangs together
/// among the tests (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics
/// 6(2), 1979). It finds everything that Bonferroni's correction finds, and more.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        largest = largest.max((left * p_values[at]).min(1.0));
        adjusted[at] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_r_has_it() {
        // p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.2]), [0.2], "one test needs no adjustment");
    }

    fn p_values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.0..=1.0f64, 1..40)
    }

    proptest! {
        #[test]
        fn never_below_the_raw_value_nor_above_bonferroni(raw in p_values()) {
            let k = raw.len() as f64;
            for (adjusted, p) in holm(&raw).into_iter().zip(&raw) {
                prop_assert!(adjusted >= *p && adjusted <= (k * p).min(1.0), "{adjusted} {p}");
            }
        }

        #[test]
        fn the_order_of_p_values_is_kept(raw in p_values()) {
            let adjusted = holm(&raw);
            for (a, p) in adjusted.iter().zip(&raw) {
                for (b, q) in adjusted.iter().zip(&raw) {
                    prop_assert!(p > q || a <= b, "{p} {q} became {a} {b}");
                }
            }
        }
    }
}
