//! The charts of a report.
//!
//! Each is laid out once as a `scene` and painted twice, as SVG and as PNG. Rows are workloads or engines, values lie
//! on the horizontal axis, so names are read without turning one's head. Series differ in colour and in shape.

pub mod crowd;
mod emulator;
mod exits;
mod font;
mod ladder;
mod latency;
mod legend;
mod mechanisms;
mod micro;
mod paint;
mod palette;
mod panels;
mod quadrants;
mod scale;
mod scene;
mod slowdown;
mod startup;
mod time_split;
mod waterfall;

use std::path::Path;

use scene::Scene;
pub use startup::{engines as started_engines, times as startup_times};

use super::data::Data;
use crate::micro::{Benchmark, Cell, Group};

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
    pub name: String,
    scene: Scene,
}

impl Chart {
    /// Its heading.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.scene.title
    }

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

    /// The SVG document as a part of a page, which has its font and its size.
    ///
    /// # Errors
    /// [`ChartError`] where the drawing library fails.
    pub(super) fn inline(&self) -> Result<String, ChartError> {
        Ok(self.svg()?.replace(&format!(" font-family=\"{}\"", font::FAMILY), ""))
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
pub(super) fn all(data: &Data<'_>) -> Vec<Chart> {
    let (experiment, summary) = data.engines();
    let counters = &data.counters;
    let chart = |name: &str, scene: Option<Scene>| scene.map(|scene| Chart { name: name.to_owned(), scene });
    let of_engines = [
        chart("slowdown", slowdown::scene(summary)),
        chart("ladder", ladder::scene(summary)),
        chart("exits", exits::scene(summary, counters)),
        chart("latency", latency::scene(summary, counters)),
        chart("time", time_split::scene(summary, counters)),
        chart("quadrants", quadrants::scene(summary, counters)),
        chart("emulator", emulator::scene(summary, counters)),
        chart("startup", startup::scene(experiment)),
    ];
    let mut charts: Vec<Chart> = of_engines.into_iter().flatten().collect();
    if let Some(analysis) = &data.analysis {
        charts.extend(chart("mechanisms", mechanisms::scene(analysis)));
        for (i, workload) in data.summary.workloads.iter().enumerate() {
            let scene = waterfall::scene(analysis, &data.summary, &workload.label);
            charts.extend(chart(&waterfall_name(i, &workload.label), scene));
        }
    }
    charts
}

/// The charts of micro-benchmarks, one for each group.
#[must_use]
pub fn of_events(benchmarks: &[Benchmark], cells: &[Cell]) -> Vec<Chart> {
    let chart = |group: Group| {
        let name = format!("micro-{}", group.name().replace(' ', "-"));
        micro::scene(group, benchmarks, cells).map(|scene| Chart { name, scene })
    };
    Group::SHOWN.into_iter().filter_map(chart).collect()
}

/// The name of the chart of a workload, the `i`th: of harmless characters, and none like another's.
pub(super) fn waterfall_name(i: usize, workload: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if workload.len() <= 40 && workload.chars().all(harmless) {
        format!("waterfall-{workload}")
    } else {
        let kept: String = workload.chars().filter(|&c| harmless(c)).take(40).collect();
        format!("waterfall-{}-{kept}", i + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::results::Experiment;

    fn scenes(experiment: &Experiment) -> Vec<Chart> {
        all(&Data::new(experiment))
    }

    #[test]
    fn no_label_is_clipped_or_overlaps_another() {
        let all = [
            synthetic::full(),
            synthetic::partial(),
            synthetic::hostile(),
            synthetic::mismatch(),
            synthetic::ablation(),
            synthetic::hostile_ablation(),
        ];
        for experiment in all {
            for chart in scenes(&experiment) {
                chart.scene.assert_legible();
            }
        }
    }

    #[test]
    fn a_full_experiment_has_every_chart_and_an_empty_one_has_none() {
        let names: Vec<_> = scenes(&synthetic::full()).into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["slowdown", "ladder", "exits", "latency", "time", "quadrants", "emulator", "startup"]);
        assert!(scenes(&synthetic::empty()).is_empty());
    }

    #[test]
    fn an_ablation_has_a_waterfall_of_each_workload() {
        let names: Vec<_> = scenes(&synthetic::ablation()).into_iter().map(|c| c.name).collect();
        assert!(names.contains(&"mechanisms".to_owned()) && names.contains(&"slowdown".to_owned()), "{names:?}");
        let waterfalls: Vec<_> = names.iter().filter(|n| n.starts_with("waterfall-")).collect();
        assert_eq!(waterfalls, ["waterfall-sieve", "waterfall-bytecode", "waterfall-syscall", "waterfall-port_io"]);
        let hostile = scenes(&synthetic::hostile_ablation());
        assert!(hostile.iter().all(|c| c.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))));
    }

    #[test]
    fn svg_and_png_are_painted() {
        let dir = tempfile::tempdir().unwrap();
        for chart in scenes(&synthetic::full()).into_iter().chain(scenes(&synthetic::ablation())) {
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
