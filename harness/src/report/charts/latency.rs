//! How long exits take, as a distribution: for each length, the part of the exits that took no longer.

use super::legend;
use super::palette;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, INK, MUTED, Scene, WIDTH};
use super::startup::units_of;
use crate::model::Setup;
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::stats::median;

/// Workloads that are shown, at most: those with the most exits.
const WORKLOADS: usize = 4;
/// Fewer exits than this, in all runs together, are no distribution.
const FEWEST: u64 = 100;
const HEIGHT: f64 = 132.0;
const LEFT: f64 = 62.0;
const GAP: f64 = 34.0;
/// What the two panels show, and the names of the histograms.
const PANELS: [(&str, &str); 2] =
    [("outside: the VMM serves the exit", "exit."), ("inside: the stay in the virtual CPU before it", "run.")];
/// The parts that are labelled, which are as far from one another as their rests are factors.
const LEVELS: [(f64, &str); 4] = [(0.0, "0%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%")];

/// Length and how often, the shortest first.
type Curve = Vec<(f64, u64)>;

/// The chart, `None` where no workload has enough exits.
pub(super) fn scene(summary: &Summary, counters: &Counters) -> Option<Scene> {
    let curve = |e: Setup, w: &str, prefix: &str| counters.latencies(e, w, prefix);
    let count = |curve: &Curve| curve.iter().map(|p| p.1).sum::<u64>();
    let mut workloads: Vec<(&str, f64)> = summary
        .workloads
        .iter()
        .filter_map(|w| {
            let counts = summary.engines.iter().map(|&e| count(&curve(e, &w.label, PANELS[1].1)));
            let counts: Vec<f64> = counts.filter(|&n| n >= FEWEST).map(|n| n as f64).collect();
            Some((w.label.as_str(), median(&counts)?))
        })
        .collect();
    workloads.sort_by(|a, b| b.1.total_cmp(&a.1));
    workloads.truncate(WORKLOADS);
    let shown = |e: Setup| workloads.iter().any(|(w, _)| count(&curve(e, w, PANELS[1].1)) >= FEWEST);
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|&e| shown(e)).collect();
    if engines.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Distribution of the time that exits take for {}: to serve them, and in the virtual CPU before them.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "How long one exit takes",
        "Part of the exits in the region of interest that took at most so long, of all runs; log scale, both ways",
    );
    let entries: Vec<_> = engines.iter().map(|&e| (palette::engine(e.id), e.name())).collect();
    let mut top = legend::draw(&mut scene, top, &entries) + 2.0;
    let width = (WIDTH - 24.0 - LEFT - GAP) / 2.0;
    let places = [0.0, 1.0].map(|i| (LEFT + i * (width + GAP), LEFT + i * (width + GAP) + width));
    for (title, (left, _)) in PANELS.iter().map(|p| p.0).zip(places) {
        scene.text((left, top + 8.0), Anchor::Start, 12.0, true, INK, title);
    }
    top += 20.0;
    let axes = PANELS.map(|(_, prefix)| {
        let all = workloads.iter().flat_map(|(w, _)| engines.iter().flat_map(move |&e| curve(e, w, prefix)));
        // A clock tick is the least that can be seen.
        LogScale::around(all.map(|p| p.0.max(1.0)), 0.0, 1.0)
    });
    for (workload, _) in &workloads {
        let name = super::font::fit(workload, 12.0, false, WIDTH - 40.0);
        scene.text((16.0, top + 6.0), Anchor::Start, 12.0, false, INK, name);
        let (upper, lower) = (top + 22.0, top + 22.0 + HEIGHT);
        for (((_, prefix), axis), (left, right)) in PANELS.into_iter().zip(&axes).zip(places) {
            let axis = axis.moved(left, right);
            axis.draw_grid(&mut scene, upper, lower);
            for (level, label) in LEVELS {
                let y = height(level, upper, lower);
                scene.line((left, y), (right, y), GRID, 1.0);
                scene.note((left - 6.0, y), Anchor::End, label);
            }
            scene.line((left, lower), (right, lower), MUTED, 1.0);
            for &engine in &engines {
                let curve = curve(engine, workload, prefix);
                draw(&mut scene, &axis, (upper, lower), engine, &curve);
            }
            axis.draw_labels(&mut scene, lower + 13.0, 52.0, units_of);
        }
        top = lower + 28.0;
    }
    let middle = (places[0].0 + places[1].1) / 2.0;
    scene.note((middle, top + 4.0), Anchor::Middle, "time of one exit (markers: half, 90% and 99% of them)");
    scene.height = top + 20.0;
    Some(scene)
}

/// Where a part is drawn: its distance from the top is its rest, on a logarithmic scale.
fn height(part: f64, upper: f64, lower: f64) -> f64 {
    let most = LEVELS[LEVELS.len() - 1].0;
    let depth = |part: f64| -(1.0 - part).log10();
    lower - (lower - upper) * depth(part.min(most)) / depth(most)
}

fn draw(scene: &mut Scene, axis: &LogScale, (upper, lower): (f64, f64), engine: Setup, curve: &Curve) {
    let all = curve.iter().map(|p| p.1).sum::<u64>() as f64;
    let series = palette::engine(engine.id);
    let mut marks = [0.5, 0.9, 0.99].into_iter().peekable();
    let mut before: Option<(f64, f64)> = None;
    let mut seen = 0;
    for &(length, count) in curve {
        seen += count;
        let part = seen as f64 / all;
        let x = axis.x(length.max(1.0));
        let from = before.map_or((x, lower), |(_, y)| (x, y));
        let at = (x, height(part, upper, lower));
        if let Some(before) = before {
            scene.line(before, from, series.colour, 1.5);
        }
        scene.line(from, at, series.colour, 1.5);
        while let Some(mark) = marks.next_if(|&mark| part >= mark) {
            series.marker(scene, (x, height(mark, upper, lower)), 3.5);
        }
        before = Some(at);
    }
}
