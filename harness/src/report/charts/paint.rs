//! Painting a scene with plotters: the same shapes at the same places in SVG and PNG.

use std::path::Path;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

use super::ChartError;
use super::font;
use super::scene::{Anchor, Colour, PAPER, Scene, Shape, Text, WIDTH};

/// Device pixels per CSS pixel: PNGs stay sharp on paper, and plotters' whole coordinates become half pixels.
const SCALE: f64 = 2.0;

fn size(scene: &Scene) -> (u32, u32) {
    ((WIDTH * SCALE) as u32, (scene.height * SCALE).ceil() as u32)
}

fn rgb(colour: Colour) -> RGBColor {
    RGBColor(colour.0, colour.1, colour.2)
}

/// The scene as a standalone SVG document.
pub(super) fn svg(scene: &Scene) -> Result<String, ChartError> {
    let (width, height) = size(scene);
    let mut out = String::new();
    let root = SVGBackend::with_string(&mut out, (width, height)).into_drawing_area();
    paint(scene, &root, element)?;
    drop(root);
    // The document is 800 px wide, with two device pixels to each.
    let device = format!("<svg width=\"{width}\" height=\"{height}\"");
    let title = escape(&scene.title);
    let page =
        format!("<svg role=\"img\" aria-label=\"{title}\" width=\"{WIDTH}\" height=\"{}\"", f64::from(height) / SCALE);
    let out = out.replacen(&device, &page, 1);
    let (open, rest) = out.split_at(out.find('>').map_or(0, |end| end + 1));
    let description = escape(&scene.description);
    // Full opacity is the default, and plotters writes it on every shape.
    Ok(format!("{open}\n<title>{title}</title>\n<desc>{description}</desc>{}", rest.replace(" opacity=\"1\"", "")))
}

/// The scene as a PNG file, 1600 px wide.
pub(super) fn png(scene: &Scene, path: &Path) -> Result<(), ChartError> {
    let root = BitMapBackend::new(path, size(scene)).into_drawing_area();
    paint(scene, &root, raster)
}

type Area<DB> = DrawingArea<DB, Shift>;
type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn paint<DB: DrawingBackend>(
    scene: &Scene,
    area: &Area<DB>,
    text: fn(&Text, &Area<DB>) -> Drawn<DB>,
) -> Result<(), ChartError> {
    let failed = |e: &dyn std::fmt::Display| ChartError::Draw(e.to_string());
    area.fill(&rgb(PAPER)).map_err(|e| failed(&e))?;
    for shape in &scene.shapes {
        draw(shape, area, text).map_err(|e| failed(&e))?;
    }
    area.present().map_err(|e| failed(&e))
}

fn draw<DB: DrawingBackend>(shape: &Shape, area: &Area<DB>, text: fn(&Text, &Area<DB>) -> Drawn<DB>) -> Drawn<DB> {
    match shape {
        Shape::Line { from, to, colour, width } => {
            let stroke = (width * SCALE).round().max(1.0) as u32;
            let style = rgb(*colour).stroke_width(stroke);
            area.draw(&PathElement::new(vec![at(*from), at(*to)], style))
        }
        Shape::Polygon { points, colour } => {
            let points: Vec<_> = points.iter().map(|&p| at(p)).collect();
            area.draw(&Polygon::new(points, rgb(*colour).filled()))
        }
        Shape::Disc { centre, radius, colour } => {
            let radius = (radius * SCALE).round() as i32;
            area.draw(&Circle::new(at(*centre), radius, rgb(*colour).filled()))
        }
        Shape::Text(shape) => text(shape, area),
    }
}

fn at((x, y): (f64, f64)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

/// Text as an SVG element.
fn element<DB: DrawingBackend>(text: &Text, area: &Area<DB>) -> Drawn<DB> {
    let style = if text.bold { FontStyle::Bold } else { FontStyle::Normal };
    // plotters divides by 1.24 for the font size of SVG.
    let size = text.size * SCALE * 1.24;
    let font = FontDesc::new(FontFamily::Name(font::FAMILY), size, style);
    let anchor = match text.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let colour = rgb(text.colour);
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(anchor, VPos::Center));
    area.draw_text(&text.text, &style, at((text.x, text.y)))
}

/// Text as pixels. Not by plotters, which rounds every letter to a whole pixel and drops side bearings.
fn raster<DB: DrawingBackend>(text: &Text, area: &Area<DB>) -> Drawn<DB> {
    let start = (text.extent().0 * SCALE, text.y * SCALE);
    let mut drawn = Ok(());
    font::raster(&text.text, text.size * SCALE, text.bold, start, |pixel, coverage| {
        if drawn.is_ok() && coverage > 0.0 {
            drawn = area.draw_pixel(pixel, &rgb(text.colour).mix(coverage));
        }
    });
    drawn
}

/// Escapes a text for an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
