//! How many times slower each engine is, per workload.

use super::font;
use super::legend;
use super::palette;
use super::scale::LogScale;
use super::scene::{Anchor, Colour, GRID, INK, MUTED, Scene, WIDTH, ground};
use crate::model::{EngineId, Setup};
use crate::report::groups::Group;
use crate::report::summary::Summary;
use crate::report::units;
use crate::stats::Estimate;

/// Widest row label.
const LABEL: f64 = 170.0;
/// Distance between two engines of a row.
const STEP: f64 = 7.0;
/// Distance between two engines where each has a written value.
const WIDE_STEP: f64 = 16.0;

struct Row {
    label: String,
    points: Vec<(Setup, Estimate)>,
}

struct Section {
    title: String,
    /// 1× is kvm, not native.
    against_kvm: bool,
    /// Values are written beside the markers.
    written: bool,
    rows: Vec<Row>,
}

/// The chart, `None` where no workload has a baseline.
pub(super) fn scene(summary: &Summary) -> Option<Scene> {
    let sections = sections(summary);
    let engines: Vec<Setup> =
        summary.engines.iter().copied().filter(|&e| all_points(&sections).any(|(engine, _)| *engine == e)).collect();
    if engines.is_empty() {
        return None;
    }
    let native = summary.workloads.iter().any(|w| w.baseline == Some(EngineId::Native));
    let baseline = if native { "native" } else { "kvm" };
    let mut scene = Scene::new(format!(
        "Dot plot of the slowdown of {} against {baseline}, one row per workload, on a logarithmic axis; the table \
         below it has the same numbers.",
        engines.iter().map(Setup::name).collect::<Vec<_>>().join(", ")
    ));
    let top = scene.heading(
        &format!("How many times slower than {baseline}"),
        "Time of the region of interest over the baseline's: ratio of medians with its 95% bootstrap interval; log scale",
    );
    let entries: Vec<_> = engines.iter().map(|&e| (palette::engine(e.id), e.name())).collect();
    let top = legend::draw(&mut scene, top, &entries) + 2.0;

    let left = 24.0 + label_width(&sections);
    let split = sections.iter().take_while(|s| !s.against_kvm).count();
    let (usual, other) = sections.split_at(split);
    let mut y = top;
    if !usual.is_empty() {
        y = part(&mut scene, usual, left, y, "times the time of native (1× = as fast)");
    }
    if !other.is_empty() {
        y += if usual.is_empty() { 0.0 } else { 14.0 };
        y = part(&mut scene, other, left, y, "times the time of kvm (1× = as fast)");
    }
    scene.height = y + 8.0;
    Some(scene)
}

/// Sections with an axis of their own above and below.
fn part(scene: &mut Scene, sections: &[Section], left: f64, top: f64, title: &str) -> f64 {
    let values = all_points(sections).flat_map(|(_, e)| {
        let (low, high) = e.interval.map_or((e.value, e.value), |i| (i.low, i.high));
        [e.value, low, high]
    });
    let axis = LogScale::around(values.chain([1.0]), left, WIDTH - 24.0);
    let tick = |v: f64| format!("{}×", plain(v));
    axis.draw_labels(scene, top + 6.0, 44.0, tick);
    let bottom = body(scene, sections, &axis, top + 14.0);
    axis.draw_labels(scene, bottom + 14.0, 44.0, tick);
    let middle = (axis.left() + axis.right()) / 2.0;
    scene.note((middle, bottom + 34.0), Anchor::Middle, title);
    bottom + 42.0
}

fn all_points(sections: &[Section]) -> impl Iterator<Item = &(Setup, Estimate)> {
    sections.iter().flat_map(|s| &s.rows).flat_map(|r| &r.points)
}

fn label_width(sections: &[Section]) -> f64 {
    sections.iter().flat_map(|s| &s.rows).map(|r| font::width(&r.label, 12.0, false)).fold(80.0, f64::max).min(LABEL)
}

/// A tick's value: `0.5`, `1`, `2,000`.
fn plain(value: f64) -> String {
    if value < 0.999 { format!("{value}") } else { units::count(value.round() as u64) }
}

fn sections(summary: &Summary) -> Vec<Section> {
    let mut sections = vec![means(summary)];
    for workload in &summary.workloads {
        let against_kvm = match workload.baseline {
            Some(EngineId::Native) => false,
            Some(_) => true,
            None => continue,
        };
        let points: Vec<_> = summary
            .engines
            .iter()
            .filter(|&&e| workload.baseline.is_none_or(|b| e != b))
            .filter_map(|&e| Some((e, summary.cell(e, &workload.label)?.ratio?)))
            .collect();
        if points.is_empty() {
            continue;
        }
        let title = title(workload.group, against_kvm);
        let row = Row { label: font::fit(&workload.label, 12.0, false, LABEL), points };
        match sections.iter_mut().find(|s| s.title == title) {
            Some(section) => section.rows.push(row),
            None => sections.push(Section { title, against_kvm, written: false, rows: vec![row] }),
        }
    }
    sections.retain(|s| !s.rows.is_empty());
    // Other units last: 1× means something else there.
    sections.sort_by_key(|s| s.against_kvm);
    sections
}

fn title(group: Group, against_kvm: bool) -> String {
    if against_kvm { format!("{}, against kvm", group.title()) } else { group.title().to_owned() }
}

fn means(summary: &Summary) -> Section {
    let rows = [false, true]
        .into_iter()
        .filter_map(|system| {
            let points: Vec<_> =
                summary.means.iter().filter(|m| m.system == system).map(|m| (m.engine, m.estimate)).collect();
            let label = if system { "system" } else { "programs" };
            (!points.is_empty()).then(|| Row { label: label.to_owned(), points })
        })
        .collect();
    Section { title: "Geometric mean".to_owned(), against_kvm: false, written: true, rows }
}

fn body(scene: &mut Scene, sections: &[Section], axis: &LogScale, top: f64) -> f64 {
    let mut y = top;
    for section in sections {
        scene.text((16.0, y + 13.0), Anchor::Start, 12.0, true, INK, &section.title);
        y = rows(scene, section, axis, y + 26.0) + 6.0;
    }
    scene.line((16.0, y), (WIDTH - 16.0, y), GRID, 1.0);
    y
}

/// The rows of a section: bands, then the grid, then what lies on it.
fn rows(scene: &mut Scene, section: &Section, axis: &LogScale, top: f64) -> f64 {
    let step = if section.written { WIDE_STEP } else { STEP };
    let height = |row: &Row| (row.points.len() as f64 * step + 6.0).max(22.0);
    let bottom = axis.draw_rows(scene, top, section.rows.iter().map(height));
    scene.line((axis.x(1.0), top), (axis.x(1.0), bottom), MUTED, 1.5);
    let mut y = top;
    for (i, row) in section.rows.iter().enumerate() {
        let centre = y + height(row) / 2.0;
        scene.label((22.0, centre), Anchor::Start, &row.label);
        let first = centre - (row.points.len() as f64 - 1.0) * step / 2.0;
        for (k, (engine, estimate)) in row.points.iter().enumerate() {
            let y = first + k as f64 * step;
            let (left, right) = point(scene, axis, y, *engine, estimate);
            if section.written {
                let text = format!("{engine} {}", units::ratio(estimate.value));
                write(scene, (left, right), y, text, ground(i));
            }
        }
        y += height(row);
    }
    bottom
}

/// Draws a marker with its interval; returns the ends of what was drawn.
pub(super) fn point(scene: &mut Scene, axis: &LogScale, y: f64, engine: Setup, estimate: &Estimate) -> (f64, f64) {
    const RADIUS: f64 = 4.0;
    let series = palette::engine(engine.id);
    let x = axis.x(estimate.value);
    let (low, high) = estimate.interval.map_or((x, x), |i| (axis.x(i.low), axis.x(i.high)));
    if estimate.interval.is_some() {
        scene.line((low, y), (high, y), series.colour, 1.5);
        for end in [low, high] {
            scene.line((end, y - 2.5), (end, y + 2.5), series.colour, 1.5);
        }
    }
    series.marker(scene, (x, y), RADIUS);
    (low.min(x - RADIUS), high.max(x + RADIUS))
}

/// Writes a value beside its marker, on the side that has room, on the row's ground to keep grid lines out of it.
fn write(scene: &mut Scene, (left, right): (f64, f64), y: f64, text: String, ground: Colour) {
    let width = font::width(&text, 11.0, false);
    let (from, anchor, at) = if right + 10.0 + width < WIDTH - 16.0 {
        (right + 3.0, Anchor::Start, right + 6.0)
    } else {
        (left - 9.0 - width, Anchor::End, left - 6.0)
    };
    scene.rect((from, y - 6.0), (from + width + 6.0, y + 6.0), ground);
    scene.note((at, y), anchor, text);
}
