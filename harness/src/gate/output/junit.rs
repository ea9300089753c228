//! JUnit XML, which CI systems show as tests: one case for each cell's counts and for each comparison of times.
//!
//! Source: the schema of the Jenkins xUnit plugin, junit-10.xsd.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::judge::Standing;
use super::super::report::Report;

/// The report as JUnit XML.
#[must_use]
pub fn to_junit(report: &Report) -> String {
    let mut cases = Vec::new();
    let mut deviations: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for deviation in &report.deviations {
        let lines = deviations.entry((deviation.engine.name(), &deviation.workload)).or_default();
        lines.push(format!("{}: {} became {}", deviation.what, deviation.base, deviation.head));
    }
    for ((engine, workload), lines) in deviations {
        cases.push(Case {
            class: format!("exact.{engine}"),
            name: workload.to_owned(),
            outcome: Outcome::Failure(lines.join("; ")),
        });
    }
    for failure in &report.failures {
        cases.push(Case {
            class: format!("run.{}.{}", failure.build, failure.engine),
            name: failure.workload.clone(),
            outcome: Outcome::Error(failure.message.clone()),
        });
    }
    cases.push(Case {
        class: "exact".to_owned(),
        name: format!("{} cells counted", report.counted),
        outcome: Outcome::Success,
    });
    for judged in &report.times {
        let text = format!(
            "head / base {:.3}, interval {:.3} to {:.3}, may grow to {:.2}",
            judged.ratio,
            judged.low,
            judged.high,
            1.0 + judged.threshold
        );
        let outcome = match judged.standing {
            Standing::Slower => Outcome::Failure(text),
            Standing::Inconclusive => Outcome::Skipped(format!("inconclusive: {text}")),
            Standing::Fine | Standing::Suspect | Standing::Faster | Standing::Cleared => Outcome::Success,
        };
        cases.push(Case { class: format!("time.{}", judged.engine), name: judged.workload.clone(), outcome });
    }
    suite(&cases, report.seconds)
}

struct Case {
    class: String,
    name: String,
    outcome: Outcome,
}

enum Outcome {
    Success,
    Failure(String),
    Error(String),
    Skipped(String),
}

fn suite(cases: &[Case], seconds: f64) -> String {
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<testsuite name=\"evlab gate\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">",
        cases.len(),
        count(|outcome| matches!(outcome, Outcome::Failure(_))),
        count(|outcome| matches!(outcome, Outcome::Error(_))),
        count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    );
    for case in cases {
        let _ = write!(text, "  <testcase classname=\"{}\" name=\"{}\"", escaped(&case.class), escaped(&case.name));
        let _ = match &case.outcome {
            Outcome::Success => writeln!(text, "/>"),
            Outcome::Failure(message) => writeln!(text, "><failure message=\"{}\"/></testcase>", escaped(message)),
            Outcome::Error(message) => writeln!(text, "><error message=\"{}\"/></testcase>", escaped(message)),
            Outcome::Skipped(message) => writeln!(text, "><skipped message=\"{}\"/></testcase>", escaped(message)),
        };
    }
    text.push_str("</testsuite>\n");
    text
}

/// Text inside an attribute. Characters that XML has no place for are dropped.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | '\r' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::{escaped, to_junit};

    #[test]
    fn every_comparison_is_a_test() {
        insta::assert_snapshot!(to_junit(&failed()));
    }

    #[test]
    fn nothing_leaves_an_attribute() {
        assert_eq!(escaped("a<b>&\"c\"\n\u{0}\u{1b}[0m"), "a&lt;b&gt;&amp;&quot;c&quot; [0m");
    }
}
