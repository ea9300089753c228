//! Numbers as people read them.

use crate::stats::{Estimate, Interval};

/// Three significant digits, with thousands separated: `0.123`, `1.23`, `12.3`, `123`, `1,230`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".to_owned();
    }
    if magnitude < 0.000_5 {
        return format!("{value:.1e}");
    }
    // The bounds are where rounding to three digits reaches the next power of ten.
    let decimals = match magnitude {
        m if m < 0.9995 => 3,
        m if m < 9.995 => 2,
        m if m < 99.95 => 1,
        _ => 0,
    };
    if magnitude < 999.5 {
        return format!("{value:.decimals$}");
    }
    let scale = 10f64.powi(magnitude.log10().floor() as i32 - 2);
    let rounded = (magnitude / scale).round() * scale;
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", count(rounded.round() as u64))
}

/// A whole number with thousands separated.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A whole number in at most four characters and a unit: `950`, `1.5k`, `23k`, `1.2M`.
#[must_use]
pub fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 5] = [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];
    let (factor, unit) = UNITS.into_iter().rev().find(|&(factor, _)| value >= factor * 0.9995).unwrap_or(UNITS[0]);
    let scaled = value / factor;
    let decimals = usize::from(scaled < 9.95 && scaled.fract() > 0.049 && scaled.fract() < 0.951);
    format!("{scaled:.decimals$}{unit}")
}

/// Nanoseconds in the unit that fits, three significant digits: `1.23 µs`.
#[must_use]
pub fn time(ns: f64) -> String {
    let (factor, unit) = time_unit(ns);
    format!("{} {unit}", number(ns / factor))
}

/// `low–high` in one unit: `1.20–1.31 ms`.
#[must_use]
pub fn time_interval(interval: Interval) -> String {
    let (factor, unit) = time_unit(interval.high);
    let low = number(interval.low / factor);
    let high = number(interval.high / factor);
    format!("{low}–{high} {unit}")
}

fn time_unit(ns: f64) -> (f64, &'static str) {
    match ns.abs() {
        t if t < 999.5 => (1.0, "ns"),
        t if t < 999.5e3 => (1e3, "µs"),
        t if t < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    }
}

/// The day of a time in RFC 3339: `2026-01-02`; what is none stays as it is.
#[must_use]
pub fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// A ratio: `1.03×`.
#[must_use]
pub fn ratio(value: f64) -> String {
    format!("{}×", number(value))
}

/// A ratio with its interval, where it has one: `1.03× (1.01–1.06)`.
#[must_use]
pub fn ratio_with_interval(estimate: &Estimate) -> String {
    match estimate.interval {
        Some(i) => format!("{} ({}–{})", ratio(estimate.value), number(i.low), number(i.high)),
        None => ratio(estimate.value),
    }
}

/// A share as a percentage of at most two decimals: `2%`, `0.5%`, `3.12%`.
#[must_use]
pub fn percentage(share: f64) -> String {
    format!("{}%", (share * 1e4).round() / 1e2)
}

/// A share as a percentage: `12.3%`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.95 && share < 1.0 {
        return ">99.9%".to_owned();
    }
    if percent > 0.0 && percent < 0.05 {
        return "<0.1%".to_owned();
    }
    format!("{percent:.1}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (0.1234, "0.123"),
            (0.9996, "1.00"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (999.4, "999"),
            (1234.0, "1,230"),
            (9996.0, "10,000"),
            (1_234_567.0, "1,230,000"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected, "{value}");
        }
    }

    #[test]
    fn times_take_the_unit_that_fits() {
        let cases = [
            (15.0, "15.0 ns"),
            (999.6, "1.00 µs"),
            (1234.0, "1.23 µs"),
            (12.3e6, "12.3 ms"),
            (999.6e6, "1.00 s"),
            (61e9, "61.0 s"),
        ];
        for (ns, expected) in cases {
            assert_eq!(time(ns), expected);
        }
        let interval = Interval { low: 950_000.0, high: 1_310_000.0 };
        assert_eq!(time_interval(interval), "0.950–1.31 ms");
    }

    #[test]
    fn counts_and_short_counts() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (950.0, "950"),
            (1500.0, "1.5k"),
            (23_400.0, "23k"),
            (999_900.0, "1M"),
            (2e9, "2G"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn percentages_never_round_to_all_or_nothing() {
        assert_eq!(percent(0.123), "12.3%");
        assert_eq!(percent(0.99999), ">99.9%");
        assert_eq!(percent(0.00001), "<0.1%");
        assert_eq!(percent(1.0), "100.0%");
        assert_eq!(percent(0.0), "0.0%");
    }
}
