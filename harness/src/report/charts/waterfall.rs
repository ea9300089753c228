//! What each mechanism takes away, step by step, for one workload; and what its absence costs.

use super::font;
use super::palette::{self, BLUE, VERMILLION};
use super::scale::LogScale;
use super::scene::{Anchor, Colour, GRID, INK, MUTED, PAPER, Scene, WIDTH, ground};
use crate::ablation::{Analysis, Kind, Mechanism, Row, Step};
use crate::model::EngineId;
use crate::report::summary::Summary;
use crate::report::units;
use crate::stats::Estimate;

const ROW: f64 = 24.0;
const BAR: f64 = 12.0;
/// Widest row label.
const LABEL: f64 = 150.0;

/// A row of the chart.
pub(super) struct Line {
    pub(super) label: String,
    /// The engine that this step is, where it is one.
    pub(super) engine: Option<EngineId>,
    /// Where the bar begins; it ends at the value.
    pub(super) from: Option<f64>,
    pub(super) value: Estimate,
    /// What is written beside it.
    pub(super) text: String,
    /// The bar is what a step costs, not what it saves.
    pub(super) dearer: bool,
}

/// Rows with a heading.
struct Group {
    title: String,
    lines: Vec<Line>,
}

/// The chart of a workload, `None` where no two of its steps have a time.
pub(super) fn scene(analysis: &Analysis, summary: &Summary, workload: &str) -> Option<Scene> {
    let axis = Unit::of(summary, workload)?;
    let groups = groups(analysis, &axis, workload);
    let lines = || groups.iter().flat_map(|g| &g.lines);
    if lines().count() < 2 {
        return None;
    }
    let mut scene = Scene::new(format!(
        "Waterfall of {workload}: its time after each mechanism that is added to the emulator, from emu-naive to native, \
         and with each taken out of the full set, on a logarithmic axis; the table below has the same numbers."
    ));
    let title = font::fit(&format!("What each mechanism is worth: {workload}"), 17.0, true, WIDTH - 32.0);
    let top = scene.heading(
        &title,
        "Median time after each step, with its 95% bootstrap interval; a bar is what the step takes away or adds; log scale",
    );
    let top = key(&mut scene, top);
    let label = lines().map(|l| font::width(&l.label, 12.0, l.engine.is_some())).fold(80.0, f64::max).min(LABEL);
    let values = lines().flat_map(|l| {
        let (low, high) = l.value.interval.map_or((l.value.value, l.value.value), |i| (i.low, i.high));
        [l.from.unwrap_or(l.value.value), low, high]
    });
    let scale = LogScale::around(values, 24.0 + label + 14.0, WIDTH - 24.0);
    scale.draw_labels(&mut scene, top + 6.0, 44.0, |v| axis.tick(v));
    let mut y = top + 16.0;
    for group in groups.iter().filter(|g| !g.lines.is_empty()) {
        scene.text((16.0, y + 12.0), Anchor::Start, 12.0, true, INK, &group.title);
        y = body(&mut scene, group, &scale, y + 24.0) + 8.0;
    }
    scale.draw_labels(&mut scene, y + 6.0, 44.0, |v| axis.tick(v));
    let middle = (scale.left() + scale.right()) / 2.0;
    scene.note((middle, y + 26.0), Anchor::Middle, axis.title());
    scene.height = y + 42.0;
    Some(scene)
}

/// What the axis counts.
enum Unit {
    /// Multiples of an engine's time.
    Times(EngineId, f64),
    /// Nanoseconds, where no engine is a baseline.
    Ns,
}

impl Unit {
    fn of(summary: &Summary, workload: &str) -> Option<Self> {
        let baseline = summary.workload(workload)?.baseline;
        let median = baseline.and_then(|engine| Some((engine, summary.cell(engine, workload)?.median?.value)));
        Some(median.map_or(Self::Ns, |(engine, ns)| Self::Times(engine, ns)))
    }

    /// A time on this axis. Its interval is the time's own, since the baseline only scales.
    fn scaled(&self, median: Estimate) -> Estimate {
        let unit = match self {
            Self::Times(_, ns) => *ns,
            Self::Ns => 1.0,
        };
        let interval = median.interval.map(|i| crate::stats::Interval { low: i.low / unit, high: i.high / unit });
        Estimate { value: median.value / unit, interval }
    }

    fn text(&self, value: f64) -> String {
        match self {
            Self::Times(..) => units::ratio(value),
            Self::Ns => units::time(value),
        }
    }

    fn tick(&self, value: f64) -> String {
        match self {
            Self::Times(..) if value < 0.999 => format!("{value}×"),
            Self::Times(..) => format!("{}×", units::count(value.round() as u64)),
            Self::Ns => units::time(value),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Times(engine, _) => format!("times the time of {engine} (1× = as fast)"),
            Self::Ns => "time of the region of interest".to_owned(),
        }
    }
}

fn groups(analysis: &Analysis, unit: &Unit, workload: &str) -> Vec<Group> {
    let median = |row: &Row| row.median.map(|m| unit.scaled(m));
    let mut before = None;
    let mut ladder = Vec::new();
    for (index, step) in analysis.ladder() {
        let Some((row, value)) = analysis.row(index, workload).and_then(|r| Some((r, median(r)?))) else { continue };
        ladder.push(Line {
            label: label(step),
            engine: step.engine.is_plain().then_some(step.engine.id),
            from: before,
            value,
            text: text(row, step, unit, value.value),
            dearer: before.is_some_and(|b| value.value > b),
        });
        before = Some(value.value);
    }
    let mut groups = vec![Group {
        title: "Added one after another, from nothing to the processor itself".to_owned(),
        lines: ladder,
    }];
    for full in [EngineId::EmuInterp, EngineId::EmuDbt] {
        let whole = analysis.steps.iter().position(|s| s.engine == full && s.kind != Kind::Removed);
        let whole = whole.and_then(|i| median(analysis.row(i, workload)?)).map(|e| e.value);
        let lines = analysis.removals(full).filter_map(|(index, step)| {
            let row = analysis.row(index, workload)?;
            let value = median(row)?;
            Some(Line {
                label: label(step),
                engine: None,
                from: whole,
                value,
                text: text(row, step, unit, value.value),
                dearer: whole.is_some_and(|w| value.value > w),
            })
        });
        let title = match whole {
            Some(value) => format!("Taken out of {full} ({}), one at a time", unit.text(value)),
            None => format!("Taken out of {full}, one at a time"),
        };
        groups.push(Group { title, lines: lines.collect() });
    }
    groups
}

/// `+ soft TLB`, `without soft TLB`, or the engine.
fn label(step: &Step) -> String {
    let title = step.mechanism.as_deref().and_then(Mechanism::find).map(|m| m.title);
    match (step.kind, title) {
        (Kind::Added, Some(title)) => format!("+ {title}"),
        (Kind::Removed, Some(title)) => format!("without {title}"),
        _ => step.engine.name(),
    }
}

/// `÷ 3.2 = 44×`: what became of the time, and what it is.
fn text(row: &Row, step: &Step, unit: &Unit, value: f64) -> String {
    let value = unit.text(value);
    let Some(factor) = row.factor.map(|f| f.value) else { return value };
    let names = step.engine.is_plain() && step.kind == Kind::Added;
    let is = if names { format!("{value}: {}", step.engine) } else { value };
    let sign = match step.kind {
        Kind::Removed => "×",
        _ => "÷",
    };
    format!("{sign} {} = {is}", units::number(factor))
}

pub(super) fn key(scene: &mut Scene, top: f64) -> f64 {
    let y = top + 8.0;
    let mut x = 16.0;
    for (colour, hatched, name) in [(BLUE, false, "time that the step saves"), (VERMILLION, true, "time that it adds")]
    {
        area(scene, (x, y - 5.0), (x + 18.0, y + 5.0), colour, hatched);
        scene.text((x + 25.0, y), Anchor::Start, 12.0, false, INK, name);
        x += 25.0 + font::width(name, 12.0, false) + 24.0;
    }
    y + 20.0
}

fn area(scene: &mut Scene, from: (f64, f64), to: (f64, f64), colour: Colour, hatched: bool) {
    scene.rect(from, to, colour);
    if hatched {
        scene.hatch(from, to, PAPER);
    }
}

fn body(scene: &mut Scene, group: &Group, scale: &LogScale, top: f64) -> f64 {
    let bottom = scale.draw_rows(scene, top, group.lines.iter().map(|_| ROW));
    for (i, line) in group.lines.iter().enumerate() {
        let y = top + (i as f64 + 0.5) * ROW;
        let text = font::fit(&line.label, 12.0, line.engine.is_some(), LABEL);
        scene.text((22.0, y), Anchor::Start, 12.0, line.engine.is_some(), INK, text);
        draw(scene, line, scale, y, ground(i), ROW / 2.0);
    }
    scene.line((16.0, bottom), (WIDTH - 16.0, bottom), GRID, 1.0);
    bottom
}

/// Draws a bar and what belongs to it; `above` is how far up the row begins.
pub(super) fn draw(scene: &mut Scene, line: &Line, scale: &LogScale, y: f64, ground: Colour, above: f64) {
    let x = scale.x(line.value.value);
    let from = line.from.map_or(x, |v| scale.x(v));
    let (mut left, mut right) = (x.min(from), x.max(from));
    if right - left > 0.5 {
        let (colour, hatched) = if line.dearer { (VERMILLION, true) } else { (BLUE, false) };
        area(scene, (left, y - BAR / 2.0), (right, y + BAR / 2.0), colour, hatched);
    }
    if line.engine.is_some() {
        // A rim, since the marker may have the colour of the bar.
        scene.disc((x, y), 7.0, ground);
    }
    // Where the step begins, so that the eye finds the end of the one before.
    if line.from.is_some() {
        scene.line((from, y - above), (from, y + BAR / 2.0), MUTED, 1.0);
    }
    if let Some(interval) = line.value.interval {
        let (low, high) = (scale.x(interval.low), scale.x(interval.high));
        scene.line((low, y), (high, y), INK, 1.5);
        for end in [low, high] {
            scene.line((end, y - 3.0), (end, y + 3.0), INK, 1.5);
        }
        (left, right) = (left.min(low), right.max(high));
    }
    match line.engine {
        Some(engine) => palette::engine(engine).marker(scene, (x, y), 4.5),
        None => scene.line((x, y - BAR / 2.0 - 1.0), (x, y + BAR / 2.0 + 1.0), INK, 2.0),
    }
    (left, right) = (left.min(x - 5.0), right.max(x + 5.0));
    write(scene, (left, right), y, &line.text, ground, scale);
}

/// Writes beside the bar, on the side that has room, on the row's ground to keep grid lines out of it.
fn write(scene: &mut Scene, (left, right): (f64, f64), y: f64, text: &str, ground: Colour, scale: &LogScale) {
    let width = font::width(text, 11.0, false);
    let (from, anchor, at) = if right + 12.0 + width < WIDTH - 18.0 {
        (right + 3.0, Anchor::Start, right + 6.0)
    } else if left - 12.0 - width > scale.left() {
        (left - 9.0 - width, Anchor::End, left - 6.0)
    } else {
        // A bar over the whole width: on it, as far from the value as can be.
        (right - 9.0 - width, Anchor::End, right - 6.0)
    };
    scene.rect((from, y - 6.5), (from + width + 6.0, y + 6.5), ground);
    scene.note((at, y), anchor, text);
}
