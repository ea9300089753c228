//! Processes of this very program, each of which runs a guest and prints its record; the suite's, and others'.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engines::StopFlag;
use crate::model::RunRecord;
use crate::studio::{collect, die_with};

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Time beyond the time limit of its guest after which a process is killed.
const GRACE: Duration = Duration::from_secs(20);

/// A process that runs a guest.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: JoinHandle<Vec<u8>>,
    errors: JoinHandle<Vec<u8>>,
    deadline: Instant,
}

/// What is left of one.
#[derive(Debug)]
pub(crate) struct Finished {
    status: Option<ExitStatus>,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Process {
    /// Starts this program with `arguments`; its guest has `timeout_s` seconds.
    pub(crate) fn start(arguments: &[String], timeout_s: u64) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("evlab").args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let parent = std::process::id();
        // SAFETY: between fork and exec only `prctl` and `getppid` are called, which are async-signal-safe.
        unsafe { command.pre_exec(move || die_with(parent)) };
        let mut child = command.spawn()?;
        let (output, errors) = (collect(child.stdout.take(), None), collect(child.stderr.take(), None));
        Ok(Self { child, output, errors, deadline: Instant::now() + Duration::from_secs(timeout_s) + GRACE })
    }

    /// Waits for its end; kills it when it is overdue, or the user wants to stop.
    pub(crate) fn finish(mut self, stop: &StopFlag) -> io::Result<Finished> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if stop.is_stopped() || Instant::now() > self.deadline {
                break None;
            }
            thread::sleep(POLL);
        };
        // SAFETY: only integers are passed. The group was made for the child; whoever is left in it is its.
        unsafe { libc::killpg(self.child.id().cast_signed(), libc::SIGKILL) };
        self.child.wait()?;
        let join = |thread: JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        Ok(Finished { status, output: join(self.output), errors: join(self.errors) })
    }
}

impl Finished {
    /// The record that it printed, if it ended in good order: with exit code 0 or 1, and by no signal.
    pub(crate) fn record(&self) -> Result<RunRecord, String> {
        let said = String::from_utf8_lossy(&self.errors);
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
        match self.status {
            None => Err("it neither ended nor stopped itself, and was killed".to_owned()),
            Some(status) if status.signal().is_some() || !matches!(status.code(), Some(0 | 1)) => {
                Err(format!("{status}: {said}"))
            }
            Some(_) => serde_json::from_slice(&self.output).map_err(|e| format!("it printed no record ({e}): {said}")),
        }
    }
}
