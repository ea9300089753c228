//! What each mechanism is worth over all programs: added, taken out of emu-interp, taken out of emu-dbt.

use super::font;
use super::palette::{self, GREY};
use super::panels;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, INK, MUTED, Scene, ground};
use crate::ablation::{Analysis, MECHANISMS};
use crate::model::EngineId;
use crate::report::units;

const ROW: f64 = 34.0;

/// The chart, `None` where nothing can be compared.
pub(super) fn scene(analysis: &Analysis) -> Option<Scene> {
    let panel_engines = [EngineId::EmuNaive, EngineId::EmuInterp, EngineId::EmuDbt];
    let step = |panel: usize, key: &str| match panel {
        0 => analysis.added(key),
        _ => analysis.removed(panel_engines[panel], key),
    };
    let effect = |panel: usize, key: &str| analysis.effect(step(panel, key)?.0);
    let shown: Vec<usize> = (0..3).filter(|&panel| MECHANISMS.iter().any(|m| effect(panel, m.key).is_some())).collect();
    let rows: Vec<_> = MECHANISMS.iter().filter(|m| shown.iter().any(|&p| effect(p, m.key).is_some())).collect();
    if rows.is_empty() {
        return None;
    }
    let singles = |panel: usize, key: &str| -> Vec<f64> {
        let index = step(panel, key).map(|s| s.0);
        analysis.rows.iter().filter(|r| Some(r.step) == index).filter_map(|r| Some(r.factor?.value)).collect()
    };
    let count = analysis.effects.iter().map(|e| e.workloads).max().unwrap_or_default();
    let mut scene = Scene::new(format!(
        "What each mechanism of the emulator is worth in geometric mean over {count} programs: added to those before it, \
         taken out of emu-interp and taken out of emu-dbt, on a logarithmic axis."
    ));
    let top = scene.heading(
        "What each mechanism is worth",
        "Time without it over time with it: geometric mean of the programs with its 95% interval, and each workload in grey; log scale",
    );
    let titles: Vec<String> = shown
        .iter()
        .map(|&panel| match panel {
            0 => "added to those above it".to_owned(),
            _ => format!("taken out of {}", panel_engines[panel]),
        })
        .collect();
    let labels: Vec<&str> = rows.iter().map(|m| m.title).collect();
    let heights = vec![ROW; rows.len()];
    let panels = panels::draw(&mut scene, top + 6.0, &titles, &labels, &heights);
    let all = shown.iter().flat_map(|&p| rows.iter().flat_map(move |m| singles(p, m.key)));
    let means = shown.iter().flat_map(|&p| rows.iter().filter_map(move |m| effect(p, m.key)));
    let ends = means.flat_map(|e| e.mean.interval.map_or([e.mean.value; 2], |i| [i.low, i.high]));
    let axis = LogScale::around(all.chain(ends).chain([1.0]), 0.0, 1.0);
    for (&panel, &(left, right)) in shown.iter().zip(&panels.columns) {
        let axis = axis.moved(left + 4.0, right - 8.0);
        let (top, bottom) = (panels.rows[0].0, panels.bottom);
        axis.draw_grid(&mut scene, top, bottom);
        scene.line((axis.x(1.0), top), (axis.x(1.0), bottom), MUTED, 1.5);
        axis.draw_labels(&mut scene, bottom + 13.0, 34.0, tick);
        let look = if panel == 0 { palette::ADDED } else { palette::engine(panel_engines[panel]) };
        for (i, (mechanism, &(top, height))) in rows.iter().zip(&panels.rows).enumerate() {
            let y = top + height - 11.0;
            let Some(effect) = effect(panel, mechanism.key) else {
                scene.note((left + 6.0, top + height / 2.0), Anchor::Start, "–");
                continue;
            };
            for value in singles(panel, mechanism.key) {
                scene.disc((axis.x(value), y), 2.5, GREY);
            }
            let x = axis.x(effect.mean.value);
            if let Some(interval) = effect.mean.interval {
                let (low, high) = (axis.x(interval.low), axis.x(interval.high));
                scene.line((low, y), (high, y), INK, 1.5);
                for end in [low, high] {
                    scene.line((end, y - 3.0), (end, y + 3.0), INK, 1.5);
                }
            }
            look.marker(&mut scene, (x, y), 4.5);
            let text = units::ratio(effect.mean.value);
            let half = font::width(&text, 11.0, true) / 2.0;
            let at = x.clamp(left + half + 1.0, right - half - 1.0);
            // On the row's ground, to keep grid lines out of it.
            scene.rect((at - half - 2.0, top + 3.0), (at + half + 2.0, top + 15.5), ground(i));
            scene.text((at, top + 9.0), Anchor::Middle, 11.0, true, INK, text);
        }
        scene.line((left, bottom), (right, bottom), GRID, 1.0);
    }
    let middle = (panels.columns[0].0 + 784.0) / 2.0;
    let y = panels.bottom + 32.0;
    scene.note((middle, y), Anchor::Middle, "time without it over time with it (1× = it changes nothing)");
    scene.height = y + 16.0;
    Some(scene)
}

fn tick(value: f64) -> String {
    if value < 0.999 { format!("{value}×") } else { format!("{}×", units::short(value)) }
}
