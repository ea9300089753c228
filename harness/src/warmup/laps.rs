//! The laps of a run.

use crate::model::{RunRecord, Status};

/// The time of each lap, nanoseconds, of a run that was asked for so many.
///
/// A program prints its laps in ticks of the time-stamp counter (`docs/guest-contract.md`); the frequency is that by which
/// the engine made nanoseconds of the region's ticks.
///
/// # Errors
/// The run has no laps, or fewer than it should, with the reason in one sentence.
pub fn laps(record: &RunRecord, asked: u32) -> Result<Vec<f64>, String> {
    if record.status != Status::Ok {
        let reason = record.message.as_deref().and_then(|message| message.lines().next());
        return Err(reason.unwrap_or("the run did not end well").to_owned());
    }
    let number = |line: &str, word: &str| line.strip_prefix(word)?.trim_end().parse::<u64>().ok();
    let ticks: Vec<u64> = record.console.lines().filter_map(|line| number(line, "lap ")).collect();
    if ticks.len() != asked as usize {
        return Err(format!("it printed {} laps instead of {asked}", ticks.len()));
    }
    let region = record.console.lines().rev().find_map(|line| number(line, "ticks "));
    match (region, record.roi_guest_ns) {
        (Some(region), Some(ns)) if region > 0 && ns > 0 => {
            let ns_per_tick = ns as f64 / region as f64;
            Ok(ticks.into_iter().map(|ticks| ticks as f64 * ns_per_tick).collect())
        }
        _ => Err("its time-stamp counter cannot be related to nanoseconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EngineId;
    use crate::results::testing;

    fn record(console: &str) -> RunRecord {
        RunRecord { console: console.to_owned(), roi_guest_ns: Some(500), ..testing::record(1, EngineId::Kvm) }
    }

    #[test]
    fn ticks_become_nanoseconds() {
        let good = record("hello\nlap 100\nlap 300\r\nresult 0123456789abcdef\nticks 1000\n");
        assert_eq!(laps(&good, 2), Ok(vec![50.0, 150.0]));
    }

    #[test]
    fn what_is_missing_is_said() {
        let short = record("lap 100\nlap -1\nlap \nticks 1000\n");
        assert_eq!(laps(&short, 2), Err("it printed 1 laps instead of 2".to_owned()));
        assert!(laps(&record("lap 1\n"), 1).is_err(), "no ticks");
        let failed = RunRecord {
            status: Status::Failed,
            message: Some("it broke\nhere".to_owned()),
            ..record("lap 1\nticks 2\n")
        };
        assert_eq!(laps(&failed, 1), Err("it broke".to_owned()));
    }
}
