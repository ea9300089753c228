//! From process start to the guest's first instruction in ring 3.

use std::collections::BTreeSet;

use super::font;
use super::palette;
use super::scale::LogScale;
use super::scene::{Anchor, INK, Scene, WIDTH};
use crate::model::{Setup, Status};
use crate::report::units;
use crate::results::Experiment;
use crate::stats::median;

const ROW: f64 = 48.0;

/// The engines that ran, in the usual order.
#[must_use]
pub fn engines(experiment: &Experiment) -> BTreeSet<Setup> {
    experiment.runs.iter().map(|r| r.engine).collect()
}

/// Start-up times of an engine, nanoseconds, over all its runs that ended well.
#[must_use]
pub fn times(experiment: &Experiment, engine: Setup) -> Vec<f64> {
    experiment
        .runs
        .iter()
        .filter(|r| r.engine == engine && r.status == Status::Ok)
        .filter_map(|r| r.startup_ns)
        .map(|ns| ns as f64)
        .collect()
}

/// The chart, `None` where no run has a start-up time.
pub(super) fn scene(experiment: &Experiment) -> Option<Scene> {
    let rows: Vec<(Setup, Vec<f64>)> =
        engines(experiment).into_iter().map(|e| (e, times(experiment, e))).filter(|(_, t)| !t.is_empty()).collect();
    if rows.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Start-up time of every run of {}, with the median of each, on a logarithmic axis.",
        rows.iter().map(|r| r.0.name()).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        "How long until the guest's first instruction in ring 3",
        "From process start; one marker per run, the bar and the number are the median; log scale",
    );
    let label = rows.iter().map(|r| font::width(&r.0.name(), 12.0, false)).fold(60.0, f64::max);
    let all = rows.iter().flat_map(|r| r.1.iter().copied());
    let axis = LogScale::around(all, 22.0 + label + 16.0, WIDTH - 24.0);
    let bottom = axis.draw_rows(&mut scene, top, rows.iter().map(|_| ROW));
    for (i, (engine, times)) in rows.iter().enumerate() {
        row(&mut scene, &axis, top + i as f64 * ROW, *engine, times);
    }
    axis.draw_labels(&mut scene, bottom + 14.0, 52.0, units_of);
    let middle = (axis.left() + axis.right()) / 2.0;
    let y = bottom + 34.0;
    scene.note((middle, y), Anchor::Middle, "time from process start");
    scene.height = y + 16.0;
    Some(scene)
}

/// A tick's value: `10 ms`.
pub(super) fn units_of(ns: f64) -> String {
    let (value, unit) = match ns {
        t if t < 999.0 => (t, "ns"),
        t if t < 999e3 => (t / 1e3, "µs"),
        t if t < 999e6 => (t / 1e6, "ms"),
        t => (t / 1e9, "s"),
    };
    format!("{} {unit}", value.round())
}

fn row(scene: &mut Scene, axis: &LogScale, top: f64, engine: Setup, times: &[f64]) {
    let centre = top + ROW / 2.0;
    scene.label((22.0, centre), Anchor::Start, engine.name());
    let series = palette::engine(engine.id);
    for (i, &time) in times.iter().enumerate() {
        // Spread evenly (by the golden ratio), so that equal times do not hide each other.
        let share = (i as f64 * 0.618_034).fract();
        let y = top + 22.0 + share * (ROW - 28.0);
        series.marker(scene, (axis.x(time), y), 2.75);
    }
    if let Some(median) = median(times) {
        let x = axis.x(median);
        scene.line((x, top + 5.0), (x, top + ROW - 4.0), INK, 2.0);
        let text = units::time(median);
        let width = font::width(&text, 12.0, true);
        let (at, anchor) =
            if x + 8.0 + width < WIDTH - 20.0 { (x + 7.0, Anchor::Start) } else { (x - 7.0, Anchor::End) };
        scene.text((at, top + 12.0), anchor, 12.0, true, INK, text);
    }
}
