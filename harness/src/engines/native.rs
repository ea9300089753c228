//! The baseline: the program as a Linux process.
//!
//! Descriptor 3 is a pipe; a thread that does nothing else reads it and timestamps what arrives, so the region of
//! interest by the host's clock is pipe arrival to pipe arrival, with the wake-up of that thread (some tens of
//! microseconds) at both ends. The guest's own `ticks` do not have that error. There is no start-up time: Linux does
//! not say when a program reached ring 3.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::child::{Child, Inherit, POLL};
use super::clock::TscClock;
use super::console::Console;
use super::cpu_time::Executes;
use super::image::Image;
use super::markers::Markers;
use super::outcome::{Ending, Measured};
use super::tap::{Seen, Tap};
use super::{Availability, Engine, EngineError, Job, StopFlag};
use crate::model::{EngineId, Placement, RunRecord};

/// The descriptor of the marker channel.
const MARKER_FD: i32 = 3;
/// How long the marker channel of a program that has ended is read on.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The engine `native`.
#[derive(Debug)]
pub(super) struct Native;

impl Engine for Native {
    fn id(&self) -> EngineId {
        EngineId::Native
    }

    fn availability(&self) -> Availability {
        let kernel = sysinfo::System::kernel_version();
        Availability::Available { version: kernel.map_or_else(|_| "Linux".to_owned(), |v| format!("Linux {v}")) }
    }

    fn run(&self, job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError> {
        job.check(EngineId::Native)?;
        if !job.program.native {
            return Err(EngineError::NotApplicable {
                engine: EngineId::Native,
                workload: job.request.workload.clone(),
                reason: "it needs the guest kernel, which a Linux process does not have",
            });
        }
        // The same arguments must be possible everywhere.
        job.command_line()?.build()?;
        run(job, stop)
    }
}

fn run(job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError> {
    let host = |what| move |source| EngineError::Host { what, source };
    let image = Image::new(&job.program.elf).map_err(host("store the program's image"))?;
    let (console, console_writer) = io::pipe().map_err(host("create a pipe"))?;
    let (markers, markers_writer) = io::pipe().map_err(host("create a pipe"))?;
    let console = Tap::<Console>::open("console", console).map_err(host("start a thread"))?;
    let markers = Tap::<Markers>::open("markers", markers).map_err(host("start a thread"))?;

    let name = job.program.name.clone();
    // No environment but the one that was drawn: its size moves the stack and with it the time of a run.
    let environment = job.request.placement.and_then(Placement::environment);
    let command = duct::cmd(image.path(), &job.request.args)
        .full_env(environment)
        .before_spawn(move |command| {
            command.arg0(&name);
            Ok(())
        })
        .stdin_null()
        .stderr_to_stdout()
        .stdout_file(console_writer);
    let inherit = vec![Inherit { from: markers_writer.as_raw_fd(), to: MARKER_FD }];
    let tsc = TscClock::start();
    let child = Child::start(&command, inherit)
        .map_err(|source| EngineError::Spawn { command: job.request.workload.clone(), source })?;
    // What this process holds of the writing ends would keep the readers from seeing the end.
    drop((command, markers_writer));
    if let Some(process) = child.id() {
        markers.change(|markers| markers.watch(process));
    }

    let ending = wait(&child, &markers, job, stop).map_err(host("wait for the program"))?;
    let ended = Instant::now();
    let started = child.spawned();
    drop(child);
    let markers = markers.finish();
    let roi = markers.roi();
    let transcript = console.finish().finish();
    let mut record = Measured { started, ended, ending, ring3: None, roi, transcript, tsc }.record(job);
    record.counters = markers.quadrants(Executes::Program);
    record.command = std::iter::once(job.program.name.clone()).chain(job.request.args.iter().cloned()).collect();
    Ok(record)
}

fn wait(child: &Child, markers: &Tap<Markers>, job: &Job<'_>, stop: &StopFlag) -> io::Result<Ending> {
    let deadline = child.spawned() + job.timeout();
    loop {
        // The pipe ends with the program, which is looked at once more before it is waited for and so forgotten.
        // Who else holds the pipe is waited for no longer than a second.
        let mut seen = markers.wait(POLL, |_| false);
        if seen != Seen::End && child.has_ended() {
            seen = markers.wait(LAST_WORDS, |_| false);
        }
        let patience = if seen == Seen::End { POLL } else { Duration::ZERO };
        if let Some(status) = child.wait(patience)? {
            return Ok(ending(status));
        }
        if stop.is_stopped() {
            return Ok(Ending::Stopped);
        }
        if Instant::now() >= deadline {
            return Ok(Ending::TimedOut(None));
        }
    }
}

/// The exit code of a Linux process, with signals as a shell shows them.
fn ending(status: ExitStatus) -> Ending {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ending::Exited(code),
        None => Ending::Failed(format!("it ended with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::testing::{Code, job};
    use crate::model::Status;

    fn record(code: &Code) -> RunRecord {
        Native.run(&job(EngineId::Native, code), &StopFlag::new()).expect("Linux runs it")
    }

    #[test]
    fn a_program_is_timed_and_its_result_read() {
        let code = Code::new()
            .write(3, "B")
            .write(3, "E")
            .write(1, "result 00000000000000aa\nticks 3000\n")
            .write(2, "and a word on the error stream\n")
            .exit(0);
        let record = record(&code);
        assert_eq!(record.status, Status::Ok, "{record:?}");
        assert_eq!(record.checksum.as_deref(), Some("00000000000000aa"));
        assert!(record.roi_host_ns.is_none_or(|ns| ns < record.wall_ns), "{record:?}");
        assert!(record.roi_guest_ns.is_some_and(|ns| ns > 100 && ns < 30_000), "3000 ticks are about 1 us: {record:?}");
        assert_eq!((record.exit_code, record.startup_ns), (Some(0), None));
        assert!(record.console.ends_with("error stream\n"));
        assert_eq!(record.command, ["program", "1", "two words"]);
        assert_eq!(record.image_sha256.len(), 64);
    }

    #[test]
    fn the_program_gets_its_arguments_and_nothing_else() {
        // exit(argc)
        let record = record(&Code::new().raw(&[0x8b, 0x3c, 0x24, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]));
        assert_eq!(record.exit_code, Some(3), "{record:?}");
        // exit(envp[0] == NULL): 8 bytes each of argc, three arguments and a null pointer come before it.
        let code = [0x31, 0xff, 0x48, 0x83, 0x7c, 0x24, 40, 0, 0x40, 0x0f, 0x94, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(self::record(&Code::new().raw(&code)).exit_code, Some(1));
    }

    #[test]
    fn a_program_that_fails_says_how() {
        let failed = record(&Code::new().exit(7));
        assert_eq!((failed.status, failed.exit_code), (Status::Failed, Some(7)));
        let undefined = record(&Code::new().raw(&[0x0f, 0x0b]));
        assert_eq!((undefined.status, undefined.exit_code), (Status::Failed, Some(132)));
        assert!(undefined.message.expect("it failed").contains("SIGILL"));
        let halted = record(&Code::new().raw(&[0xf4]));
        assert_eq!((halted.status, halted.exit_code), (Status::Failed, Some(139)));
    }

    #[test]
    fn a_program_that_loops_is_stopped_at_its_limit_and_keeps_its_output() {
        let code = Code::new().write(1, "before\n").spin();
        let mut job = job(EngineId::Native, &code);
        job.request.timeout_s = 1;
        let record = Native.run(&job, &StopFlag::new()).expect("Linux runs it");
        assert_eq!((record.status, record.exit_code), (Status::Timeout, None));
        assert!(record.message.expect("it timed out").contains("limit of 1 s"));
        assert_eq!(record.console, "before\n");
    }

    #[test]
    fn the_stop_flag_ends_it() {
        let stop = StopFlag::new();
        let setter = stop.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            setter.stop();
        });
        let record = Native.run(&job(EngineId::Native, &Code::new().spin()), &stop).expect("Linux runs it");
        thread.join().expect("it does not panic");
        assert_eq!(record.status, Status::Interrupted);
    }

    #[test]
    fn output_without_end_neither_blocks_nor_fills_memory() {
        let code = Code::new().write(1, &"x".repeat(65_000)).again();
        let mut job = job(EngineId::Native, &code);
        job.request.timeout_s = 1;
        let record = Native.run(&job, &StopFlag::new()).expect("Linux runs it");
        assert_eq!(record.status, Status::Timeout);
        assert!(record.console.len() < (1 << 20) + 100);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let mut guest_only = job(EngineId::Native, &Code::new().exit(0));
        guest_only.program.native = false;
        let error = Native.run(&guest_only, &StopFlag::new()).expect_err("it needs the guest kernel");
        assert!(matches!(error, EngineError::NotApplicable { .. }), "{error}");
        let mut text = job(EngineId::Native, &Code::new().exit(0));
        text.program.elf = b"#!/bin/sh\n".as_slice().into();
        let error = Native.run(&text, &StopFlag::new()).expect_err("it is a script");
        assert!(error.to_string().contains("not an ELF"), "{error}");
    }
}
