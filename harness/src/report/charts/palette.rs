//! Colours and markers: every series differs in both, so charts read in grey print and by colour-blind eyes.
//!
//! Colours: Okabe and Ito, "Color Universal Design", 2008.

use super::scene::{Colour, INK, PAPER, Scene};
use crate::model::EngineId;

pub(super) const BLUE: Colour = Colour(0x00, 0x72, 0xb2);
pub(super) const SKY: Colour = Colour(0x56, 0xb4, 0xe9);
pub(super) const VERMILLION: Colour = Colour(0xd5, 0x5e, 0x00);
pub(super) const ORANGE: Colour = Colour(0xe6, 0x9f, 0x00);
pub(super) const GREEN: Colour = Colour(0x00, 0x9e, 0x73);
pub(super) const PURPLE: Colour = Colour(0xcc, 0x79, 0xa7);
pub(super) const GREY: Colour = Colour(0x8c, 0x95, 0x9f);

/// The shape of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Disc,
    Square,
    Diamond,
    Up,
    Down,
    Cross,
}

/// How one series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) colour: Colour,
    form: Form,
    hollow: bool,
}

const fn series(colour: Colour, form: Form, hollow: bool) -> Series {
    Series { colour, form, hollow }
}

/// The look of an engine, the same in every chart.
pub(super) const fn engine(id: EngineId) -> Series {
    match id {
        EngineId::Native => series(INK, Form::Disc, true),
        EngineId::Kvm => series(BLUE, Form::Disc, false),
        EngineId::QemuKvm => series(SKY, Form::Square, true),
        EngineId::EmuDbt => series(PURPLE, Form::Down, false),
        EngineId::EmuInterp => series(VERMILLION, Form::Square, false),
        EngineId::EmuNaive => series(ORANGE, Form::Diamond, false),
        EngineId::QemuTcg => series(GREEN, Form::Up, false),
    }
}

/// The look of what is added to the emulator, which is no engine.
pub(super) const ADDED: Series = series(INK, Form::Diamond, false);

/// The looks of exit reasons, in the order in which reasons are shown; the last is for all that follow.
pub(super) const REASONS: [Series; 8] = [
    series(BLUE, Form::Disc, false),
    series(VERMILLION, Form::Square, false),
    series(GREEN, Form::Up, false),
    series(ORANGE, Form::Diamond, false),
    series(PURPLE, Form::Down, false),
    series(SKY, Form::Square, true),
    series(INK, Form::Disc, true),
    series(GREY, Form::Cross, false),
];

impl Series {
    /// Draws the marker; `radius` is half its width.
    pub(super) fn marker(&self, scene: &mut Scene, (x, y): (f64, f64), radius: f64) {
        self.solid(scene, (x, y), radius, self.colour);
        if self.hollow {
            self.solid(scene, (x, y), radius - 1.75, PAPER);
        }
    }

    fn solid(&self, scene: &mut Scene, (x, y): (f64, f64), r: f64, colour: Colour) {
        match self.form {
            Form::Disc => scene.disc((x, y), r, colour),
            Form::Square => {
                let r = r * 0.9;
                scene.rect((x - r, y - r), (x + r, y + r), colour);
            }
            Form::Diamond => {
                let r = r * 1.25;
                scene.polygon(vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)], colour);
            }
            Form::Up | Form::Down => {
                let sign = if self.form == Form::Up { 1.0 } else { -1.0 };
                let (top, base) = (y - sign * r * 1.15, y + sign * r * 0.85);
                scene.polygon(vec![(x, top), (x + r * 1.1, base), (x - r * 1.1, base)], colour);
            }
            Form::Cross => {
                scene.line((x - r, y - r), (x + r, y + r), colour, 2.0);
                scene.line((x - r, y + r), (x + r, y - r), colour, 2.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_series_look_alike_in_grey() {
        let engines: Vec<_> = EngineId::ALL.into_iter().map(engine).collect();
        for all in [engines.as_slice(), &REASONS] {
            for (i, a) in all.iter().enumerate() {
                for b in &all[..i] {
                    assert!((a.form, a.hollow) != (b.form, b.hollow), "{a:?} {b:?}");
                    assert_ne!(a.colour, b.colour);
                }
            }
        }
    }
}
