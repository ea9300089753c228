//! What the emulated CPU had to do beside executing instructions.

use super::legend;
use super::palette;
use super::panels;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, Scene};
use crate::model::Setup;
use crate::report::counters::Counters;
use crate::report::summary::Summary;
use crate::report::units;

/// Distance between two engines of a row.
const STEP: f64 = 8.0;
/// Room at the left of each panel for values of 0, which a logarithmic axis has no place for.
const ZERO: f64 = 30.0;

/// Panel titles and what they plot: all counters with this name, or whose name begins so if it ends in a dot.
const QUANTITIES: [(&str, &str); 3] =
    [("TLB misses", "tlb.miss"), ("Page walks", "page.walk"), ("Exceptions", "exception.")];

/// The chart, `None` where no emulator of this repository ran.
pub(super) fn scene(summary: &Summary, counters: &Counters) -> Option<Scene> {
    let rate = |engine, workload: &str, counter: &str| {
        let instructions = counters.instructions(engine, workload).filter(|&n| n > 0.0)?;
        let events = if counter.ends_with('.') {
            counters.sum(engine, workload, "emu", counter)?
        } else {
            counters.get(engine, workload, "emu", counter)?
        };
        Some(events * 1000.0 / instructions)
    };
    let mut values: Vec<(Setup, &str, usize, f64)> = Vec::new();
    for workload in &summary.workloads {
        for &engine in &summary.engines {
            for (i, (_, counter)) in QUANTITIES.iter().enumerate() {
                if let Some(v) = rate(engine, &workload.label, counter) {
                    values.push((engine, &workload.label, i, v));
                }
            }
        }
    }
    let engines: Vec<Setup> = summary.engines.iter().copied().filter(|&e| values.iter().any(|v| v.0 == e)).collect();
    let workloads: Vec<&str> =
        summary.workloads.iter().map(|w| w.label.as_str()).filter(|w| values.iter().any(|v| v.1 == *w)).collect();
    if engines.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "TLB misses, page walks and exceptions per 1000 guest instructions for {}, one row per workload, on logarithmic axes.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "What the emulated CPU does beside executing",
        "Events per 1000 guest instructions in the region of interest, median of the runs; log scale",
    );
    let entries: Vec<_> = engines.iter().map(|&e| (palette::engine(e.id), e.name())).collect();
    let top = legend::draw(&mut scene, top, &entries) + 4.0;
    let titles: Vec<String> = QUANTITIES.iter().map(|q| q.0.to_owned()).collect();
    let height = (engines.len() as f64 * STEP + 6.0).max(22.0);
    let heights = vec![height; workloads.len()];
    let panels = panels::draw(&mut scene, top, &titles, &workloads, &heights);
    let axis = LogScale::around(values.iter().map(|v| v.3), 0.0, 1.0);
    for (quantity, &(left, right)) in panels.columns.iter().enumerate() {
        let axis = axis.moved(left + ZERO, right - 8.0);
        let (top, bottom) = (panels.rows[0].0, panels.bottom);
        axis.draw_grid(&mut scene, top, bottom);
        let zero = left + 5.0;
        scene.line((zero, top), (zero, bottom), GRID, 1.0);
        scene.note((zero, bottom + 13.0), Anchor::Middle, "0");
        axis.draw_labels(&mut scene, bottom + 13.0, 34.0, tick);
        for (workload, &(top, height)) in workloads.iter().zip(&panels.rows) {
            let first = top + height / 2.0 - (engines.len() as f64 - 1.0) * STEP / 2.0;
            for (i, &engine) in engines.iter().enumerate() {
                let value = values.iter().find(|v| (v.0, v.1, v.2) == (engine, *workload, quantity));
                if let Some(&(_, _, _, value)) = value {
                    let x = if value > 0.0 { axis.x(value) } else { zero };
                    let y = first + i as f64 * STEP;
                    palette::engine(engine.id).marker(&mut scene, (x, y), 4.0);
                }
            }
        }
    }
    let middle = (panels.columns[0].0 + 784.0) / 2.0;
    let y = panels.bottom + 32.0;
    scene.note((middle, y), Anchor::Middle, "events per 1000 guest instructions");
    scene.height = y + 16.0;
    Some(scene)
}

/// A tick's value: `1e-5` below a thousandth, plain above.
fn tick(value: f64) -> String {
    match value {
        v if v >= 1.0 => units::short(v),
        v if v >= 0.000_999 => format!("{v}"),
        v => format!("{v:.0e}"),
    }
}
