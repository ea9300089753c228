//! What one event costs on each engine: the micro-benchmarks of one group.

use super::font;
use super::legend;
use super::palette;
use super::scale::LogScale;
use super::scene::{Anchor, GRID, Scene, WIDTH};
use super::slowdown::point;
use crate::micro::table::time;
use crate::micro::{Benchmark, Cell, Group};
use crate::model::{EngineId, Setup};
use crate::stats::{Estimate, Interval};

/// Widest row label.
const LABEL: f64 = 190.0;
/// Distance between two engines of a row.
const STEP: f64 = 7.0;

/// The chart, `None` where no event of the group has a value that a logarithmic axis can show.
pub(super) fn scene(group: Group, benchmarks: &[Benchmark], cells: &[Cell]) -> Option<Scene> {
    let rows: Vec<(String, Vec<(Setup, Estimate)>)> = benchmarks
        .iter()
        .filter(|benchmark| benchmark.group == group)
        .map(|benchmark| (label(benchmark, benchmarks), points(benchmark, cells)))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let shown = |engine: &EngineId| rows.iter().any(|(_, points)| points.iter().any(|(setup, _)| setup.id == *engine));
    let engines: Vec<EngineId> = EngineId::ALL.into_iter().filter(shown).collect();
    if engines.is_empty() {
        return None;
    }
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let mut scene = Scene::new(format!(
        "Dot plot of the time of one operation on {}, one row per event, on a logarithmic axis; micro.csv has the same numbers.",
        names.join(", ")
    ));
    let top = scene.heading(
        &format!("What one event costs: {}", group.name()),
        "Time of one operation, the loop subtracted: median with its 95% interval; log scale; what may be 0 is left out",
    );
    let entries: Vec<_> = engines.iter().map(|&e| (palette::engine(e), e.name().to_owned())).collect();
    let top = legend::draw(&mut scene, top, &entries) + 2.0;
    let width = rows.iter().map(|(label, _)| font::width(label, 12.0, false)).fold(80.0, f64::max).min(LABEL);
    let values = rows.iter().flat_map(|(_, points)| points).flat_map(|(_, e)| {
        let (low, high) = e.interval.map_or((e.value, e.value), |i| (i.low, i.high));
        [e.value, low, high]
    });
    let axis = LogScale::around(values, 24.0 + width, WIDTH - 24.0);
    axis.draw_labels(&mut scene, top + 6.0, 56.0, tick);
    let bottom = draw(&mut scene, &rows, &axis, top + 14.0);
    axis.draw_labels(&mut scene, bottom + 14.0, 56.0, tick);
    scene.height = bottom + 28.0;
    Some(scene)
}

/// A tick's value: `5 ns`, `20 us`.
fn tick(ns: f64) -> String {
    let text = time(ns);
    let (value, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let value = if value.contains('.') { value.trim_end_matches('0').trim_end_matches('.') } else { value };
    format!("{value} {unit}")
}

/// The event, and its ring where it is measured in both.
fn label(benchmark: &Benchmark, all: &[Benchmark]) -> String {
    let name = benchmark.event.name();
    let twice = all.iter().filter(|other| other.event == benchmark.event).count() > 1;
    if twice { format!("{name}, ring {}", benchmark.ring.number()) } else { name.to_owned() }
}

fn points(benchmark: &Benchmark, cells: &[Cell]) -> Vec<(Setup, Estimate)> {
    let of = |engine: EngineId| {
        let is = |c: &&Cell| c.event == benchmark.event.name() && c.ring == benchmark.ring && c.engine == engine;
        let cell = cells.iter().find(is)?;
        let interval = cell.ci_low_ns.zip(cell.ci_high_ns).map(|(low, high)| Interval { low, high });
        let estimate = Estimate { value: cell.ns?, interval };
        let positive = estimate.value > 0.0 && interval.is_none_or(|i| i.low > 0.0);
        positive.then_some((Setup::plain(engine), estimate))
    };
    EngineId::ALL.into_iter().filter_map(of).collect()
}

/// The rows: bands, then the grid, then what lies on it.
fn draw(scene: &mut Scene, rows: &[(String, Vec<(Setup, Estimate)>)], axis: &LogScale, top: f64) -> f64 {
    let height = |points: &[(Setup, Estimate)]| (points.len() as f64 * STEP + 6.0).max(22.0);
    let bottom = axis.draw_rows(scene, top, rows.iter().map(|(_, points)| height(points)));
    let mut y = top;
    for (label, points) in rows {
        let centre = y + height(points) / 2.0;
        scene.label((22.0, centre), Anchor::Start, font::fit(label, 12.0, false, LABEL));
        let first = centre - (points.len() as f64 - 1.0) * STEP / 2.0;
        for (k, (engine, estimate)) in points.iter().enumerate() {
            point(scene, axis, first + k as f64 * STEP, *engine, estimate);
        }
        y += height(points);
    }
    scene.line((16.0, bottom), (WIDTH - 16.0, bottom), GRID, 1.0);
    bottom
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::micro::benchmarks;

    fn cells(ns: impl Fn(usize, usize) -> f64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (i, benchmark) in benchmarks().iter().enumerate() {
            for (k, engine) in EngineId::ALL.into_iter().enumerate() {
                cells.push(Cell::measured(benchmark, engine, ns(i, k)));
            }
        }
        cells
    }

    #[test]
    fn every_group_is_legible() {
        let cells = cells(|i, k| 0.3 * 3f64.powi(i32::try_from((i * 7 + k * 5) % 13).expect("small")));
        for group in Group::SHOWN {
            scene(group, &benchmarks(), &cells).expect("it has values").assert_legible();
        }
    }

    #[test]
    fn what_is_no_more_than_its_control_is_left_out() {
        assert!(scene(Group::Code, &benchmarks(), &cells(|_, _| -1.0)).is_none());
        assert!(scene(Group::Code, &benchmarks(), &[]).is_none());
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.5, 1.0, 20.0, 500.0, 2e3, 1e6].map(tick), ["0.5 ns", "1 ns", "20 ns", "500 ns", "2 us", "1 ms"]);
    }
}
