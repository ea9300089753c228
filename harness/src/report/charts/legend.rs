//! Legends above charts.

use super::font;
use super::palette::Series;
use super::scene::{Anchor, INK, Scene, WIDTH};

const SIZE: f64 = 12.0;
const LINE: f64 = 20.0;

/// Draws a legend, on as many lines as it needs; returns where the chart goes on.
pub(super) fn draw(scene: &mut Scene, top: f64, entries: &[(Series, String)]) -> f64 {
    let (mut x, mut y) = (16.0, top + 8.0);
    for (series, name) in entries {
        let width = 16.0 + font::width(name, SIZE, false);
        if x > 16.0 && x + width > WIDTH - 16.0 {
            x = 16.0;
            y += LINE;
        }
        series.marker(scene, (x + 5.0, y), 4.5);
        scene.text((x + 16.0, y), Anchor::Start, SIZE, false, INK, name);
        x += width + 22.0;
    }
    y + LINE
}
