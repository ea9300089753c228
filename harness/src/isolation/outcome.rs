//! How the run of an attack ended, in a word.

use std::fmt;

use crate::model::{RunRecord, Status};

/// A clear end of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exit(u8),
    /// Stopped at its time limit.
    Timeout,
    /// Its processor shut down.
    TripleFault,
    /// KVM refused to run it any further.
    KvmGaveUp,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Timeout => f.write_str("time limit"),
            Self::TripleFault => f.write_str("triple fault"),
            Self::KvmGaveUp => f.write_str("KVM gave up"),
        }
    }
}

/// The end that a record tells of, or what it says if that is none of these.
pub(super) fn end_of(record: &RunRecord) -> Result<End, String> {
    let message = record.message.as_deref().unwrap_or_default();
    match (record.status, record.exit_code) {
        (Status::Timeout, _) => Ok(End::Timeout),
        (Status::Ok | Status::Failed, Some(code)) => Ok(End::Exit(code)),
        (Status::Failed, None) if message.contains("triple fault") => Ok(End::TripleFault),
        (Status::Failed, None)
            if message.contains("KVM cannot run the guest any further") || message.contains("KVM gave up") =>
        {
            Ok(End::KvmGaveUp)
        }
        _ => Err(message.lines().next().unwrap_or("it ended without a word").to_owned()),
    }
}
