//! The charts of a report.
//!
//! Each is laid out once as a [`scene`] and painted twice, as SVG and as PNG. Rows are workloads or engines, values lie
//! on the horizontal axis, so names are read without turning one's head. Series differ in colour and in shape.

mod emulator;
mod exits;
mod font;
mod legend;
mod paint;
mod palette;
mod panels;
mod scale;
mod scene;
mod slowdown;
mod startup;
mod time_split;

use std::path::Path;

use scene::Scene;
pub use startup::{engines as started_engines, times as startup_times};

use super::counters::Counters;
use super::summary::Summary;
use crate::results::Experiment;

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The drawing library failed.
    #[error("cannot draw a chart: {0}")]
    Draw(String),
}

/// A chart, laid out.
#[derive(Debug)]
pub struct Chart {
    /// Name of its files, without the ending.
    pub name: &'static str,
    scene: Scene,
}

impl Chart {
    /// What it shows, in one sentence for readers who cannot see it.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.scene.description
    }

    /// A standalone SVG document.
    ///
    /// # Errors
    /// [`ChartError`] where the drawing library fails.
    pub fn svg(&self) -> Result<String, ChartError> {
        paint::svg(&self.scene)
    }

    /// Writes a PNG file, 1600 px wide.
    ///
    /// # Errors
    /// [`ChartError`] where the drawing library fails or the file cannot be written.
    pub fn png(&self, path: &Path) -> Result<(), ChartError> {
        paint::png(&self.scene, path)
    }
}

/// The charts for which the experiment has data.
#[must_use]
pub fn all(experiment: &Experiment, summary: &Summary, counters: &Counters) -> Vec<Chart> {
    let chart = |name, scene: Option<Scene>| scene.map(|scene| Chart { name, scene });
    [
        chart("slowdown", slowdown::scene(summary)),
        chart("exits", exits::scene(summary, counters)),
        chart("time", time_split::scene(summary, counters)),
        chart("emulator", emulator::scene(summary, counters)),
        chart("startup", startup::scene(experiment)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn scenes(experiment: &Experiment) -> Vec<Chart> {
        let summary = Summary::new(experiment);
        all(experiment, &summary, &Counters::new(experiment))
    }

    #[test]
    fn no_label_is_clipped_or_overlaps_another() {
        for experiment in [synthetic::full(), synthetic::partial(), synthetic::hostile(), synthetic::mismatch()] {
            for chart in scenes(&experiment) {
                chart.scene.assert_legible();
            }
        }
    }

    #[test]
    fn a_full_experiment_has_every_chart_and_an_empty_one_has_none() {
        let names: Vec<_> = scenes(&synthetic::full()).iter().map(|c| c.name).collect();
        assert_eq!(names, ["slowdown", "exits", "time", "emulator", "startup"]);
        assert!(scenes(&synthetic::empty()).is_empty());
    }

    #[test]
    fn svg_and_png_are_painted() {
        let dir = tempfile::tempdir().unwrap();
        for chart in scenes(&synthetic::full()) {
            let svg = chart.svg().unwrap();
            assert!(svg.starts_with("<svg role=\"img\" aria-label=\""), "{svg:.80}");
            assert!(svg.contains("width=\"800\"") && svg.trim_end().ends_with("</svg>"));
            let path = dir.path().join("chart.png");
            chart.png(&path).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG"));
        }
    }

    #[test]
    fn hostile_names_stay_text() {
        for chart in scenes(&synthetic::hostile()) {
            let svg = chart.svg().unwrap();
            assert!(!svg.contains("<script"), "{}", chart.name);
            assert!(svg.chars().all(|c| !c.is_control() || c == '\n'));
        }
    }
}
