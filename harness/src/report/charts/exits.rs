//! Exits in the region of interest, by engine and reason.

use super::legend;
use super::palette::{self, Series};
use super::panels;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, MUTED, Scene};
use crate::model::Setup;
use crate::report::counters::{Counters, Exits};
use crate::report::summary::Summary;
use crate::report::units;

/// Distance between two reasons of a row.
const STEP: f64 = 7.0;
/// Room for the written total at the right of each panel.
const TOTAL: f64 = 40.0;
/// The name for exits that a source counts but does not classify, and for reasons beyond the palette.
const OTHER: &str = "other";

/// The chart, `None` where nothing counted exits.
pub(super) fn scene(summary: &Summary, counters: &Counters) -> Option<Scene> {
    let cells: Vec<(Setup, &str, Exits)> = summary
        .workloads
        .iter()
        .flat_map(|w| summary.engines.iter().map(move |&e| (e, w.label.as_str())))
        .filter_map(|(e, w)| Some((e, w, counters.exits(e, w)?)))
        .collect();
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|&e| cells.iter().any(|c| c.0 == e)).collect();
    let workloads: Vec<&str> =
        summary.workloads.iter().map(|w| w.label.as_str()).filter(|w| cells.iter().any(|c| c.1 == *w)).collect();
    if engines.is_empty() {
        return None;
    }
    let reasons = reasons(&cells);
    let mut scene = Scene::new(format!(
        "Exits in the region of interest for {}, by reason, one row per workload, on a logarithmic axis.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "How often the guest left its CPU",
        "Exits in the region of interest by reason, median of the runs; log scale; at the right of a row their sum",
    );
    let entries: Vec<_> = reasons.iter().map(|(name, series)| (*series, name.replace('_', " "))).collect();
    let top = legend::draw(&mut scene, top, &entries) + 4.0;
    let titles: Vec<String> = engines.iter().map(|&e| panel_title(e, &cells)).collect();
    let heights: Vec<f64> = workloads
        .iter()
        .map(|w| {
            let most = cells.iter().filter(|c| c.1 == *w).map(|c| points(&c.2, &reasons).len()).max();
            (most.unwrap_or(0) as f64 * STEP + 8.0).max(22.0)
        })
        .collect();
    let panels = panels::draw(&mut scene, top, &titles, &workloads, &heights);
    let all = cells.iter().map(|c| c.2.total);
    // One exit is drawn a little to the right of the edge.
    let axis = LogScale::around(all.chain([0.6]), 0.0, 1.0);
    for (&engine, &(left, right)) in engines.iter().zip(&panels.columns) {
        let axis = axis.moved(left, right - TOTAL);
        let (top, bottom) = (panels.rows[0].0, panels.bottom);
        axis.draw_grid(&mut scene, top, bottom);
        scene.line((left, top), (left, bottom), MUTED, 1.0);
        axis.draw_labels(&mut scene, bottom + 13.0, 30.0, units::short);
        for (workload, &(top, height)) in workloads.iter().zip(&panels.rows) {
            let centre = top + height / 2.0;
            match cells.iter().find(|c| c.0 == engine && c.1 == *workload) {
                Some((_, _, exits)) => {
                    row(&mut scene, &axis, centre, &points(exits, &reasons));
                    let total = units::short(exits.total);
                    scene.note((right, centre), Anchor::End, total);
                }
                None => scene.note((right, centre), Anchor::End, "–"),
            }
        }
    }
    let middle = (panels.columns[0].0 + 784.0) / 2.0;
    let y = panels.bottom + 32.0;
    scene.note((middle, y), Anchor::Middle, "exits in the region of interest");
    scene.height = y + 16.0;
    if let Some(note) = footnote(&cells) {
        scene.note((16.0, y + 20.0), Anchor::Start, note);
        scene.height = y + 36.0;
    }
    Some(scene)
}

fn panel_title(engine: Setup, cells: &[(Setup, &str, Exits)]) -> String {
    let whole = cells.iter().any(|c| c.0 == engine && c.2.whole_run);
    let by_kvm = cells.iter().any(|c| c.0 == engine && c.2.by_kvm);
    match (whole, by_kvm) {
        (true, _) => format!("{engine}*"),
        (false, true) => format!("{engine}†"),
        (false, false) => engine.to_string(),
    }
}

/// What the marks in the panel titles mean.
fn footnote(cells: &[(Setup, &str, Exits)]) -> Option<&'static str> {
    if cells.iter().any(|c| c.2.whole_run) {
        return Some(
            "* KVM's own count, over the whole run: booting and exits that the kernel served itself are in it",
        );
    }
    let by_kvm = cells.iter().any(|c| c.2.by_kvm);
    by_kvm.then_some("† KVM's own count: exits that the kernel served itself are in it")
}

/// The reasons that occur, the commonest first, with their looks.
fn reasons(cells: &[(Setup, &str, Exits)]) -> Vec<(String, Series)> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for (_, _, exits) in cells {
        for (reason, n) in &exits.reasons {
            match sums.iter_mut().find(|s| s.0 == *reason) {
                Some(sum) => sum.1 += n,
                None => sums.push((reason.clone(), *n)),
            }
        }
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let (last, named) = palette::REASONS.split_last().unzip();
    let mut looks: Vec<(String, Series)> =
        sums.into_iter().zip(named.unwrap_or_default()).map(|((reason, _), series)| (reason, *series)).collect();
    let needs_other = cells.iter().any(|(_, _, exits)| unclassified(exits, &looks) > 0.0);
    if let (true, Some(series)) = (needs_other, last) {
        looks.push((OTHER.to_owned(), *series));
    }
    looks
}

/// Exits whose reason has no look of its own.
fn unclassified(exits: &Exits, looks: &[(String, Series)]) -> f64 {
    let named: f64 = exits
        .reasons
        .iter()
        .filter(|(reason, _)| looks.iter().any(|l| l.0 == *reason && l.0 != OTHER))
        .map(|r| r.1)
        .sum();
    exits.total - named
}

fn points(exits: &Exits, looks: &[(String, Series)]) -> Vec<(Series, f64)> {
    looks
        .iter()
        .filter_map(|(name, series)| {
            let n =
                if name == OTHER { unclassified(exits, looks) } else { exits.reasons.iter().find(|r| r.0 == *name)?.1 };
            (n > 0.0).then_some((*series, n))
        })
        .collect()
}

fn row(scene: &mut Scene, axis: &LogScale, centre: f64, points: &[(Series, f64)]) {
    let first = centre - (points.len() as f64 - 1.0) * STEP / 2.0;
    for (i, (series, n)) in points.iter().enumerate() {
        let (x, y) = (axis.x(*n), first + i as f64 * STEP);
        scene.line((axis.left(), y), (x, y), GRID, 2.0);
        series.marker(scene, (x, y), 4.0);
    }
}
