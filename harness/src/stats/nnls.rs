//! Least squares with coefficients that are not negative.

/// The `x >= 0` that makes `|A x - b|² + ridge |D x|²` least, where D has the lengths of A's columns: the active-set method of Lawson and
/// Hanson, "Solving Least Squares Problems", 1974, chapter 23 (algorithm NNLS).
///
/// `rows` are the rows of A, all as long as the first; `b` has a value for each. A small `ridge` (such as 1e-6) makes the answer
/// unique where columns depend on one another. Without rows there are no columns, and no answer.
#[must_use]
pub fn nnls(rows: &[Vec<f64>], b: &[f64], ridge: f64) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    let column = |j: usize| rows.iter().map(move |row| row.get(j).copied().unwrap_or(0.0));
    let lengths: Vec<f64> = (0..columns).map(|j| column(j).map(|v| v * v).sum::<f64>().sqrt()).collect();
    let scaled = |j: usize, v: f64| if lengths[j] > 0.0 { v / lengths[j] } else { 0.0 };
    let dot = |j: usize, other: &mut dyn Iterator<Item = f64>| column(j).zip(other).map(|(a, b)| a * b).sum::<f64>();
    let mut gram = vec![vec![0.0; columns]; columns];
    let mut right = vec![0.0; columns];
    for (j, row) in gram.iter_mut().enumerate() {
        for (k, entry) in row.iter_mut().enumerate() {
            *entry = scaled(j, scaled(k, dot(j, &mut column(k)))) + if j == k { ridge } else { 0.0 };
        }
    }
    for (j, entry) in right.iter_mut().enumerate() {
        *entry = scaled(j, dot(j, &mut b.iter().copied()));
    }
    let x = active_set(&gram, &right);
    x.iter().enumerate().map(|(j, &v)| scaled(j, v)).collect()
}

/// The `x >= 0` that makes `x' G x / 2 - x' h` least, for a G that is positive semidefinite.
fn active_set(gram: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let tolerance = 1e-12 * right.iter().fold(1.0_f64, |most, v| most.max(v.abs()));
    let mut x = vec![0.0; n];
    let mut free = vec![false; n];
    // Each round lowers the objective, so no set of free coefficients comes twice; rounding must not make it endless.
    for _ in 0..10 * n + 10 {
        let gradient = |j: usize| right[j] - gram[j].iter().zip(&x).map(|(g, v)| g * v).sum::<f64>();
        let steepest = (0..n).filter(|&j| !free[j] && gram[j][j] > 0.0).map(|j| (j, gradient(j)));
        let Some((j, slope)) = steepest.max_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        if slope <= tolerance {
            break;
        }
        free[j] = true;
        loop {
            let among: Vec<usize> = (0..n).filter(|&j| free[j]).collect();
            let solution = solve(gram, right, &among);
            let blocked = |i: usize| solution[i] <= 0.0;
            if !(0..among.len()).any(blocked) {
                x.fill(0.0);
                among.iter().zip(&solution).for_each(|(&j, &v)| x[j] = v);
                break;
            }
            // As far towards the solution as all stay positive; whoever reaches 0 is held there.
            let reach = (0..among.len()).filter(|&i| blocked(i)).map(|i| {
                let now = x[among[i]];
                if now > solution[i] { now / (now - solution[i]) } else { 0.0 }
            });
            let step = reach.fold(1.0_f64, f64::min);
            for (i, &j) in among.iter().enumerate() {
                x[j] += step * (solution[i] - x[j]);
                if blocked(i) && x[j] <= 1e-15 {
                    (x[j], free[j]) = (0.0, false);
                }
            }
        }
    }
    x
}

/// Solves `G x = h` for the coefficients in `among`, by Cholesky's decomposition.
fn solve(gram: &[Vec<f64>], right: &[f64], among: &[usize]) -> Vec<f64> {
    let n = among.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = gram[among[i]][among[j]] - sum;
            // A column that depends on those before it leaves nothing; a little keeps its coefficient finite.
            lower[i][j] = if i == j { rest.max(1e-14).sqrt() } else { rest / lower[j][j] };
        }
    }
    let mut y = vec![0.0; n];
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| lower[i][k] * y[k]).sum();
        y[i] = (right[among[i]] - sum) / lower[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| lower[k][i] * y[k]).sum();
        y[i] = (y[i] - sum) / lower[i][i];
    }
    y
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-8, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn known_solutions() {
        let rows = |all: &[[f64; 2]]| all.iter().map(|row| row.to_vec()).collect::<Vec<_>>();
        close(&nnls(&rows(&[[1.0, 0.0], [0.0, 1.0]]), &[2.0, 3.0], 0.0), &[2.0, 3.0]);
        close(&nnls(&rows(&[[1.0, 0.0], [0.0, 1.0]]), &[2.0, -3.0], 0.0), &[2.0, 0.0]);
        // Unconstrained it is (-1, 2). With the first held at 0, the second is the mean of 1 and 0.
        close(&nnls(&rows(&[[1.0, 1.0], [2.0, 1.0]]), &[1.0, 0.0], 0.0), &[0.0, 0.5]);
        close(&nnls(&rows(&[[0.0, 1.0], [0.0, 2.0]]), &[1.0, 2.0], 0.0), &[0.0, 1.0]);
        assert!(nnls(&[], &[], 0.0).is_empty());
    }

    #[test]
    fn columns_of_any_size_are_told_apart() {
        let rows: Vec<Vec<f64>> = (1..20).map(|i| vec![f64::from(i) * 1e9, f64::from(i * i), 1e-6]).collect();
        let truth = [3e-9, 0.5, 7e6];
        let b: Vec<f64> = rows.iter().map(|row| row.iter().zip(truth).map(|(a, x)| a * x).sum()).collect();
        let found = nnls(&rows, &b, 0.0);
        for (f, t) in found.iter().zip(truth) {
            assert!((f / t - 1.0).abs() < 1e-6, "{found:?}");
        }
    }

    proptest! {
        /// Karush, Kuhn and Tucker: x >= 0, the gradient is not negative, and one of the two is 0 in each place.
        #[test]
        fn no_neighbour_is_better(
            rows in proptest::collection::vec(proptest::collection::vec(-5.0..5.0_f64, 6), 1..12),
            seed in proptest::collection::vec(-9.0..9.0_f64, 12),
            ridge in prop_oneof![Just(1e-9), Just(1e-3)],
        ) {
            let b = &seed[..rows.len()];
            let x = nnls(&rows, b, ridge);
            prop_assert!(x.iter().all(|v| *v >= 0.0 && v.is_finite()), "{:?}", x);
            let rest: Vec<f64> =
                rows.iter().zip(b).map(|(row, b)| row.iter().zip(&x).map(|(a, x)| a * x).sum::<f64>() - b).collect();
            for j in 0..6 {
                let length: f64 = rows.iter().map(|row| row[j] * row[j]).sum();
                if length < 1e-6 {
                    continue;
                }
                let gradient = rows.iter().zip(&rest).map(|(row, r)| row[j] * r).sum::<f64>() + ridge * length * x[j];
                let scaled = gradient / length.sqrt();
                prop_assert!(scaled > -1e-5, "place {j}: {scaled} at {x:?}");
                prop_assert!(x[j] < 1e-9 || scaled.abs() < 1e-5, "place {j}: {scaled} at {x:?}");
            }
        }

        #[test]
        fn a_truth_without_noise_is_found(truth in proptest::collection::vec(0.0..10.0_f64, 4)) {
            // Rows of a matrix of full rank.
            let rows: Vec<Vec<f64>> =
                (1..12_i32).map(|i| (0..4).map(|j| f64::from(i).powi(j) / f64::from(1 + i % 5)).collect()).collect();
            let b: Vec<f64> = rows.iter().map(|row| row.iter().zip(&truth).map(|(a, x)| a * x).sum()).collect();
            let found = nnls(&rows, &b, 0.0);
            for (f, t) in found.iter().zip(&truth) {
                prop_assert!((f - t).abs() < 1e-3 * (1.0 + t), "{found:?} {truth:?}");
            }
        }
    }
}
