//! Panels side by side that share their rows: one per engine or per quantity, one row per workload.

use super::font;
use super::scene::{Anchor, GRID, INK, Scene, WIDTH, ground};

/// Widest row label.
const LABEL: f64 = 130.0;
/// Distance between panels.
const GAP: f64 = 18.0;

/// Where panels and rows lie.
pub(super) struct Panels {
    /// Left and right end of each panel.
    pub(super) columns: Vec<(f64, f64)>,
    /// Top and height of each row.
    pub(super) rows: Vec<(f64, f64)>,
    /// Where the panels end.
    pub(super) bottom: f64,
}

/// Draws titles, row labels and bands, and says where the panels are.
///
/// `heights` has a height per row.
pub(super) fn draw(scene: &mut Scene, top: f64, titles: &[String], labels: &[&str], heights: &[f64]) -> Panels {
    let labels: Vec<String> = labels.iter().map(|l| font::fit(l, 12.0, false, LABEL)).collect();
    let label_width = labels.iter().map(|l| font::width(l, 12.0, false)).fold(60.0, f64::max);
    let left = 16.0 + label_width + 14.0;
    let count = titles.len() as f64;
    let width = (WIDTH - 16.0 - left - GAP * (count - 1.0)) / count;
    let columns: Vec<(f64, f64)> = (0..titles.len())
        .map(|i| {
            let from = left + i as f64 * (width + GAP);
            (from, from + width)
        })
        .collect();
    for ((from, to), title) in columns.iter().zip(titles) {
        let title = font::fit(title, 12.0, true, to - from);
        scene.text((*from, top + 8.0), Anchor::Start, 12.0, true, INK, title);
    }
    let mut y = top + 22.0;
    let mut rows = Vec::new();
    for (i, (label, &height)) in labels.iter().zip(heights).enumerate() {
        scene.rect((16.0, y), (WIDTH - 16.0, y + height), ground(i));
        scene.label((22.0, y + height / 2.0), Anchor::Start, label);
        rows.push((y, height));
        y += height;
    }
    for &(from, to) in &columns {
        scene.line((from, y), (to, y), GRID, 1.0);
    }
    Panels { columns, rows, bottom: y }
}
