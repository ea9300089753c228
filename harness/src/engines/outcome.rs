//! From what an engine measured to the record of the run.

use std::time::{Duration, Instant};

use vmm_min::Roi;

use super::Job;
use super::clock::{TscClock, monotonic_at, ticks_to_ns};
use super::console::Transcript;
use crate::model::{RunRecord, Status};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// With this exit code.
    Exited(u8),
    /// At its time limit; what is known about where it was, on further lines.
    TimedOut(Option<String>),
    /// By the stop flag.
    Stopped,
    /// The engine gave up on it, and why.
    Failed(String),
}

/// What every engine measures.
#[derive(Debug)]
pub(super) struct Measured {
    /// The start of the process that executes the guest.
    pub(super) started: Instant,
    /// Its end.
    pub(super) ended: Instant,
    /// How the run ended.
    pub(super) ending: Ending,
    /// When the guest was about to enter ring 3 for the first time, where that can be known.
    pub(super) ring3: Option<Instant>,
    /// The region of interest, if it both began and ended.
    pub(super) roi: Option<Roi>,
    /// What came over the console.
    pub(super) transcript: Transcript,
    /// The host's time-stamp counter, measured since the run began.
    pub(super) tsc: TscClock,
}

impl Measured {
    /// The record of the run.
    pub(super) fn record(self, job: &Job<'_>) -> RunRecord {
        let (status, exit_code, message) = match self.ending {
            Ending::Exited(0) => (Status::Ok, Some(0), None),
            Ending::Exited(code) => (Status::Failed, Some(code), Some(exit_message(code))),
            Ending::TimedOut(place) => {
                let limit = job.request.timeout_s;
                let mut message = format!("it did not end within its time limit of {limit} s");
                if let Some(place) = place {
                    message = format!("{message}\n{place}");
                }
                (Status::Timeout, None, Some(message))
            }
            Ending::Stopped => (Status::Interrupted, None, Some("it was stopped before its end".to_owned())),
            Ending::Failed(message) => (Status::Failed, None, Some(message)),
        };
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let ticks = self.transcript.ticks;
        RunRecord {
            exit_code,
            message,
            checksum: self.transcript.checksum,
            roi_host_ns: self.roi.map(|roi| nanoseconds(roi.duration())),
            roi_began_ns: self.roi.map(|roi| monotonic_at(roi.begin)),
            roi_guest_ns: ticks.and_then(|ticks| ticks_to_ns(ticks, self.tsc.hz())),
            wall_ns: nanoseconds(self.ended.saturating_duration_since(self.started)),
            startup_ns: self.ring3.map(|at| nanoseconds(at.saturating_duration_since(self.started))),
            console: self.transcript.text,
            ..job.record(status)
        }
    }
}

/// What an exit code other than 0 says; from 128 it is a signal, as under Linux.
fn exit_message(code: u8) -> String {
    let signal = match i32::from(code) - 128 {
        libc::SIGILL => "SIGILL: an instruction that the CPU does not have",
        libc::SIGTRAP => "SIGTRAP: a breakpoint",
        libc::SIGABRT => "SIGABRT: it aborted itself",
        libc::SIGBUS => "SIGBUS: a misaligned or missing memory access",
        libc::SIGFPE => "SIGFPE: a division or floating-point error",
        libc::SIGKILL => "SIGKILL: it was killed, or no memory was left for it",
        libc::SIGSEGV => "SIGSEGV: an access to memory or an instruction that it may not use",
        libc::SIGTERM => "SIGTERM: it was terminated",
        _ if code == 255 => "a fault in the guest kernel, or its panic, if it ran in a guest; see its console",
        _ => return format!("it ended with exit code {code}; see its console"),
    };
    format!("it ended with exit code {code} ({signal})")
}
