//! A comparison for `$GITHUB_STEP_SUMMARY` and other readers of Markdown.

use std::fmt::Write;

use super::basis::Basis;
use super::cells::{Compared, Comparison};
use super::evidence::ALPHA;
use crate::markdown::escaped;

/// A table of what differs, and a line on what does not.
#[must_use]
pub fn to_markdown(comparison: &Comparison) -> String {
    let mut text = String::from("## evlab compare\n\n");
    // Writing to a String cannot fail.
    let _ = write!(text, "{}\n\n", sentence(comparison));
    let _ =
        writeln!(text, "| engine | workload | new / old | interval | p (Holm) | verdict |\n|---|---|---|---|---|---|");
    for cell in comparison.means.iter().chain(&comparison.cells) {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {} | {} | {} |",
            cell.engine,
            escaped(&cell.workload),
            cell.ratio,
            interval(cell),
            escaped(&p_value(cell)),
            verdict(cell)
        );
    }
    if let Some(shortage) = shortage(comparison) {
        let _ = writeln!(text, "\n{shortage}");
    }
    for change in &comparison.changes {
        let _ = writeln!(
            text,
            "\n- `{}` of {} on {}: {} became {}",
            change.counter,
            escaped(&change.workload),
            change.engine,
            change.old,
            change.new
        );
    }
    for mismatch in &comparison.mismatches {
        let _ = writeln!(text, "\n- **wrong result**: {}", escaped(mismatch));
    }
    text
}

/// What is compared, in one sentence.
#[must_use]
pub fn sentence(comparison: &Comparison) -> String {
    let what = match comparison.basis {
        Basis::Times => "Times".to_owned(),
        Basis::Ratios(engine) => format!("Times as multiples of {engine}'s (the hosts differ)"),
    };
    format!(
        "{what}, new over old; within {:.0}% counts as the same; intervals of nominal {:.2}% each; faster and slower only \
         where the Mann-Whitney test, corrected for {} comparisons, has p below {ALPHA}.",
        comparison.threshold * 100.0,
        comparison.level * 100.0,
        comparison.comparisons
    )
}

/// How many runs would be needed, in one sentence, where cells that seem to differ have too few.
#[must_use]
pub fn shortage(comparison: &Comparison) -> Option<String> {
    let (short, k, runs) = (comparison.short_of_runs(), comparison.comparisons, comparison.runs_needed);
    let (cells, have) = if short == 1 { ("cell differs", "it has") } else { ("cells differ", "they have") };
    (short > 0).then(|| {
        format!(
            "{short} {cells} by the interval alone: among {k} comparisons chance is ruled out from {runs} runs on each side \
             on, and {have} fewer; measure with --runs {runs}, or compare fewer with --engines."
        )
    })
}

/// The verdict on a cell, with what its interval alone says where that was not confirmed.
#[must_use]
pub fn verdict(cell: &Compared) -> String {
    match cell.suspected {
        Some(suspected) => format!("{} ({suspected}?)", cell.verdict),
        None => cell.verdict.to_string(),
    }
}

/// The adjusted p-value of a cell.
#[must_use]
pub fn p_value(cell: &Compared) -> String {
    match cell.p_adjusted {
        Some(p) if p < 0.001 => "<0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
        None => "-".to_owned(),
    }
}

/// The interval of a ratio.
#[must_use]
pub fn interval(cell: &Compared) -> String {
    match (cell.ratio_low, cell.ratio_high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => "fewer than 3 runs".to_owned(),
    }
}
