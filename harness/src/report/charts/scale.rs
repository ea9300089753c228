//! Logarithmic axes.

use super::scene::{Anchor, GRID, MUTED, Scene, WIDTH, ground};

/// A logarithmic axis from `low` to `high`, drawn from `left` to `right`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogScale {
    low: f64,
    high: f64,
    left: f64,
    right: f64,
}

/// Steps inside a decade at which an axis may begin and end.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

impl LogScale {
    /// An axis that holds all positive values, with some room at both ends.
    pub(super) fn around(values: impl Iterator<Item = f64>, left: f64, right: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for v in values.filter(|v| v.is_finite() && *v > 0.0) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            (low, high) = (1.0, 1.0);
        }
        // At least most of a decade, so that a flat experiment does not look like a steep one.
        let missing = (8.0 / (high / low)).max(1.0).sqrt();
        Self { low: step_at(low / missing / 1.08, false), high: step_at(high * missing * 1.08, true), left, right }
    }

    /// The same axis at another place.
    pub(super) const fn moved(self, left: f64, right: f64) -> Self {
        Self { left, right, ..self }
    }

    /// Where a value is drawn.
    pub(super) fn x(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.left + share.min(1.0) * (self.right - self.left)
    }

    pub(super) const fn left(&self) -> f64 {
        self.left
    }

    pub(super) const fn right(&self) -> f64 {
        self.right
    }

    fn decades(&self) -> f64 {
        (self.high / self.low).log10()
    }

    /// All steps of 1, 2 and 5 on the axis.
    fn steps(&self) -> Vec<(f64, bool)> {
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        (first..=last)
            .flat_map(|e| STEPS.map(|s| (s * 10f64.powi(e), s == 1.0)))
            .filter(|(v, _)| *v >= self.low * 0.999 && *v <= self.high * 1.001)
            .collect()
    }

    /// The values that get a grid line.
    pub(super) fn grid(&self) -> Vec<f64> {
        self.labelled(14.0)
    }

    /// The values that get a label, at least `room` pixels apart.
    fn labelled(&self, room: f64) -> Vec<f64> {
        let fine = self.decades() < 2.2;
        let mut shown: Vec<f64> = Vec::new();
        let decades = self.steps().into_iter().filter(|s| s.1);
        let between = self.steps().into_iter().filter(|s| !s.1 && fine);
        for (value, _) in decades.chain(between) {
            if shown.iter().all(|&s| (self.x(s) - self.x(value)).abs() >= room) {
                shown.push(value);
            }
        }
        shown.sort_unstable_by(f64::total_cmp);
        shown
    }

    /// Draws rows of these heights, over the chart's width, with grid lines on them; returns where they end.
    pub(super) fn draw_rows(&self, scene: &mut Scene, top: f64, heights: impl Iterator<Item = f64>) -> f64 {
        let mut y = top;
        for (row, height) in heights.enumerate() {
            scene.rect((16.0, y), (WIDTH - 16.0, y + height), ground(row));
            y += height;
        }
        self.draw_grid(scene, top, y);
        y
    }

    /// Draws grid lines.
    pub(super) fn draw_grid(&self, scene: &mut Scene, top: f64, bottom: f64) {
        for value in self.grid() {
            let x = self.x(value);
            scene.line((x, top), (x, bottom), GRID, 1.0);
        }
    }

    /// Draws labels at height `y`, where `room` pixels keep them apart.
    pub(super) fn draw_labels(&self, scene: &mut Scene, y: f64, room: f64, label: impl Fn(f64) -> String) {
        for value in self.labelled(room) {
            let at = (self.x(value), y);
            scene.text(at, Anchor::Middle, 11.0, false, MUTED, label(value));
        }
    }
}

/// The nearest step of 1, 2 or 5 above or below a value.
fn step_at(value: f64, above: bool) -> f64 {
    let decade = value.log10().floor() as i32;
    let mut steps = (decade - 1..=decade + 1).flat_map(|e| STEPS.map(|s| s * 10f64.powi(e)));
    if above {
        steps.find(|&s| s >= value * 0.999_999).unwrap_or(value)
    } else {
        steps.rev().find(|&s| s <= value * 1.000_001).unwrap_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values() {
        let axis = LogScale::around([0.97, 54.0, 1230.0].into_iter(), 100.0, 700.0);
        assert_eq!((axis.low, axis.high), (0.5, 2000.0));
        assert_eq!(axis.x(0.5), 100.0);
        assert_eq!(axis.x(2000.0), 700.0);
        assert!(axis.x(1.0) > 100.0 && axis.x(1.0) < axis.x(54.0));
    }

    #[test]
    fn an_axis_of_nothing_or_of_one_value_is_an_axis() {
        for values in [vec![], vec![3.0], vec![0.0, f64::NAN]] {
            let axis = LogScale::around(values.into_iter(), 0.0, 100.0);
            assert!(axis.high / axis.low >= 8.0, "{axis:?}");
            assert!(!axis.grid().is_empty());
        }
    }

    #[test]
    fn labels_keep_their_distance() {
        let axis = LogScale::around([1.0, 1e9].into_iter(), 0.0, 100.0);
        let shown = axis.labelled(30.0);
        assert!(shown.len() >= 2);
        for pair in shown.windows(2) {
            assert!(axis.x(pair[1]) - axis.x(pair[0]) >= 30.0);
        }
    }
}
