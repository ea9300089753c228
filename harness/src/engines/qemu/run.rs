//! One run of QEMU, from spawn to the last counter.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Accelerator;
use super::command::{Options, arguments};
use super::counters::{of_info_jit, of_query_stats};
use super::qmp::{Qmp, QmpError};
use crate::engines::child::{Child, Inherit, POLL};
use crate::engines::clock::TscClock;
use crate::engines::console::Console;
use crate::engines::cpu_time::Executes;
use crate::engines::image::Image;
use crate::engines::markers::Markers;
use crate::engines::outcome::{Ending, Measured};
use crate::engines::tap::{Seen, Tap};
use crate::engines::{EngineError, Job, StopFlag};
use crate::model::{Counter, RunRecord, Status};

/// Longest time that QEMU may take for an answer on QMP, or to end when told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// What QEMU prints when KVM gives up on a guest; it then keeps the guest for a debugger and waits.
const KVM_GAVE_UP: [&str; 3] = ["KVM internal error", "KVM: entry failed", "error: kvm run failed"];

/// The CPU that offers a guest the most. `arch-capabilities` is withheld since some KVM backends offer it but refuse
/// its MSR; a guest of the contract does not look at it.
const HOST_CPU: &str = "host,-arch-capabilities";

/// Does a run.
pub(super) fn run(
    program: &Path,
    accelerator: Accelerator,
    job: &Job<'_>,
    stop: &StopFlag,
) -> Result<RunRecord, EngineError> {
    let cpu = match accelerator {
        Accelerator::Tcg => "max",
        Accelerator::Kvm => HOST_CPU,
    };
    let mut sandbox = job.request.confine.sandbox.is_some();
    let mut record = attempt(program, accelerator, cpu, sandbox, job, stop)?;
    let mut in_force = if sandbox { "QEMU's own seccomp filter" } else { "off" };
    if sandbox && sandbox_unknown(&record) {
        sandbox = false;
        in_force = "none: this QEMU was built without seccomp";
        record = attempt(program, accelerator, cpu, sandbox, job, stop)?;
    }
    if property_unknown(&record) {
        record = attempt(program, accelerator, "host", sandbox, job, stop)?;
    }
    Ok(RunRecord { sandbox: Some(in_force.to_owned()), ..record })
}

/// Whether QEMU does not know the option that makes it filter its own system calls.
fn sandbox_unknown(record: &RunRecord) -> bool {
    let named = |message: &String| ["-sandbox", "'sandbox'", "seccomp"].iter().any(|word| message.contains(word));
    record.status == Status::Failed && record.startup_ns.is_none() && record.message.as_ref().is_some_and(named)
}

/// Whether QEMU refused the property of [`HOST_CPU`], which it does before the guest starts.
fn property_unknown(record: &RunRecord) -> bool {
    let named = record.message.as_ref().is_some_and(|message| message.contains("arch-capabilities"));
    record.status == Status::Failed && record.startup_ns.is_none() && named
}

fn attempt(
    program: &Path,
    accelerator: Accelerator,
    cpu: &'static str,
    sandbox: bool,
    job: &Job<'_>,
    stop: &StopFlag,
) -> Result<RunRecord, EngineError> {
    let host = |what| move |source| EngineError::Host { what, source };
    let tsc_khz = vmm_min::kvm_tsc_khz().unwrap_or_else(|_| vmm_min::host_tsc_khz());
    let append = job.command_line()?.tsc_khz(tsc_khz.into()).starting_now().hold().build()?;
    let kernel = Image::new(job.kernel).map_err(host("store the guest kernel's image"))?;
    let image = Image::new(&job.program.elf).map_err(host("store the program's image"))?;
    let (markers, qemu_markers) = io::pipe().map_err(host("create a pipe"))?;
    let (console, qemu_console) = wide_pipe().map_err(host("create a pipe"))?;
    let (qmp, qemu_qmp) = UnixStream::pair().map_err(host("create a socket pair"))?;
    let (errors, qemu_errors) = io::pipe().map_err(host("create a pipe"))?;
    let markers = Tap::<Markers>::open("markers", markers).map_err(host("start a thread"))?;
    let console = Tap::<Console>::open("console", console).map_err(host("start a thread"))?;
    let errors = Tap::<Console>::open("errors", errors).map_err(host("start a thread"))?;

    let arguments = arguments(&Options {
        accelerator,
        cpu,
        ram_mib: job.request.ram_mib,
        prefault: job.request.prefault,
        kernel: kernel.path(),
        program: image.path(),
        append,
        markers: qemu_markers.as_raw_fd(),
        console: qemu_console.as_raw_fd(),
        qmp: qemu_qmp.as_raw_fd(),
        sandbox,
    });
    let channels = [qemu_markers.as_raw_fd(), qemu_console.as_raw_fd(), qemu_qmp.as_raw_fd()];
    let inherit = channels.into_iter().chain(kernel.fd()).chain(image.fd());
    let inherit = inherit.map(|fd| Inherit { from: fd, to: fd }).collect();
    let command = duct::cmd(program, &arguments).stdin_null().stdout_null().stderr_file(qemu_errors);
    let tsc = TscClock::start();
    let child = Child::start(&command, inherit)
        .map_err(|source| EngineError::Spawn { command: program.display().to_string(), source })?;
    // What this process holds of QEMU's ends would keep the readers from seeing the end.
    drop((command, qemu_markers, qemu_console, qemu_qmp));
    if let Some(process) = child.id() {
        markers.change(|markers| markers.watch(process));
    }

    let deadline = child.spawned() + job.timeout();
    let ending = wait(&markers, &errors, deadline, stop);
    let mut counters = Vec::new();
    if matches!(ending, Wait::Ended(Ending::Exited(_))) {
        // Without its counters the run is still a run; they are missing where QEMU ends by itself.
        let _ = part_from(qmp, accelerator, &mut counters);
    }
    let patience = if matches!(ending, Wait::Ended(Ending::Exited(_)) | Wait::QemuGone) { PATIENCE } else { POLL };
    let status = child.wait(patience).map_err(host("wait for QEMU"))?;
    let ended = Instant::now();
    let started = child.spawned();
    drop(child);

    let errors = errors.finish().finish().text;
    let ending = match ending {
        Wait::Ended(ending) => ending,
        Wait::QemuGone => gone(status, &errors),
        Wait::KvmGaveUp => Ending::Failed(format!("KVM gave up on the guest: {}", kvm_report(&errors))),
    };
    let markers = markers.finish();
    counters.extend(markers.quadrants(match accelerator {
        Accelerator::Tcg => Executes::Translator,
        Accelerator::Kvm => Executes::Kvm,
    }));
    let transcript = console.finish().finish();
    let measured = Measured { started, ended, ending, ring3: markers.ring3, roi: markers.roi(), transcript, tsc };
    let command = std::iter::once(program.display().to_string()).chain(arguments).collect();
    Ok(RunRecord { counters, command, ..measured.record(job) })
}

/// A pipe for the console. QEMU's serial port drops a byte when it cannot write the one before at once, which a socket
/// refuses after a few hundred single bytes; a pipe merges them, and this one holds as many as Linux lets it.
fn wide_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: the call takes a descriptor, which `writer` keeps open, and two integers. A host that refuses the size
    // leaves the pipe as it is.
    unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
    Ok((reader, writer))
}

/// What ended the waiting.
enum Wait {
    /// The guest, the clock or the user.
    Ended(Ending),
    /// QEMU closed the marker channel.
    QemuGone,
    /// KVM refused to go on and QEMU stands still.
    KvmGaveUp,
}

fn wait(markers: &Tap<Markers>, errors: &Tap<Console>, deadline: Instant, stop: &StopFlag) -> Wait {
    loop {
        match markers.wait(POLL, |markers| markers.exit_code().is_some()) {
            Seen::Awaited => {
                let code = markers.look(Markers::exit_code).unwrap_or(u8::MAX);
                return Wait::Ended(Ending::Exited(code));
            }
            Seen::End => return Wait::QemuGone,
            Seen::Nothing => (),
        }
        if stop.is_stopped() {
            return Wait::Ended(Ending::Stopped);
        }
        if errors.look(|errors| KVM_GAVE_UP.iter().any(|words| errors.contains(words))) {
            return Wait::KvmGaveUp;
        }
        if Instant::now() >= deadline {
            return Wait::Ended(Ending::TimedOut(None));
        }
    }
}

/// Stops the guest, which has halted, reads the counters and ends QEMU.
fn part_from(stream: UnixStream, accelerator: Accelerator, counters: &mut Vec<Counter>) -> Result<(), QmpError> {
    let mut qmp = Qmp::connect(stream, PATIENCE)?;
    qmp.execute("stop", &json!({}))?;
    match accelerator {
        Accelerator::Tcg => counters.extend(of_info_jit(&qmp.human("info jit")?)),
        Accelerator::Kvm => {
            for (target, prefix) in [("vcpu", ""), ("vm", "vm.")] {
                // QEMU before 7.1 does not know the command.
                if let Ok(answer) = qmp.execute("query-stats", &json!({ "target": target })) {
                    counters.extend(of_query_stats(&answer, prefix));
                }
            }
        }
    }
    qmp.execute("quit", &json!({}))?;
    Ok(())
}

/// Why QEMU ended before the guest reported an exit code.
fn gone(status: Option<ExitStatus>, errors: &str) -> Ending {
    // A hint may follow the line that names the fault, which begins with the program's name.
    let last = errors
        .lines()
        .rfind(|line| line.starts_with("qemu"))
        .or_else(|| errors.lines().rfind(|line| !line.trim().is_empty()));
    Ending::Failed(match (status, last) {
        (Some(status), None) if status.success() => {
            "the guest reset its machine (a triple fault) before it reported an exit code".to_owned()
        }
        (Some(status), None) => format!("QEMU ended before the guest did: {status}"),
        (None, None) => "QEMU closed the marker channel before the guest ended".to_owned(),
        (_, Some(line)) => format!("QEMU ended before the guest did: {}", line.trim()),
    })
}

/// What QEMU printed when KVM gave up: the line that says so and the registers behind it.
fn kvm_report(errors: &str) -> String {
    let from = KVM_GAVE_UP.iter().filter_map(|words| errors.find(words)).min().unwrap_or_default();
    errors[from..].lines().take(8).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::engines::testing::{Code, job};
    use crate::model::EngineId;

    #[test]
    fn a_qemu_that_refuses_its_options_is_quoted() {
        let job = job(EngineId::QemuTcg, &Code::new().exit(0));
        // It knows none of the options, says so and ends.
        let record = run(Path::new("/bin/cat"), Accelerator::Tcg, &job, &StopFlag::new()).expect("cat starts");
        assert_eq!(record.status, Status::Failed);
        let message = record.message.expect("it failed");
        assert!(message.starts_with("QEMU ended before the guest did: Try '"), "{message}");
        assert_eq!(record.command[0], "/bin/cat");
    }

    #[test]
    fn a_qemu_that_says_nothing_is_described_by_its_status() {
        let job = job(EngineId::QemuTcg, &Code::new().exit(0));
        let record = run(Path::new("/bin/false"), Accelerator::Tcg, &job, &StopFlag::new()).expect("false starts");
        assert_eq!(record.message.as_deref(), Some("QEMU ended before the guest did: exit status: 1"));
        let error =
            run(Path::new("/nonexistent"), Accelerator::Tcg, &job, &StopFlag::new()).expect_err("nothing starts");
        assert!(error.to_string().starts_with("cannot start /nonexistent: No such file"), "{error}");
    }

    #[test]
    fn a_triple_fault_is_told_from_a_qemu_that_fails() {
        let ending = |status: i32, errors| gone(Some(ExitStatus::from_raw(status)), errors);
        assert!(matches!(ending(0, "\n"), Ending::Failed(text) if text.contains("triple fault")));
        assert!(matches!(ending(9, ""), Ending::Failed(text) if text.contains("signal: 9")));
        assert!(matches!(ending(256, "a\nqemu: b\nhint\n\n"), Ending::Failed(text) if text.ends_with(": qemu: b")));
        assert!(matches!(ending(256, "a\nb\n\n"), Ending::Failed(text) if text.ends_with(": b")));
    }

    #[test]
    fn kvm_giving_up_is_quoted_with_registers() {
        let errors = "warning\nKVM internal error. Suberror: 1\nEAX=0\n";
        assert_eq!(kvm_report(errors), "KVM internal error. Suberror: 1\nEAX=0");
    }

    #[test]
    fn a_qemu_without_seccomp_is_recognised() {
        let mut record = job(EngineId::QemuKvm, &Code::new().exit(0)).record(Status::Failed);
        for message in ["qemu: -sandbox on: seccomp support is disabled", "There is no option group 'sandbox'"] {
            record.message = Some(message.to_owned());
            assert!(sandbox_unknown(&record), "{message}");
        }
        assert!(!sandbox_unknown(&RunRecord { startup_ns: Some(1), ..record.clone() }));
        assert!(!sandbox_unknown(&RunRecord { message: Some("no memory".to_owned()), ..record }));
    }

    #[test]
    fn only_a_refused_property_is_tried_again_without_it() {
        let job = job(EngineId::QemuKvm, &Code::new().exit(0));
        let mut record = job.record(Status::Failed);
        record.message = Some("Property 'host-x86_64-cpu.arch-capabilities' not found".to_owned());
        assert!(property_unknown(&record));
        assert!(!property_unknown(&RunRecord { startup_ns: Some(1), ..record.clone() }));
        assert!(!property_unknown(&RunRecord { message: Some("no memory".to_owned()), ..record }));
    }
}
