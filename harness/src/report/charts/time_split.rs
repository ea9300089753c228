//! Where the time goes on the engines that share the machine: in the CPU, or in the VMM that serves its exits.

use super::palette::{BLUE, GREY, VERMILLION};
use super::panels;
use super::scene::{Anchor, Colour, GRID, INK, PAPER, Scene};
use crate::model::Setup;
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::report::units;

const ROW: f64 = 22.0;
const BAR: f64 = 12.0;
/// Room for the written share at the right of each panel.
const SHARE: f64 = 44.0;

/// The chart, `None` where no engine recorded the two times.
pub(super) fn scene(summary: &Summary, counters: &Counters) -> Option<Scene> {
    let cells: Vec<(Setup, &str, f64)> = summary
        .workloads
        .iter()
        .flat_map(|w| summary.engines.iter().map(move |&e| (e, w.label.as_str())))
        .filter_map(|(e, w)| Some((e, w, served_share(counters, e, w)?)))
        .collect();
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|&e| cells.iter().any(|c| c.0 == e)).collect();
    let workloads: Vec<&str> =
        summary.workloads.iter().map(|w| w.label.as_str()).filter(|w| cells.iter().any(|c| c.1 == *w)).collect();
    if engines.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Share of the time spent serving exits for {}, one row per workload.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "Where the time goes",
        "Share of the region of interest inside the virtual CPU and in the VMM that serves its exits, median of the runs",
    );
    let top = key(&mut scene, top);
    let titles: Vec<String> = engines.iter().map(Setup::name).collect();
    let heights = vec![ROW; workloads.len()];
    let panels = panels::draw(&mut scene, top, &titles, &workloads, &heights);
    for (&engine, &(left, right)) in engines.iter().zip(&panels.columns) {
        let right_bar = right - SHARE;
        for (workload, &(top, height)) in workloads.iter().zip(&panels.rows) {
            let centre = top + height / 2.0;
            let share = cells.iter().find(|c| c.0 == engine && c.1 == *workload).map(|c| c.2);
            match share {
                Some(share) => {
                    bar(&mut scene, (left, right_bar), centre, share);
                    scene.note((right, centre), Anchor::End, units::percent(share));
                }
                None => scene.note((right, centre), Anchor::End, "–"),
            }
        }
        for share in [0.0, 0.5, 1.0] {
            let x = left + share * (right_bar - left);
            let y = panels.bottom;
            scene.line((x, y), (x, y + 4.0), GRID, 1.0);
            let text = format!("{:.0}%", share * 100.0);
            scene.note((x, y + 13.0), Anchor::Middle, text);
        }
    }
    let middle = (panels.columns[0].0 + 784.0) / 2.0;
    let y = panels.bottom + 32.0;
    let title = "share of the region of interest (written: the part outside the virtual CPU)";
    scene.note((middle, y), Anchor::Middle, title);
    scene.height = y + 16.0;
    Some(scene)
}

/// The part of the time outside the virtual CPU.
fn served_share(counters: &Counters, engine: Setup, workload: &str) -> Option<f64> {
    let run = counters.get(engine, workload, "vmm", "run_ns")?;
    let serve = counters.get(engine, workload, "vmm", "serve_ns")?;
    (run + serve > 0.0).then(|| serve / (run + serve))
}

fn key(scene: &mut Scene, top: f64) -> f64 {
    let y = top + 8.0;
    let mut x = 16.0;
    for (colour, hatched, name) in [
        (BLUE, false, "inside the virtual CPU (KVM_RUN, or the emulated CPU)"),
        (VERMILLION, true, "outside: the VMM serves an exit"),
    ] {
        let (from, to) = ((x, y - 5.0), (x + 18.0, y + 5.0));
        area(scene, from, to, colour, hatched);
        scene.text((x + 25.0, y), Anchor::Start, 12.0, false, INK, name);
        x += 25.0 + super::font::width(name, 12.0, false) + 24.0;
    }
    y + 24.0
}

fn area(scene: &mut Scene, from: (f64, f64), to: (f64, f64), colour: Colour, hatched: bool) {
    scene.rect(from, to, colour);
    if hatched {
        scene.hatch(from, to, PAPER);
    }
}

fn bar(scene: &mut Scene, (left, right): (f64, f64), centre: f64, served: f64) {
    let (top, bottom) = (centre - BAR / 2.0, centre + BAR / 2.0);
    let split = right - (right - left) * served;
    area(scene, (left, top), (split, bottom), BLUE, false);
    if served > 0.0 {
        area(scene, (split, top), (right, bottom), VERMILLION, true);
    }
    scene.line((right, top), (right, bottom), GREY, 1.0);
}
