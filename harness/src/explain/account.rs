//! Where the time of a program goes: the events of its profile, each at its cost, and the rest.

use serde::Serialize;

use super::data::Profile;
use super::fit::Model;
use crate::model::EngineId;

/// One line of an account.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// The event, by its short name.
    pub event: &'static str,
    /// What it is, in words.
    pub what: &'static str,
    /// How often it occurred.
    pub count: f64,
    /// Its cost, nanoseconds.
    pub each_ns: f64,
    /// All of them, nanoseconds.
    pub ns: f64,
    /// Their share of the measured time.
    pub share: f64,
}

/// Where the time of a program goes on an engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The engine.
    pub engine: EngineId,
    /// Runs that were measured.
    pub n: usize,
    /// The measured time, nanoseconds: the median.
    pub ns: f64,
    /// The events that take time, the most expensive first.
    pub items: Vec<Item>,
    /// What the events do not explain, nanoseconds; negative where they come to more than was measured.
    pub rest_ns: f64,
    /// `1 - |rest| / time`; negative where the model is off by more than the whole time.
    pub explained: f64,
}

impl Account {
    /// The account of a program that took `ns`, the median of `n` runs.
    #[must_use]
    pub fn of(model: &Model, profile: &Profile, ns: f64, n: usize) -> Self {
        let profile = profile.of_run(ns, model.busy(profile));
        let item = |(event, cost): &(&'static super::events::Event, f64)| {
            let count = event.count(&profile);
            let (each_ns, all) = (*cost, count * cost);
            Item { event: event.name, what: event.what, count, each_ns, ns: all, share: all / ns }
        };
        let mut items: Vec<Item> = model.costs.iter().map(item).filter(|item| item.ns > 0.0).collect();
        items.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        let rest_ns = ns - items.iter().map(|item| item.ns).sum::<f64>();
        Self { engine: model.engine, n, ns, items, rest_ns, explained: 1.0 - rest_ns.abs() / ns }
    }

    /// The time of an event, nanoseconds; 0 where it takes none.
    fn time_of(&self, event: &str) -> f64 {
        self.items.iter().find(|item| item.event == event).map_or(0.0, |item| item.ns)
    }

    /// The events that carry the difference to another engine, the largest first: as many as make up three quarters of it, at most
    /// three, each with the nanoseconds that it takes more.
    #[must_use]
    pub fn carriers(&self, other: &Self) -> Vec<(&Item, f64)> {
        let extra = self.ns - other.ns;
        let more = |item| -> (&Item, f64) { (item, item.ns - other.time_of(item.event)) };
        let mut differences: Vec<(&Item, f64)> = self.items.iter().map(more).filter(|(_, more)| *more > 0.0).collect();
        differences.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut sum = 0.0;
        let mut carriers = Vec::new();
        for difference in differences.into_iter().take(3) {
            if sum >= 0.75 * extra {
                break;
            }
            sum += difference.1;
            carriers.push(difference);
        }
        carriers
    }
}
