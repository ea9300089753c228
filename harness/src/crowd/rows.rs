//! The rows of `crowd.csv`: one per guest of every round.

use serde::{Deserialize, Serialize};

use super::crew::Guest;
use crate::model::{Setup, Status};
use crate::results::RunRow;

/// Columns of `crowd.csv`, in order.
pub const COLUMNS: [&str; 18] = [
    "run",
    "round",
    "guests",
    "guest",
    "engine",
    "workload",
    "args",
    "image_sha256",
    "status",
    "checksum",
    "roi_began_ns",
    "roi_host_ns",
    "roi_guest_ns",
    "wall_ns",
    "startup_ns",
    "cpu_ns",
    "pss_bytes",
    "private_bytes",
];

/// One row of `crowd.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRow {
    /// Number of the run, from 1.
    pub run: u32,
    /// Number of the round, from 1; 0 for a guest that was run alone to find the size of the work.
    pub round: u32,
    /// How many guests ran side by side.
    pub guests: u32,
    /// Which of them this is, from 1.
    pub guest: u32,
    /// The engine, with its mechanisms.
    pub engine: Setup,
    /// The workload.
    pub workload: String,
    /// Arguments of the program, joined by spaces.
    pub args: String,
    /// SHA-256 of the program's ELF.
    pub image_sha256: String,
    /// How the run ended.
    pub status: Status,
    /// The program's checksum, 16 hexadecimal digits.
    pub checksum: Option<String>,
    /// When the region of interest began, by the host's `CLOCK_MONOTONIC`, nanoseconds.
    pub roi_began_ns: Option<u64>,
    /// The region of interest by the host's clock, nanoseconds.
    pub roi_host_ns: Option<u64>,
    /// The region of interest by the guest's time-stamp counter, nanoseconds.
    pub roi_guest_ns: Option<u64>,
    /// From process start to end, nanoseconds.
    pub wall_ns: u64,
    /// From process start to the first instruction in ring 3, nanoseconds.
    pub startup_ns: Option<u64>,
    /// Processor time of the guest's process in the region of interest, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Its proportional set size while all guests were in their regions of interest, bytes.
    pub pss_bytes: Option<u64>,
    /// What of it no other process maps, bytes.
    pub private_bytes: Option<u64>,
}

impl GuestRow {
    /// The row of a guest, the `guest`th of `guests`.
    #[must_use]
    pub fn new(round: u32, guests: u32, guest: u32, yielded: &Guest) -> Self {
        let row = RunRow::from(&yielded.record);
        Self {
            run: row.run,
            round,
            guests,
            guest,
            engine: row.engine,
            workload: row.workload,
            args: row.args,
            image_sha256: row.image_sha256,
            status: row.status,
            checksum: row.checksum,
            roi_began_ns: yielded.record.roi_began_ns,
            roi_host_ns: row.roi_host_ns,
            roi_guest_ns: row.roi_guest_ns,
            wall_ns: row.wall_ns,
            startup_ns: row.startup_ns,
            cpu_ns: yielded.cpu_ns,
            pss_bytes: yielded.memory.map(|memory| memory.pss),
            private_bytes: yielded.memory.map(|memory| memory.private),
        }
    }

    /// The same as a row of `runs.csv`.
    fn run_row(&self) -> RunRow {
        RunRow {
            run: self.run,
            engine: self.engine,
            workload: self.workload.clone(),
            args: self.args.clone(),
            image_sha256: self.image_sha256.clone(),
            status: self.status,
            checksum: self.checksum.clone(),
            roi_host_ns: self.roi_host_ns,
            roi_guest_ns: self.roi_guest_ns,
            wall_ns: self.wall_ns,
            startup_ns: self.startup_ns,
            guest_instructions: None,
        }
    }

    /// The time of the run, nanoseconds; see [`RunRow::time_ns`].
    #[must_use]
    pub fn time_ns(&self) -> Option<u64> {
        self.roi_guest_ns.or(self.roi_host_ns).filter(|&ns| ns > 0)
    }
}

/// Compares the checksums of all runs with the same arguments, whatever their engine, and sets the status of each; see
/// [`crate::results::judge`].
pub fn judge(rows: &mut [GuestRow]) -> Vec<crate::results::Mismatch> {
    let mut judged: Vec<RunRow> = rows.iter().map(GuestRow::run_row).collect();
    let mismatches = crate::results::judge(&mut judged);
    for (row, judged) in rows.iter_mut().zip(judged) {
        row.status = judged.status;
    }
    mismatches
}
