//! The charts' font, carried in the binary: a host needs none.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont, point};

/// What an SVG asks for. Where Noto Sans is missing, Open Sans has the same metrics; then what the reader's system has.
pub(super) const FAMILY: &str = "Noto Sans, Open Sans, system-ui, sans-serif";

/// Half the height of a small x, in em: SVG text is centred by it (`dy="0.5ex"`), so PNG text is too.
const HALF_EX: f64 = 0.268;

static REGULAR: LazyLock<Result<FontRef<'static>, InvalidFont>> =
    LazyLock::new(|| FontRef::try_from_slice(notosans::REGULAR_TTF));
static BOLD: LazyLock<Result<FontRef<'static>, InvalidFont>> =
    LazyLock::new(|| FontRef::try_from_slice(notosans::BOLD_TTF));

fn font(bold: bool) -> Option<&'static FontRef<'static>> {
    let font = if bold { &BOLD } else { &REGULAR };
    font.as_ref().ok()
}

/// The scale at which the em is `size` pixels; ab_glyph's own unit is the line height.
fn scale(font: &FontRef<'_>, size: f64) -> PxScale {
    let em = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size as f32 * font.height_unscaled() / em)
}

/// Calls `place` for each character with its position from the start of the text; returns the width.
fn layout(text: &str, size: f64, bold: bool, mut place: impl FnMut(char, f32)) -> f32 {
    let Some(font) = font(bold) else { return 0.0 };
    let scaled = font.as_scaled(scale(font, size));
    let mut x = 0.0;
    let mut previous = None;
    for c in text.chars() {
        let glyph = scaled.glyph_id(c);
        if let Some(previous) = previous {
            x += scaled.kern(previous, glyph);
        }
        place(c, x);
        x += scaled.h_advance(glyph);
        previous = Some(glyph);
    }
    x
}

/// Width of a text, pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    f64::from(layout(text, size, bold, |_, _| {}))
}

/// Rasters a text that begins at `x` and is centred on `y`: calls `pixel` with a position and how much of it is covered.
pub(super) fn raster(text: &str, size: f64, bold: bool, (x, y): (f64, f64), mut pixel: impl FnMut((i32, i32), f64)) {
    let Some(font) = font(bold) else { return };
    let baseline = (y + HALF_EX * size) as f32;
    layout(text, size, bold, |c, dx| {
        let glyph = font.glyph_id(c).with_scale_and_position(scale(font, size), point(x as f32 + dx, baseline));
        if let Some(outline) = font.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|px, py, coverage| {
                let at = (corner.x as i32 + px as i32, corner.y as i32 + py as i32);
                pixel(at, f64::from(coverage.min(1.0)));
            });
        }
    });
}

/// The text, cut with an ellipsis where it is wider than `max` pixels.
pub(super) fn fit(text: &str, size: f64, bold: bool, max: f64) -> String {
    if width(text, size, bold) <= max {
        return text.to_owned();
    }
    let mut cut: Vec<char> = text.chars().collect();
    while cut.pop().is_some() {
        let shorter: String = cut.iter().chain(['…'].iter()).collect();
        if width(&shorter, size, bold) <= max {
            return shorter;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_measures_text() {
        let narrow = width("iii", 12.0, false);
        let wide = width("WWW", 12.0, false);
        assert!(narrow > 5.0 && wide > 2.0 * narrow, "{narrow} {wide}");
        assert!(width("iii", 12.0, true) > narrow);
    }

    #[test]
    fn the_font_has_what_the_charts_write() {
        for bold in [false, true] {
            for c in "abcxyzABCXYZ0123456789×÷+µ–…†<>%.,:()/_-*".chars() {
                assert_ne!(font(bold).unwrap().glyph_id(c).0, 0, "{c}");
            }
        }
    }

    #[test]
    fn text_is_rastered_where_it_belongs() {
        let (mut left, mut right, mut above, mut below) = (i32::MAX, 0, 0.0, 0.0);
        raster("x", 100.0, false, (50.0, 80.0), |(x, y), coverage| {
            left = left.min(x);
            right = right.max(x);
            *(if y < 80 { &mut above } else { &mut below }) += coverage;
        });
        assert!(left >= 50 && right <= 110, "{left} {right}");
        assert!(above > 100.0 && (above / below - 1.0f64).abs() < 0.2, "{above} {below}");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(fit("sieve", 12.0, false, 100.0), "sieve");
        let cut = fit(&"workload".repeat(10), 12.0, false, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 100.0);
    }
}
