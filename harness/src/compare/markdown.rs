//! A comparison for `$GITHUB_STEP_SUMMARY` and other readers of Markdown.

use std::fmt::Write;

use super::basis::Basis;
use super::cells::{Compared, Comparison};

/// A table of what differs, and a line on what does not.
#[must_use]
pub fn to_markdown(comparison: &Comparison) -> String {
    let mut text = String::from("## evlab compare\n\n");
    // Writing to a String cannot fail.
    let _ = write!(text, "{}\n\n", sentence(comparison));
    let _ = writeln!(text, "| engine | workload | new / old | interval | verdict |\n|---|---|---|---|---|");
    for cell in comparison.means.iter().chain(&comparison.cells) {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {} | {} |",
            cell.engine,
            escaped(&cell.workload),
            cell.ratio,
            interval(cell),
            cell.verdict
        );
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
        "{what}, new over old; within {:.0}% counts as the same; intervals of {:.2}% each, so that all hold with 95%.",
        comparison.threshold * 100.0,
        comparison.level * 100.0
    )
}

/// The interval of a ratio.
#[must_use]
pub fn interval(cell: &Compared) -> String {
    match (cell.ratio_low, cell.ratio_high) {
        (Some(low), Some(high)) => format!("{low:.3} to {high:.3}"),
        _ => "fewer than 3 runs".to_owned(),
    }
}

/// Text of a results folder, which may be anybody's.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('`', "'")
}
