//! An ablation as a table for the terminal.

use comfy_table::Cell;

use super::Look;
use super::summary::Summary;
use super::terminal::{plain, styled, time};
use super::units;
use crate::ablation::{Analysis, Effect, Kind, Step};

/// Per workload and step the median time with its interval, the slowdown and what the step is worth; then what each is
/// worth over all programs.
pub(super) fn tables(analysis: &Analysis, summary: &Summary, look: Look) -> String {
    let mut table = styled(look, ["workload", "step", "n", "time (95% interval)", "slowdown", "worth (95% interval)"]);
    for workload in &summary.workloads {
        let mut name = plain(&workload.label);
        for row in analysis.rows.iter().filter(|r| r.workload == workload.label) {
            let step = &analysis.steps[row.step];
            let Some(cell) = summary.cell(step.engine, &workload.label) else { continue };
            if cell.n == 0 && cell.lost.is_empty() {
                continue;
            }
            let text = |estimate: Option<String>| Cell::new(estimate.unwrap_or("–".to_owned()));
            table.add_row([
                Cell::new(std::mem::take(&mut name)),
                Cell::new(&step.name),
                Cell::new(row.n),
                time(cell, row.median.as_ref()),
                text(row.slowdown.map(|s| units::ratio(s.value))),
                text(row.factor.map(|f| units::ratio_with_interval(&f))),
            ]);
        }
    }
    let mut out = format!("{table}\n");
    for (removed, title) in [
        (
            false,
            "What each step is worth: time before over time after, geometric mean over the programs (95% interval)",
        ),
        (true, "What its absence costs the full set: time without over time with, likewise"),
    ] {
        let steps = analysis.effects.iter().filter(|e| (analysis.steps[e.step].kind == Kind::Removed) == removed);
        let lines: Vec<String> = steps.map(|effect| line(effect, &analysis.steps[effect.step])).collect();
        if !lines.is_empty() {
            out.push_str(&format!("\n{title}\n{}", lines.concat()));
        }
    }
    out
}

fn line(effect: &Effect, step: &Step) -> String {
    let spread = if effect.workloads > 1 {
        let end = |(name, value): &(String, f64)| format!("{} {}", units::number(*value), plain(name));
        format!("  {} to {}", end(&effect.least), end(&effect.most))
    } else {
        String::new()
    };
    format!("  {:<30}{:<24}{spread}", step.name, units::ratio_with_interval(&effect.mean)).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::synthetic;
    use super::super::terminal::{Look, table};

    const LOOK: Look = Look { width: 110, colour: false };

    #[test]
    fn steps_and_their_worth_are_listed() {
        insta::assert_snapshot!(table(&synthetic::ablation(), LOOK));
    }

    #[test]
    fn a_failed_step_is_marked() {
        let mut experiment = synthetic::ablation();
        for run in experiment.runs.iter_mut().filter(|r| r.engine.name() == "emu-interp[mmu=walk]") {
            run.status = crate::model::Status::Failed;
            run.roi_guest_ns = None;
        }
        let text = table(&experiment, LOOK);
        assert!(text.contains("3 FAILED"), "{text}");
    }
}
