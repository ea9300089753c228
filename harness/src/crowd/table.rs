//! The summary as tables for the terminal.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::folder::Crowd;
use super::meta::CrowdPlan;
use super::summary::{Point, summarize};
use crate::report::{Look, styled, units};
use crate::results::State;

/// Less of the processors than this part is a sign of other work on the host.
const FEW_PROCESSORS: f64 = 0.85;
/// A guest that keeps less than this part of a processor busy is not always running.
const BUSY: f64 = 0.8;
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
    let head = ["engine", "guests", "memory per guest", "of it private", "start-up", "CPU time per run (CPUs)"];
    let mut table = styled(look, head);
    let mut last = None;
    for point in points {
        let name = if last == Some(point.engine) { String::new() } else { point.engine.name() };
        last = Some(point.engine);
        table.add_row([
            Cell::new(name),
            Cell::new(point.guests),
            Cell::new(memory(point.pss)),
            Cell::new(memory(point.private)),
            Cell::new(point.startup_ns.map_or_else(|| "–".to_owned(), units::time)),
            Cell::new(match (point.cpu_ns, point.cpus) {
                (Some(time), Some(cpus)) => format!("{} ({})", units::time(time), units::number(cpus)),
                _ => "–".to_owned(),
            }),
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
        let line = format!(
            "overlap: guests spent {} of their time or more beside all others (least: {} with {})",
            whole_percent(overlap),
            point.engine,
            point.guests
        );
        push(out, &line);
        if overlap < LITTLE_OVERLAP {
            push(
                out,
                "warning: guests that hardly overlap say little about one another; give them more work with --size",
            );
        }
    }
    // A guest that is held up even when it is alone is no baseline of a quiet host.
    let idle = points.iter().filter(|point| point.guests == 1).filter_map(|point| Some((point.cpus?, point)));
    if let Some((cpus, point)) = idle.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|(cpus, _)| *cpus < BUSY) {
        let line = format!(
            "note: 1 guest on {} kept {} processors busy: it waits by itself, or other work on this host held it up",
            point.engine,
            units::number(cpus)
        );
        push(out, &line);
    }
    let short = points.iter().filter(|point| is_short_of_processors(point, points, plan));
    let part = |point: &Point| point.cpus.unwrap_or_default() / plan.ideal(point.guests);
    if let Some(point) = short.min_by(|a, b| part(a).total_cmp(&part(b))) {
        let line = format!(
            "note: {} guests on {} got {} processors of {}: other work on this host, or a limit, took the rest",
            point.guests,
            point.engine,
            point.cpus.map_or_else(String::new, units::number),
            plan.ideal(point.guests)
        );
        push(out, &line);
    }
    for engine in &crowd.meta.engines {
        if let Some(reason) = &engine.missing {
            let fix = engine.fix.as_ref().map(|fix| format!("; to get it: {fix}")).unwrap_or_default();
            push(out, &plain(&format!("missing: {}: {reason}{fix}", engine.id)));
        }
    }
}

/// Whether guests that are busy got clearly less of the processors than there is for them.
fn is_short_of_processors(point: &Point, points: &[Point], plan: &CrowdPlan) -> bool {
    let alone = points.iter().find(|p| p.engine == point.engine && p.guests == 1).and_then(|p| p.cpus);
    let (Some(alone), Some(got)) = (alone, point.cpus) else { return false };
    // Guests that mostly wait, or an engine with threads of its own, tell nothing about others.
    (BUSY..1.2).contains(&alone) && got < FEW_PROCESSORS * plan.ideal(point.guests)
}

fn whole_percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn memory(bytes: Option<f64>) -> String {
    let unit = |bytes: f64| if bytes < f64::from(1 << 20) { (1 << 10, "KiB") } else { (1 << 20, "MiB") };
    let text = |bytes: f64| format!("{} {}", units::number(bytes / f64::from(unit(bytes).0)), unit(bytes).1);
    bytes.map_or_else(|| "–".to_owned(), text)
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
    fn other_work_on_the_host_is_noticed() {
        let mut held_up = testing::crowd(2);
        for row in held_up.rows.iter_mut().filter(|row| row.guests == 1) {
            row.cpu_ns = row.cpu_ns.map(|ns| ns / 2);
        }
        let text = table(&held_up, LOOK);
        assert!(text.contains("note: 1 guest on native kept 0.500 processors busy: it waits"), "{text}");
        let mut crowd = testing::crowd(2);
        assert!(!table(&crowd, LOOK).contains("other work"), "{}", table(&crowd, LOOK));
        for row in crowd.rows.iter_mut().filter(|row| row.guests == 2) {
            row.roi_guest_ns = row.roi_guest_ns.map(|ns| ns * 3 / 2);
        }
        let text = table(&crowd, LOOK);
        assert!(text.contains("note: 2 guests on native got 1.33 processors of 2: other work"), "{text}");
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
