//! The ladder from the naive emulator to the processor: what each rung takes off the time.

use super::font;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, INK, Scene, WIDTH, ground};
use super::waterfall::{self, Line};
use crate::report::ladder::{Ladder, Rung, what};
use crate::report::summary::Summary;
use crate::report::units;

/// Height of a rung: its bar, and below it what it does.
const ROW: f64 = 42.0;
/// Where in it the middle of the bar lies.
const BAR: f64 = 15.0;
/// Where in it the words stand.
const WORDS: f64 = 32.0;

/// The chart, `None` where there are no two rungs.
pub(super) fn scene(summary: &Summary) -> Option<Scene> {
    let ladders: Vec<Ladder> = [false, true].into_iter().filter_map(|system| Ladder::of(summary, system)).collect();
    if ladders.is_empty() {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Waterfall of the geometric mean of the times against native: {}.",
        ladders.iter().map(description).collect::<Vec<_>>().join("; ")
    ));
    let top = scene.heading(
        "The ladder: what each rung removes",
        "Time against native, geometric mean with its 95% bootstrap interval; a bar is what the rung takes away or adds; log scale",
    );
    let top = waterfall::key(&mut scene, top);
    let values = ladders.iter().flat_map(|l| &l.rungs).flat_map(|r| {
        let (low, high) = r.slowdown.interval.map_or((r.slowdown.value, r.slowdown.value), |i| (i.low, i.high));
        [r.slowdown.value, low, high]
    });
    let label = ladders.iter().flat_map(|l| &l.rungs).map(|r| font::width(r.engine.name(), 12.0, true));
    let scale = LogScale::around(values, 38.0 + label.fold(60.0, f64::max), WIDTH - 24.0);
    let tick = |v: f64| if v < 0.999 { format!("{v}×") } else { format!("{}×", units::count(v.round() as u64)) };
    scale.draw_labels(&mut scene, top + 6.0, 44.0, tick);
    let mut y = top + 16.0;
    for ladder in &ladders {
        scene.text((16.0, y + 12.0), Anchor::Start, 12.0, true, INK, title(ladder));
        y = body(&mut scene, ladder, &scale, y + 24.0) + 8.0;
    }
    scale.draw_labels(&mut scene, y + 6.0, 44.0, tick);
    let middle = (scale.left() + scale.right()) / 2.0;
    scene.note((middle, y + 26.0), Anchor::Middle, "times the time of native (1× = as fast)");
    scene.height = y + 42.0;
    Some(scene)
}

fn title(ladder: &Ladder) -> String {
    let n = ladder.workloads.len();
    match (ladder.system, n) {
        (false, 1) => "1 program".to_owned(),
        (false, n) => format!("{n} programs"),
        (true, 1) => "1 system workload, which does little but enter the kernel".to_owned(),
        (true, n) => format!("{n} system workloads, which do little but enter the kernel"),
    }
}

fn description(ladder: &Ladder) -> String {
    let rungs: Vec<String> =
        ladder.rungs.iter().map(|r| format!("{} {}", r.engine, units::ratio(r.slowdown.value))).collect();
    format!("over {}, {}", title(ladder), rungs.join(", "))
}

/// `÷ 3.2 = 44×`, `× 1.2 = 53×`, or the value alone at the bottom.
fn text(rung: &Rung) -> String {
    let value = units::ratio(rung.slowdown.value);
    match rung.factor.map(|f| f.value) {
        None => value,
        Some(factor) if factor >= 1.0 => format!("÷ {} = {value}", units::number(factor)),
        Some(factor) => format!("× {} = {value}", units::number(1.0 / factor)),
    }
}

fn body(scene: &mut Scene, ladder: &Ladder, scale: &LogScale, top: f64) -> f64 {
    let bottom = scale.draw_rows(scene, top, ladder.rungs.iter().map(|_| ROW));
    let mut below: Option<f64> = None;
    for (i, rung) in ladder.rungs.iter().enumerate() {
        let y = top + i as f64 * ROW;
        let words = what(rung.engine);
        let width = font::width(words, 11.0, false);
        // On the row's ground, to keep grid lines out of the words.
        scene.rect((20.0, y + WORDS - 7.0), (24.0 + width, y + WORDS + 7.0), ground(i));
        scene.note((22.0, y + WORDS), Anchor::Start, words);
        scene.text((22.0, y + BAR), Anchor::Start, 12.0, true, INK, rung.engine.name());
        let line = Line {
            label: rung.engine.name().to_owned(),
            engine: Some(rung.engine),
            from: below,
            value: rung.slowdown,
            text: text(rung),
            dearer: below.is_some_and(|below| rung.slowdown.value > below),
        };
        waterfall::draw(scene, &line, scale, y + BAR, ground(i), BAR);
        below = Some(rung.slowdown.value);
    }
    scene.line((16.0, bottom), (WIDTH - 16.0, bottom), GRID, 1.0);
    bottom
}

#[cfg(test)]
mod tests {
    use super::super::palette::{BLUE, VERMILLION};
    use super::super::scene::Shape;
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn programs_and_system_have_a_ladder_each() {
        let scene = scene(&Summary::new(&synthetic::full())).expect("it has rungs");
        scene.assert_legible();
        assert!(scene.description.contains("over 8 programs, emu-naive "), "{}", scene.description);
        let has = |wanted| scene.shapes.iter().any(|s| matches!(s, Shape::Polygon { colour, .. } if *colour == wanted));
        assert!(has(BLUE) && has(VERMILLION), "kvm on PVM is dearer than translated code where the kernel is entered");
    }
}
