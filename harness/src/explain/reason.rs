//! Why an engine takes another time than native, in a sentence or two.

use super::account::{Account, Item};
use crate::report::units;

/// Ratios within this of 1 are no difference.
const ALIKE: f64 = 0.1;
/// The least part that must be explained for the events to be named as reasons.
const ENOUGH: f64 = 0.85;

/// Why the time on an engine is what it is, against native if that was measured.
#[must_use]
pub fn reason(account: &Account, native: Option<&Account>) -> String {
    let caution = match account.explained {
        enough if enough >= ENOUGH => "",
        _ => " The model explains too little of it to be sure.",
    };
    let Some(native) = native.filter(|native| native.engine != account.engine) else {
        return format!("Most of it: {}.{caution}", list(account.items.iter().take(3).map(|item| (item, item.ns))));
    };
    let ratio = account.ns / native.ns;
    let times = units::number(if ratio < 1.0 { 1.0 / ratio } else { ratio });
    let begin = if (ratio - 1.0).abs() <= ALIKE {
        return format!("As fast as native ({} of its time).{caution}", units::number(ratio));
    } else if ratio < 1.0 {
        let less: Vec<(&Item, f64)> = native.carriers(account);
        return format!("{times} times as fast as native, which takes more for: {}.{caution}", list(less));
    } else {
        format!("{times} times as slow as native")
    };
    let carriers = account.carriers(native);
    if carriers.is_empty() {
        return format!("{begin}; no event carries the difference.{caution}");
    }
    let extra = account.ns - native.ns;
    let part = carriers.iter().map(|(_, more)| more).sum::<f64>() / extra;
    format!(
        "{begin}. Of the {} that it takes more, {} are: {}.{caution}",
        units::time(extra),
        units::percent(part.min(1.0)),
        list(carriers)
    )
}

/// Events with their time, count and cost.
fn list<'a>(items: impl IntoIterator<Item = (&'a Item, f64)>) -> String {
    let one = |(item, ns): (&Item, f64)| {
        format!("{} for {} ({} at {})", units::time(ns), item.what, units::short(item.count), units::time(item.each_ns))
    };
    items.into_iter().map(one).collect::<Vec<_>>().join(", ")
}
