//! Whether two samples come from one distribution.
//!
//! Source: Mann and Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other",
//! Annals of Mathematical Statistics 18(1), 1947. Several pairs of samples at a time: van Elteren, "On the combination of
//! independent two-sample tests of Wilcoxon", Bulletin of the International Statistical Institute 37, 1960, here with the
//! same weight for each.

use statrs::distribution::{ContinuousCDF, Normal};

/// Most observations, of both samples together, whose null distribution is computed exactly: with more, the normal
/// approximation is within 0.003 of it.
const MOST_EXACT: usize = 40;

/// What is held against the hypothesis that both samples come from one distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// They differ, either way.
    TwoSided,
    /// The first tends to be smaller.
    Less,
    /// The first tends to be larger.
    Greater,
}

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// U of the first sample: the pairs in which its observation is the larger one; a tie counts half.
    pub u: f64,
    /// The probability of a U at least as far from the middle, if there is no difference.
    pub p: f64,
    /// Whether that is exact: few observations and no ties.
    pub exact: bool,
}

/// The Mann-Whitney U test, `None` where a sample is empty or holds what is no number.
///
/// Without ties and with up to 40 observations the p-value is exact; else it comes from the normal distribution, with the
/// variance corrected for ties and 1/2 for continuity.
#[must_use]
pub fn mann_whitney(first: &[f64], second: &[f64], alternative: Alternative) -> Option<MannWhitney> {
    mann_whitney_stratified(&[(first, second)], alternative)
}

/// The same test of several pairs of samples, such as the times of several workloads: is the first side larger throughout?
/// U is the sum over the pairs; observations of different pairs are never compared.
#[must_use]
pub fn mann_whitney_stratified(pairs: &[(&[f64], &[f64])], alternative: Alternative) -> Option<MannWhitney> {
    let strata: Vec<Stratum> = pairs.iter().map(|(first, second)| Stratum::of(first, second)).collect::<Option<_>>()?;
    if strata.is_empty() {
        return None;
    }
    let u = strata.iter().map(|s| s.u).sum();
    let exact = strata.iter().all(Stratum::is_exact);
    let (less, greater) = if exact { exact_tails(&strata, u) } else { normal_tails(&strata, u) };
    let p = match alternative {
        Alternative::Less => less,
        Alternative::Greater => greater,
        Alternative::TwoSided => 2.0 * less.min(greater),
    };
    Some(MannWhitney { u, p: p.clamp(0.0, 1.0), exact })
}

/// Runs of each side from which on two samples can differ with a two-sided p-value below `level`, a positive number: the
/// least that n and n have is `2 / C(2n, n)`, where all of one side are larger.
#[must_use]
pub fn fewest_runs(level: f64) -> usize {
    let mut ways = 1.0;
    let mut n: u32 = 0;
    while 2.0 / ways >= level && ways.is_finite() {
        // C(2n + 2, n + 1) from C(2n, n).
        ways *= f64::from(2 * (2 * n + 1)) / f64::from(n + 1);
        n += 1;
    }
    n as usize
}

/// One pair of samples.
struct Stratum {
    first: usize,
    second: usize,
    u: f64,
    /// Sum of t^3 - t over the groups of t equal observations.
    ties: f64,
}

impl Stratum {
    fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        if first.is_empty() || second.is_empty() || first.iter().chain(second).any(|x| x.is_nan()) {
            return None;
        }
        let mut all: Vec<(f64, bool)> =
            first.iter().map(|&x| (x, true)).chain(second.iter().map(|&x| (x, false))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut u, mut ties, mut below) = (0.0, 0.0, 0.0);
        for group in all.chunk_by(|a, b| a.0 == b.0) {
            let ours = group.iter().filter(|(_, ours)| *ours).count() as f64;
            let theirs = group.len() as f64 - ours;
            u += ours * (below + theirs / 2.0);
            below += theirs;
            let t = group.len() as f64;
            ties += t * t * t - t;
        }
        Some(Self { first: first.len(), second: second.len(), u, ties })
    }

    fn is_exact(&self) -> bool {
        self.ties == 0.0 && self.first + self.second <= MOST_EXACT
    }

    fn mean(&self) -> f64 {
        self.first as f64 * self.second as f64 / 2.0
    }

    /// Of U under the null hypothesis, with the correction for ties.
    fn variance(&self) -> f64 {
        let (m, n) = (self.first as f64, self.second as f64);
        let all = m + n;
        if all < 2.0 {
            return 0.0;
        }
        m * n / 12.0 * ((all + 1.0) - self.ties / (all * (all - 1.0)))
    }

    /// The probability of each U from 0 to mn under the null hypothesis.
    fn distribution(&self) -> Vec<f64> {
        let counts = counts(self.first, self.second);
        let all: f64 = counts.iter().sum();
        counts.into_iter().map(|ways| ways / all).collect()
    }
}

/// In how many of the orders of m and n observations U is 0, 1, ..., mn. The largest observation is one of the m, which is
/// above all n of the others, or one of the n: `ways(m, n, u) = ways(m - 1, n, u - n) + ways(m, n - 1, u)` (Mann and
/// Whitney, section 3). Exact in an `f64` up to 56 observations.
fn counts(m: usize, n: usize) -> Vec<f64> {
    // Row by row: ways(i, 0..=n) from ways(i - 1, 0..=n).
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for i in 1..=m {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=n {
            let mut ways = vec![0.0; i * j + 1];
            for (u, &w) in row[j].iter().enumerate() {
                ways[u + j] += w;
            }
            for (u, &w) in next[j - 1].iter().enumerate() {
                ways[u] += w;
            }
            next.push(ways);
        }
        row = next;
    }
    row.pop().unwrap_or_default()
}

/// The probability of a U of at most, and of at least, this one.
fn exact_tails(strata: &[Stratum], u: f64) -> (f64, f64) {
    let mut sum = vec![1.0];
    for stratum in strata {
        let one = stratum.distribution();
        let mut convolved = vec![0.0; sum.len() + one.len() - 1];
        for (i, a) in sum.iter().enumerate() {
            for (j, b) in one.iter().enumerate() {
                convolved[i + j] += a * b;
            }
        }
        sum = convolved;
    }
    // Without ties U is a whole number, so that the cast is exact.
    let at = (u as usize).min(sum.len() - 1);
    (sum[..=at].iter().sum(), sum[at..].iter().sum())
}

/// The same by the normal distribution.
fn normal_tails(strata: &[Stratum], u: f64) -> (f64, f64) {
    let mean: f64 = strata.iter().map(Stratum::mean).sum();
    let deviation = strata.iter().map(Stratum::variance).sum::<f64>().max(0.0).sqrt();
    match Normal::new(mean, deviation) {
        // Half a step for continuity, towards the middle.
        Ok(normal) if deviation > 0.0 => (normal.cdf(u + 0.5), normal.sf(u - 0.5)),
        // All observations are equal.
        _ => (1.0, 1.0),
    }
}

#[cfg(test)]
mod tests;
