//! The region of interest as ring of the processor times guest or host, as far as each engine can know it.

use super::font;
use super::palette::{BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION};
use super::panels;
use super::scene::{Anchor, Colour, GRID, INK, PAPER, Scene, WIDTH};
use crate::meaning::quadrant::PARTS;
use crate::model::Setup;
use crate::report::counters::Counters;
use crate::report::summary::Summary;

const ROW: f64 = 20.0;
const BAR: f64 = 12.0;
/// Panels side by side, at most.
const ABREAST: usize = 4;

/// How the parts are drawn, in their order: what differs in colour only does not lie side by side.
const LOOKS: [(Colour, bool); PARTS.len()] = [
    (BLUE, false),
    (SKY, true),
    (GREEN, false),
    (GREY, true),
    (VERMILLION, false),
    (ORANGE, true),
    (PAPER, false),
    (PURPLE, true),
];

/// The chart, `None` where no engine recorded any part.
pub(super) fn scene(summary: &Summary, counters: &Counters) -> Option<Scene> {
    let known = |e: Setup, w: &str| counters.quadrants(e, w);
    let any = |e: Setup| summary.workloads.iter().any(|w| known(e, &w.label).is_some());
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|&e| any(e)).collect();
    let shown = |w: &str| engines.iter().any(|&e| known(e, w).is_some());
    let workloads: Vec<&str> = summary.workloads.iter().map(|w| w.label.as_str()).filter(|w| shown(w)).collect();
    if engines.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Shares of guest user, guest kernel, host kernel and host user in the region of interest for {}.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "Whose time it is: guest or host, user or kernel",
        "Shares of the region of interest, median of the runs; how each engine knows, and what it does not, is below",
    );
    let mut top = key(&mut scene, top);
    for engines in engines.chunks(ABREAST) {
        let titles: Vec<String> = engines.iter().map(Setup::name).collect();
        let heights = vec![ROW; workloads.len()];
        let panels = panels::draw(&mut scene, top, &titles, &workloads, &heights);
        for (&engine, &(left, right)) in engines.iter().zip(&panels.columns) {
            for (workload, &(top, height)) in workloads.iter().zip(&panels.rows) {
                let centre = top + height / 2.0;
                match known(engine, workload) {
                    Some(parts) => bar(&mut scene, (left, right), centre, &parts),
                    None => scene.note((left, centre), Anchor::Start, "–"),
                }
            }
            for (share, anchor) in [(0.0, Anchor::Start), (1.0, Anchor::End)] {
                let x = left + share * (right - left);
                scene.line((x, panels.bottom), (x, panels.bottom + 4.0), GRID, 1.0);
                scene.note((x, panels.bottom + 13.0), anchor, format!("{:.0}%", share * 100.0));
            }
        }
        top = panels.bottom + 30.0;
    }
    scene.note((WIDTH / 2.0, top), Anchor::Middle, "share of the region of interest");
    scene.height = top + 16.0;
    Some(scene)
}

fn key(scene: &mut Scene, top: f64) -> f64 {
    let (mut x, mut y) = (16.0, top + 8.0);
    for ((_, name), look) in PARTS.into_iter().zip(LOOKS) {
        let width = 25.0 + font::width(name, 12.0, false);
        if x > 16.0 && x + width > WIDTH - 16.0 {
            (x, y) = (16.0, y + 20.0);
        }
        area(scene, (x, y - 5.0), (x + 18.0, y + 5.0), look);
        scene.text((x + 25.0, y), Anchor::Start, 12.0, false, INK, name);
        x += width + 22.0;
    }
    y + 22.0
}

fn area(scene: &mut Scene, from: (f64, f64), to: (f64, f64), (colour, hatched): (Colour, bool)) {
    scene.rect(from, to, colour);
    if hatched {
        scene.hatch(from, to, PAPER);
    }
    // White areas, and those that are alike in grey, have an edge.
    for (a, b) in [(from, (to.0, from.1)), ((from.0, to.1), to), (from, (from.0, to.1)), ((to.0, from.1), to)] {
        scene.line(a, b, GREY, 0.75);
    }
}

fn bar(scene: &mut Scene, (left, right): (f64, f64), centre: f64, parts: &[f64; PARTS.len()]) {
    let all: f64 = parts.iter().sum();
    let mut x = left;
    for (&part, look) in parts.iter().zip(LOOKS) {
        let width = (right - left) * part / all;
        if width >= 0.25 {
            area(scene, (x, centre - BAR / 2.0), (x + width, centre + BAR / 2.0), look);
        }
        x += width;
    }
}
