//! Throughput and memory against the number of guests: one line per engine, guests on a logarithmic axis.

use super::scale::LogScale;
use super::scene::{Anchor, GRID, MUTED, Scene, WIDTH};
use super::{Chart, font, legend, palette};
use crate::crowd::{CrowdPlan, Point};
use crate::model::Setup;
use crate::report::units;
use crate::stats::Estimate;

/// Height of the area of the lines.
const HEIGHT: f64 = 300.0;
/// Distance between the markers of two engines with the same number of guests.
const DODGE: f64 = 9.0;

/// The charts for which there are points.
pub(crate) fn all(plan: &CrowdPlan, points: &[Point]) -> Vec<Chart> {
    let chart = |name: &str, scene: Option<Scene>| scene.map(|scene| Chart { name: name.to_owned(), scene });
    [chart("throughput", throughput(plan, points)), chart("memory", memory(points))].into_iter().flatten().collect()
}

/// A value of an engine with a number of guests.
struct Value {
    engine: Setup,
    guests: u32,
    estimate: Estimate,
}

fn throughput(plan: &CrowdPlan, points: &[Point]) -> Option<Scene> {
    let value = |p: &Point| Some(Value { engine: p.engine, guests: p.guests, estimate: p.throughput? });
    let values: Vec<Value> = points.iter().filter_map(value).collect();
    let mut scene = Scene::new(format!(
        "Throughput of {} against the number of guests, in multiples of the throughput of one guest.",
        names(&values)
    ));
    let top = scene.heading(
        "How much more work gets done as guests are added",
        &format!(
            "Work per second of all guests over that of one, with its 95% interval; grey line: as much as {} processors allow",
            plan.cpus
        ),
    );
    let frame = Frame::new(&mut scene, top, &values)?;
    let guests = frame.sizes.clone();
    let most = values.iter().map(|v| v.estimate.interval.map_or(v.estimate.value, |i| i.high.max(v.estimate.value)));
    let high = guests.iter().map(|&n| plan.ideal(n)).chain(most).fold(1.0, f64::max) * 1.06;
    let y = |value: f64| frame.bottom - value / high * HEIGHT;
    let step = tick(high);
    for i in 0..=(high / step) as u32 {
        let value = f64::from(i) * step;
        frame.grid(&mut scene, y(value), &format!("{}×", round(value)));
    }
    // The ideal bends where the processors are full, whether or not that many guests were run.
    let bend = f64::from(plan.cpus).clamp(1.0, f64::from(frame.most()));
    let ideal = [1.0, bend, f64::from(frame.most())].map(|n| (frame.x(n), y(n.min(bend))));
    for pair in ideal.windows(2) {
        scene.line(pair[0], pair[1], palette::GREY, 2.5);
    }
    frame.draw(&mut scene, &values, y);
    Some(scene)
}

fn memory(points: &[Point]) -> Option<Scene> {
    let mib = |bytes: f64| Estimate { value: bytes / f64::from(1 << 20), interval: None };
    let value =
        |p: &Point| Some(Value { engine: p.engine, guests: p.guests, estimate: mib(p.pss.filter(|&b| b > 0.0)?) });
    let values: Vec<Value> = points.iter().filter_map(value).collect();
    let mut scene = Scene::new(format!(
        "Memory per guest of {} against the number of guests, in MiB, on a logarithmic axis.",
        names(&values)
    ));
    let top = scene.heading(
        "What a guest costs in memory",
        "Proportional set size per guest: a page that n processes share counts as an nth; log scale",
    );
    let frame = Frame::new(&mut scene, top, &values)?;
    let axis = LogScale::around(values.iter().map(|v| v.estimate.value), frame.bottom, frame.bottom - HEIGHT);
    for value in axis.grid() {
        frame.grid(&mut scene, axis.x(value), &format!("{} MiB", round(value)));
    }
    frame.draw(&mut scene, &values, |value| axis.x(value));
    Some(scene)
}

fn names(values: &[Value]) -> String {
    engines(values).iter().map(Setup::name).collect::<Vec<_>>().join(", ")
}

fn engines(values: &[Value]) -> Vec<Setup> {
    let mut engines: Vec<Setup> = values.iter().map(|v| v.engine).collect();
    engines.sort_unstable();
    engines.dedup();
    engines
}

/// Where a chart's lines lie.
struct Frame {
    engines: Vec<Setup>,
    /// Numbers of guests, ascending.
    sizes: Vec<u32>,
    left: f64,
    right: f64,
    bottom: f64,
}

impl Frame {
    /// Draws legend and numbers of guests; `None` without values.
    fn new(scene: &mut Scene, top: f64, values: &[Value]) -> Option<Self> {
        let engines = engines(values);
        let mut sizes: Vec<u32> = values.iter().map(|v| v.guests).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes.last()?;
        let entries: Vec<_> = engines.iter().map(|&e| (palette::engine(e.id), e.name())).collect();
        let top = legend::draw(scene, top, &entries) + 10.0;
        let frame = Self { engines, sizes, left: 110.0, right: WIDTH - 60.0, bottom: top + HEIGHT };
        let y = frame.bottom + 16.0;
        let mut free = f64::NEG_INFINITY;
        for &size in &frame.sizes {
            let (x, text) = (frame.x(f64::from(size)), size.to_string());
            let half = font::width(&text, 11.0, false) / 2.0 + 3.0;
            if x - half >= free {
                scene.text((x, y), Anchor::Middle, 11.0, false, MUTED, text);
                free = x + half;
            }
        }
        scene.note(((frame.left + frame.right) / 2.0, y + 20.0), Anchor::Middle, "guests side by side");
        scene.height = y + 36.0;
        Some(frame)
    }

    fn most(&self) -> u32 {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// Where a number of guests is drawn.
    fn x(&self, guests: f64) -> f64 {
        let most = f64::from(self.most());
        let share = if most > 1.0 { guests.ln() / most.ln() } else { 0.5 };
        self.left + share * (self.right - self.left)
    }

    fn grid(&self, scene: &mut Scene, y: f64, label: &str) {
        let side = DODGE * self.engines.len() as f64 / 2.0 + 6.0;
        scene.line((self.left - side, y), (self.right + side, y), GRID, 1.0);
        scene.text((self.left - side - 6.0, y), Anchor::End, 11.0, false, MUTED, label);
    }

    /// Draws the line of each engine, `y` says where a value lies.
    fn draw(&self, scene: &mut Scene, values: &[Value], y: impl Fn(f64) -> f64) {
        let middle = (self.engines.len() as f64 - 1.0) / 2.0;
        for (i, &engine) in self.engines.iter().enumerate() {
            let series = palette::engine(engine.id);
            let aside = (i as f64 - middle) * DODGE;
            let own: Vec<&Value> = values.iter().filter(|v| v.engine == engine).collect();
            let at = |v: &Value| (self.x(f64::from(v.guests)) + aside, y(v.estimate.value));
            for pair in own.windows(2) {
                scene.line(at(pair[0]), at(pair[1]), series.colour, 1.0);
            }
            for value in own {
                let (x, centre) = at(value);
                if let Some(interval) = value.estimate.interval {
                    scene.line((x, y(interval.low)), (x, y(interval.high)), series.colour, 2.0);
                }
                series.marker(scene, (x, centre), 4.0);
            }
        }
    }
}

/// A distance between ticks that gives three to eight of them up to `high`.
fn tick(high: f64) -> f64 {
    let decade = 10f64.powf((high / 4.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * decade);
    steps.into_iter().find(|step| high / step <= 8.0).unwrap_or(decade * 10.0)
}

/// A tick's value.
fn round(value: f64) -> String {
    let exact = (value * 1e6).round() / 1e6;
    if exact.fract() == 0.0 { units::count(exact as u64) } else { exact.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{summarize, testing};

    fn charts(cpus: u32) -> Vec<Chart> {
        let crowd = testing::crowd(cpus);
        all(&crowd.meta.plan, &summarize(&crowd.meta.plan, &crowd.rows))
    }

    #[test]
    fn both_are_legible_and_painted() {
        for cpus in [1, 2, 64] {
            let charts = charts(cpus);
            assert_eq!(charts.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["throughput", "memory"]);
            for chart in charts {
                chart.scene.assert_legible();
                assert!(chart.svg().unwrap().contains("guests side by side"));
            }
        }
    }

    #[test]
    fn one_guest_and_none_are_no_trouble() {
        let mut crowd = testing::crowd(2);
        crowd.rows.retain(|row| row.guests == 1);
        for chart in all(&crowd.meta.plan, &summarize(&crowd.meta.plan, &crowd.rows)) {
            chart.scene.assert_legible();
        }
        assert!(all(&crowd.meta.plan, &[]).is_empty());
    }

    #[test]
    fn crowded_numbers_of_guests_stay_legible() {
        let mut crowd = testing::crowd(2);
        let own: Vec<_> = crowd.rows.iter().filter(|row| row.guests == 1).cloned().collect();
        for guests in 100..=110 {
            crowd.rows.extend(own.iter().map(|row| {
                let mut row = row.clone();
                row.guests = guests;
                row
            }));
        }
        let mut points = summarize(&crowd.meta.plan, &crowd.rows);
        let one = points[0].clone();
        points.extend((100..=110).map(|guests| Point { guests, ..one.clone() }));
        for chart in all(&crowd.meta.plan, &points) {
            chart.scene.assert_legible();
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([0.0, 0.6000000000000001, 2.5, 3.0, 20_000.0].map(round), ["0", "0.6", "2.5", "3", "20,000"]);
        assert_eq!([1.06, 2.12, 4.3, 8.0, 64.0, 1000.0].map(tick), [0.2, 0.5, 1.0, 1.0, 10.0, 200.0]);
    }
}
