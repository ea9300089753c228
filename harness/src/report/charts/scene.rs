//! A chart as a list of shapes, so that one layout is painted as SVG and as PNG, and can be checked without painting.
//!
//! Coordinates and sizes are CSS pixels of an 800 px wide page.

use super::font;

/// Width of every chart.
pub(super) const WIDTH: f64 = 800.0;

/// A colour, RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

/// Text and strong lines.
pub(super) const INK: Colour = Colour(0x1f, 0x23, 0x28);
/// Secondary text.
pub(super) const MUTED: Colour = Colour(0x59, 0x63, 0x6e);
/// Grid lines.
pub(super) const GRID: Colour = Colour(0xe0, 0xe5, 0xea);
/// Every other row.
const BAND: Colour = Colour(0xf6, 0xf8, 0xfa);
/// The page.
pub(super) const PAPER: Colour = Colour(0xff, 0xff, 0xff);

/// What a row of a chart lies on: every other one is a band.
pub(super) const fn ground(row: usize) -> Colour {
    if row.is_multiple_of(2) { BAND } else { PAPER }
}

/// Which end of a text sits at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A run of text, vertically centred on `y`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) colour: Colour,
    pub(super) anchor: Anchor,
    pub(super) text: String,
}

impl Text {
    /// Left and right end.
    pub(super) fn extent(&self) -> (f64, f64) {
        let width = font::width(&self.text, self.size, self.bold);
        let left = match self.anchor {
            Anchor::Start => self.x,
            Anchor::Middle => self.x - width / 2.0,
            Anchor::End => self.x - width,
        };
        (left, left + width)
    }
}

/// One shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A straight line.
    Line { from: (f64, f64), to: (f64, f64), colour: Colour, width: f64 },
    /// A filled polygon.
    Polygon { points: Vec<(f64, f64)>, colour: Colour },
    /// A disc.
    Disc { centre: (f64, f64), radius: f64, colour: Colour },
    /// A text.
    Text(Text),
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) height: f64,
    /// Its heading.
    pub(super) title: String,
    /// What it shows, for readers who cannot see it.
    pub(super) description: String,
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    pub(super) fn new(description: impl Into<String>) -> Self {
        Self { height: 0.0, title: String::new(), description: description.into(), shapes: Vec::new() }
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour, width: f64) {
        self.shapes.push(Shape::Line { from, to, colour, width });
    }

    pub(super) fn rect(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        let points = vec![from, (to.0, from.1), to, (from.0, to.1)];
        self.polygon(points, colour);
    }

    pub(super) fn polygon(&mut self, points: Vec<(f64, f64)>, colour: Colour) {
        self.shapes.push(Shape::Polygon { points, colour });
    }

    pub(super) fn disc(&mut self, centre: (f64, f64), radius: f64, colour: Colour) {
        self.shapes.push(Shape::Disc { centre, radius, colour });
    }

    /// Plain text in ink, 12 px.
    pub(super) fn label(&mut self, at: (f64, f64), anchor: Anchor, text: impl Into<String>) {
        self.text(at, anchor, 12.0, false, INK, text);
    }

    /// Small secondary text, 11 px.
    pub(super) fn note(&mut self, at: (f64, f64), anchor: Anchor, text: impl Into<String>) {
        self.text(at, anchor, 11.0, false, MUTED, text);
    }

    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        size: f64,
        bold: bool,
        colour: Colour,
        text: impl Into<String>,
    ) {
        // Control characters cannot be written in XML at all.
        let text = text.into().replace(char::is_control, " ");
        self.shapes.push(Shape::Text(Text { x, y, size, bold, colour, anchor, text }));
    }

    /// The title and what is plotted; returns where the chart goes on.
    pub(super) fn heading(&mut self, title: &str, subtitle: &str) -> f64 {
        title.clone_into(&mut self.title);
        self.text((16.0, 22.0), Anchor::Start, 17.0, true, INK, title);
        self.text((16.0, 43.0), Anchor::Start, 12.0, false, MUTED, subtitle);
        60.0
    }

    /// Diagonal lines over a rectangle, so that areas differ without colour.
    pub(super) fn hatch(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        let (left, top, right, bottom) = (from.0, from.1, to.0, to.1);
        let height = bottom - top;
        let mut start = left - height;
        while start < right {
            // The line climbs from (start, bottom) to (start + height, top); keep the part inside.
            let a = start.max(left);
            let b = (start + height).min(right);
            if b > a {
                let y = |x: f64| bottom - (x - start);
                self.line((a, y(a)), (b, y(b)), colour, 1.0);
            }
            start += 6.0;
        }
    }
}

#[cfg(test)]
impl Scene {
    /// Fails where a text leaves the canvas or overlaps another.
    pub(super) fn assert_legible(&self) {
        let texts: Vec<(&Text, (f64, f64))> = self
            .shapes
            .iter()
            .filter_map(|s| match s {
                Shape::Text(t) => Some((t, t.extent())),
                _ => None,
            })
            .collect();
        for (i, (text, (left, right))) in texts.iter().enumerate() {
            let half = text.size * 0.5;
            assert!(*left >= 0.0 && *right <= WIDTH, "'{}' leaves the canvas: {left:.0} to {right:.0}", text.text);
            assert!(
                text.y - half >= 0.0 && text.y + half <= self.height,
                "'{}' leaves the canvas at {}",
                text.text,
                text.y
            );
            for (other, (l, r)) in &texts[..i] {
                let apart = *left >= *r || *l >= *right || (text.y - other.y).abs() >= (text.size + other.size) * 0.45;
                assert!(apart, "'{}' overlaps '{}'", text.text, other.text);
            }
        }
    }
}
