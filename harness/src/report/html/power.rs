//! The section on what the host can tell, from its calibration.

use super::view::{Cell, Table};
use crate::calibration::Calibration;
use crate::gate::rounds_for;

/// The precision that rounds are counted for.
const PRECISION: f64 = 0.02;

/// Sentences on false alarms and on how long precision takes.
pub(super) fn sentences(calibration: Option<&Calibration>) -> Vec<String> {
    let Some(calibration) = calibration else { return Vec::new() };
    vec![
        format!(
            "evlab calibrate measured this host on {} in {} rounds of {:.1} s: {}.",
            calibration.created.get(..10).unwrap_or(&calibration.created),
            calibration.rounds,
            calibration.round_s,
            calibration.sentence()
        ),
        format!("At that noise {}.", calibration.patience(PRECISION)),
    ]
}

/// The effects that gates notice.
pub(super) fn table(calibration: Option<&Calibration>) -> Table {
    let mut table = Table::new(
        "The smallest slow-down that a gate notices on this host",
        ["engine", "workload", "noticed by 80%", "by 95%", "half width", "rounds to ±2%"],
    );
    let effect = |factor: f64| format!("+{:.1}%", (factor - 1.0) * 100.0);
    for subject in calibration.iter().flat_map(|calibration| &calibration.power.subjects) {
        let rounds = calibration.zip(subject.half_width).map(|(c, width)| rounds_for(PRECISION, width, c.rounds));
        table.rows.push(vec![
            Cell::code(subject.engine.name()),
            Cell::code(&subject.workload),
            Cell::number(Some(subject.power_80), effect),
            Cell::number(Some(subject.power_95), effect),
            Cell::number(subject.half_width, |width| format!("±{:.1}%", width * 100.0)),
            Cell::number(rounds.map(f64::from), |n| format!("{n}")),
        ]);
    }
    table
}
