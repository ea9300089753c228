//! The summary as tables for the terminal.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::folder::Crowd;
use super::summary::{Point, summarize};
use crate::report::{Look, styled, units};
use crate::results::State;

/// Less overlap than this makes the figures doubtful.
const LITTLE_OVERLAP: f64 = 0.5;

/// The tables for standard output; see [`table`].
#[must_use]
pub fn crowd_table(crowd: &Crowd) -> String {
    table(crowd, Look::of_stdout())
}

/// Per engine and number of guests: first throughput and fairness, then what a guest costs; then what went wrong.
#[must_use]
pub fn table(crowd: &Crowd, look: Look) -> String {
    let points = summarize(&crowd.meta.plan, &crowd.rows);
    let mut out = String::new();
    if points.is_empty() {
        out.push_str("No round has ended well yet.\n");
    } else {
        push(&mut out, &speed(&points, look));
        push(&mut out, "");
        push(&mut out, &cost(&points, look));
        footer(&mut out, crowd, &points);
    }
    for warning in &crowd.warnings {
        push(&mut out, &format!("warning: {warning}"));
    }
    if crowd.meta.state != State::Complete {
        let how = if crowd.meta.state == State::Interrupted { "interrupted" } else { "unfinished" };
        push(&mut out, &format!("{how}: not all rounds were done"));
    }
    out
}

fn speed(points: &[Point], look: Look) -> String {
    let head =
        ["engine", "guests", "throughput (95% interval)", "of ideal", "slowdown of a guest", "fairness (spread)"];
    let mut table = styled(look, head);
    let mut last = None;
    for point in points {
        let name = if last == Some(point.engine) { String::new() } else { point.engine.name() };
        last = Some(point.engine);
        let alone = point.guests == 1;
        let missing = || "–".to_owned();
        table.add_row([
            Cell::new(name),
            Cell::new(point.guests),
            Cell::new(match point.throughput {
                _ if alone => "1".to_owned(),
                Some(throughput) => units::ratio_with_interval(&throughput),
                None => missing(),
            }),
            Cell::new(if alone { missing() } else { point.of_ideal.map_or_else(missing, whole_percent) }),
            Cell::new(match point.slowdown {
                _ if alone => "1".to_owned(),
                Some(slowdown) => units::ratio_with_interval(&slowdown),
                None => missing(),
            }),
            Cell::new(if alone { missing() } else { format!("{:.3} ({:.2})", point.fairness, point.spread) }),
        ]);
    }
    table.to_string()
}

fn cost(points: &[Point], look: Look) -> String {
    let head = ["engine", "guests", "memory per guest", "of it private", "start-up", "CPU time per run"];
    let mut table = styled(look, head);
    let mut last = None;
    for point in points {
        let name = if last == Some(point.engine) { String::new() } else { point.engine.name() };
        last = Some(point.engine);
        table.add_row([
            Cell::new(name),
            Cell::new(point.guests),
            Cell::new(mib(point.pss)),
            Cell::new(mib(point.private)),
            Cell::new(point.startup_ns.map_or_else(|| "–".to_owned(), units::time)),
            Cell::new(point.cpu_ns.map_or_else(|| "–".to_owned(), units::time)),
        ]);
    }
    table.to_string()
}

fn footer(out: &mut String, crowd: &Crowd, points: &[Point]) {
    let plan = &crowd.meta.plan;
    let s = if plan.cpus == 1 { "" } else { "s" };
    let line = format!(
        "throughput: work done per second, over that of 1 guest; ideal: as many times as there are guests, at most {} \
         (processor{s})",
        plan.cpus
    );
    push(out, &line);
    push(out, "fairness: Jain's index of the guests' speeds; spread: time of the slowest over the fastest");
    push(out, "memory: proportional set size, in which a page that n processes share counts as an nth");
    let crowded = points.iter().filter(|point| point.guests > 1);
    let least = crowded.filter_map(|point| Some((point.overlap?, point))).min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((overlap, point)) = least {
        let all = whole_percent(overlap);
        push(
            out,
            &format!("overlap: {all} of a run or more beside all others (least: {}, {})", point.engine, point.guests),
        );
        if overlap < LITTLE_OVERLAP {
            push(
                out,
                "warning: guests that hardly overlap say little about one another; give them more work with --size",
            );
        }
    }
    for engine in &crowd.meta.engines {
        if let Some(reason) = &engine.missing {
            let fix = engine.fix.as_ref().map(|fix| format!("; to get it: {fix}")).unwrap_or_default();
            push(out, &plain(&format!("missing: {}: {reason}{fix}", engine.id)));
        }
    }
}

fn whole_percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn mib(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{} MiB", units::number(bytes / f64::from(1 << 20))))
}

/// Text from a results file without control characters, which could drive the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn push(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::testing;

    const LOOK: Look = Look { width: 100, colour: false };

    #[test]
    fn snapshot() {
        insta::assert_snapshot!(table(&testing::crowd(2), LOOK));
    }

    #[test]
    fn an_empty_crowd_says_so() {
        let mut crowd = testing::crowd(2);
        crowd.rows.clear();
        crowd.meta.state = State::Interrupted;
        assert_eq!(table(&crowd, LOOK), "No round has ended well yet.\ninterrupted: not all rounds were done\n");
    }

    #[test]
    fn little_overlap_is_a_warning() {
        let mut crowd = testing::crowd(2);
        for row in crowd.rows.iter_mut().filter(|row| row.guest > 1) {
            row.roi_began_ns = row.roi_began_ns.map(|at| at + 400_000_000);
        }
        assert!(table(&crowd, LOOK).contains("warning: guests that hardly overlap"), "{}", table(&crowd, LOOK));
    }

    #[test]
    fn texts_do_not_drive_the_terminal() {
        let mut crowd = testing::crowd(2);
        crowd.meta.engines.push(crate::results::EngineMeta {
            id: crate::model::EngineId::QemuTcg,
            version: None,
            missing: Some("\u{1b}[31mred".to_owned()),
            fix: None,
        });
        let text = table(&crowd, LOOK);
        assert!(text.contains("missing: qemu-tcg") && text.chars().all(|c| !c.is_control() || c == '\n'));
    }
}
