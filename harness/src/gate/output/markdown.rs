//! For people: the answer, then what differs, then every comparison folded away.

use std::fmt::Write;

use super::super::judge::Judged;
use super::super::report::Report;
use crate::markdown::escaped;

/// The report as Markdown.
#[must_use]
pub fn to_markdown(report: &Report) -> String {
    let mut text = format!("## evlab gate: {}\n\n", report.verdict.name());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}. Held against {}.\n", report.sentence(), escaped(&report.against));
    for failure in &report.failures {
        let (build, engine) = (&failure.build, failure.engine);
        let _ = writeln!(
            text,
            "- **failed** ({build}): {} on {engine}: {}",
            escaped(&failure.workload),
            escaped(&failure.message)
        );
    }
    if !report.deviations.is_empty() {
        text.push_str("\n| engine | workload | exact value | base | head |\n|---|---|---|---|---|\n");
        for deviation in &report.deviations {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                deviation.engine,
                escaped(&deviation.workload),
                escaped(&deviation.what),
                escaped(&deviation.base),
                escaped(&deviation.head)
            );
        }
    }
    let notable: Vec<&Judged> = report.notable().collect();
    if !notable.is_empty() {
        text.push('\n');
        table(&mut text, &notable);
    }
    if !report.times.is_empty() {
        let all: Vec<&Judged> = report.times.iter().collect();
        let _ = writeln!(text, "\n<details><summary>All {} comparisons of times</summary>\n", all.len());
        table(&mut text, &all);
        text.push_str("\n</details>\n");
    }
    for note in &report.notes {
        let _ = writeln!(text, "\n{}.", escaped(note));
    }
    let _ = writeln!(
        text,
        "\n{} runs in {:.0} s, seed {}, {}.\n",
        report.runs, report.seconds, report.seed, report.tool.version
    );
    text
}

fn table(text: &mut String, times: &[&Judged]) {
    text.push_str(
        "| engine | workload | head / base | interval | may grow to | standing |\n|---|---|---|---|---|---|\n",
    );
    for judged in times {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {:.3} to {:.3} | {:.2} | {} |",
            judged.engine,
            escaped(&judged.workload),
            judged.ratio,
            judged.low,
            judged.high,
            1.0 + judged.threshold,
            judged.standing.name()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::to_markdown;

    #[test]
    fn the_answer_comes_first_and_nothing_breaks_the_table() {
        insta::assert_snapshot!(to_markdown(&failed()));
    }
}
