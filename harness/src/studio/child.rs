//! The executor of real experiments: every run is its own process, `evlab run ... --json`.
//!
//! No process outlives its run: the child leads its own process group, which is killed when the run is over, and the
//! kernel kills the child when the studio dies, however it dies.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::executor::{Executor, RunSpec};
use super::plan::Settings;
use crate::cli::Switch;
use crate::engines::{SPAWNED_AT_ENV, StopFlag, monotonic_ns};
use crate::model::{Placement, RunRecord, Status};

/// Time beyond its own limit after which a child is killed.
const GRACE: Duration = Duration::from_secs(10);
/// Time a child has to end itself after the user stopped the experiment.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How often the stop flag is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Most bytes of a child's output that are kept. A record with a full console is well below.
const OUTPUT_LIMIT: u64 = 32 << 20;

/// Runs each run as a process of this very program.
#[derive(Debug)]
pub struct ChildExecutor {
    program: PathBuf,
    settings: Settings,
    grace: Duration,
}

impl ChildExecutor {
    /// An executor that starts this very program again, also if its file was replaced in the meantime.
    #[must_use]
    pub fn of_this_program(settings: Settings) -> Self {
        Self::new(PathBuf::from("/proc/self/exe"), settings)
    }

    /// An executor that starts `program`, an evlab.
    #[must_use]
    pub const fn new(program: PathBuf, settings: Settings) -> Self {
        Self { program, settings, grace: GRACE }
    }

    fn command(&self, spec: &RunSpec) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0("evlab")
            .arg("run")
            .arg(&spec.cell.workload)
            .args(["--engine", spec.cell.engine.id.name(), "--json"])
            .args(["--ram", &self.settings.ram_mib.to_string()])
            .args(["--timeout", &self.settings.timeout_s.to_string()])
            .args(["--prefault", Switch::from(self.settings.prefault).name()]);
        if let Some(hz) = self.settings.hz {
            command.args(["--hz", &hz.to_string()]);
        }
        if spec.cell.engine.id.has_emulated_cpu() {
            command.args(["--cpu", self.settings.cpu.name()]);
        }
        if !spec.cell.engine.is_plain() {
            command.args(["--emu", &spec.cell.engine.choices()]);
        }
        if self.settings.deterministic && spec.cell.engine.id.has_emulated_cpu() {
            command.arg("--deterministic");
        }
        if let Some(seed) = self.settings.setup_seed {
            command.args(["--setup", &Placement::seed_of_run(seed, spec.run).to_string()]);
        }
        if !self.settings.sandbox {
            command.arg("--no-sandbox");
        }
        command
            .arg("--")
            .args(spec.cell.args.iter().map(OsString::from))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only `prctl` and `getppid` are called, which are async-signal-safe.
        unsafe {
            command.pre_exec(move || die_with(parent));
        }
        command
    }

    fn watch(&self, child: &mut Child, ended: &Receiver<()>, stop: &StopFlag) -> End {
        let limit = Duration::from_secs(self.settings.timeout_s) + self.grace;
        let start = Instant::now();
        let mut stopping: Option<Instant> = None;
        let mut open = true;
        loop {
            if has_exited(child) {
                return if stopping.is_some() { End::Stopped } else { End::Exited };
            }
            if stop.is_stopped() && stopping.is_none() {
                stopping = Some(Instant::now());
                terminate(child);
            }
            if stopping.is_some_and(|t| t.elapsed() > STOP_GRACE) {
                return End::Stopped;
            }
            if start.elapsed() > limit {
                return End::TimedOut;
            }
            // The end of its output announces the end of the child, so that no run waits for a poll.
            if open {
                open = ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout);
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// How a child came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exited,
    Stopped,
    TimedOut,
}

impl Executor for ChildExecutor {
    fn execute(&mut self, spec: &RunSpec, stop: &StopFlag) -> RunRecord {
        self.run(spec, stop, |_| ())
    }
}

impl ChildExecutor {
    /// Does a run, as [`Executor::execute`] does, and tells `started` the number of its process as soon as there is one.
    ///
    /// Several threads may do runs at a time. The kernel kills the process if the thread ends before it.
    pub fn run(&self, spec: &RunSpec, stop: &StopFlag, started: impl FnOnce(u32)) -> RunRecord {
        let start = Instant::now();
        let mut command = self.command(spec);
        command.env(SPAWNED_AT_ENV, monotonic_ns().to_string());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                let message = format!("cannot start {}: {e}", self.program.display());
                return spec.record(Status::Failed, Some(message));
            }
        };
        started(child.id());
        let (send, ended) = channel();
        let output = collect(child.stdout.take(), Some(send));
        let errors = collect(child.stderr.take(), None);
        let end = self.watch(&mut child, &ended, stop);
        kill_group(&child);
        let status = child.wait();
        let wall_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let output = output.join().unwrap_or_default();
        let errors = errors.join().unwrap_or_default();

        let mut record = match (end, serde_json::from_slice::<RunRecord>(&output)) {
            (End::Exited | End::Stopped, Ok(record)) => record,
            (End::Stopped, Err(_)) => spec.record(Status::Interrupted, Some("stopped by the user".into())),
            (End::TimedOut, _) => {
                let text = format!(
                    "the run neither ended nor stopped itself after {} s and was killed",
                    self.settings.timeout_s
                );
                spec.record(Status::Timeout, Some(text))
            }
            (End::Exited, Err(_)) => {
                let said = last_line(&errors);
                let how = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                let text = if said.is_empty() { how } else { format!("{said} ({how})") };
                spec.record(Status::Failed, Some(text))
            }
        };
        if record.wall_ns == 0 {
            record.wall_ns = wall_ns;
        }
        if end == End::Stopped && record.status != Status::Ok {
            record.status = Status::Interrupted;
        }
        record
    }
}

/// Reads a pipe to its end in a thread, and says so through `ended`; what exceeds the limit is thrown away.
pub(crate) fn collect(
    pipe: Option<impl Read + Send + 'static>,
    ended: Option<std::sync::mpsc::Sender<()>>,
) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // A read error ends the output like its end does; the record is then not whole, which is noticed.
            let _ = pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        drop(ended);
        kept
    })
}

/// The last line that is not empty, without the program's name.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().find(|l| !l.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    line.strip_prefix("evlab: ").unwrap_or(line).to_owned()
}

/// Asks the kernel to kill this process when its parent dies, and makes sure that it has not yet.
pub(crate) fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: both calls only pass integers.
    let orphaned = unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::getppid().unsigned_abs() != parent
    };
    if orphaned {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(())
}

/// Whether the child has exited. It is not reaped yet, so its process group keeps its number.
fn has_exited(child: &Child) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is memory for one `siginfo_t`, alive during the call; it is zeroed, which is a valid value.
    let (result, pid) = unsafe {
        let result = libc::waitid(libc::P_PID, child.id(), info.as_mut_ptr(), flags);
        (result, info.assume_init().si_pid())
    };
    result != 0 || pid != 0
}

/// Asks the child, and only it, to stop: it ends its own children in order.
fn terminate(child: &Child) {
    // SAFETY: only integers are passed; the child is not reaped, so the number is its.
    unsafe {
        libc::kill(child.id().cast_signed(), libc::SIGTERM);
    }
}

/// Kills whatever is left of the child and of the processes it started.
fn kill_group(child: &Child) {
    // SAFETY: only integers are passed; the child is not reaped, so the group is its.
    unsafe {
        libc::killpg(child.id().cast_signed(), libc::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::model::{EngineId, Setup};
    use crate::results::Cell;

    /// An executor of a shell script that stands for evlab.
    fn executor(dir: &Path, script: &str, timeout_s: u64) -> ChildExecutor {
        let program = dir.join("evlab.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("write the script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("make it executable");
        let settings = Settings {
            ram_mib: 64,
            timeout_s,
            prefault: false,
            cpu: emu_min::Model::V1,
            hz: None,
            deterministic: false,
            setup_seed: None,
            sandbox: true,
        };
        ChildExecutor { program, settings, grace: Duration::ZERO }
    }

    fn spec() -> RunSpec {
        RunSpec {
            run: 7,
            cell: Cell {
                engine: EngineId::Kvm.into(),
                workload: "sieve".into(),
                args: vec!["10".into(), "a b".into()],
            },
            image_sha256: "0".into(),
        }
    }

    fn gone(pid_file: &Path) -> bool {
        let pid = std::fs::read_to_string(pid_file).expect("the script wrote its pid");
        let stat = Path::new("/proc").join(pid.trim()).join("stat");
        // Killed processes whose parent is gone wait for init as zombies.
        let dead = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
        (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            dead()
        })
    }

    #[test]
    fn the_child_gets_the_request_and_its_record_comes_back() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let record = spec().record(Status::Ok, None);
        let json = serde_json::to_string(&record).expect("encode");
        let seen = dir.path().join("seen");
        let script = format!("echo \"$EVLAB_SPAWNED_AT_NS\" \"$@\" > {}\necho '{json}'", seen.display());
        let got = executor(dir.path(), &script, 5).execute(&spec(), &StopFlag::new());
        assert!(got.wall_ns > 0);
        assert_eq!(RunRecord { wall_ns: 0, ..got }, record);
        let seen = std::fs::read_to_string(seen).expect("read");
        let (spawned, args) = seen.trim().split_once(' ').expect("time and arguments");
        assert!(spawned.parse::<u64>().expect("a time") <= monotonic_ns());
        assert_eq!(args, "run sieve --engine kvm --json --ram 64 --timeout 5 --prefault off -- 10 a b");
    }

    #[test]
    fn an_emulated_cpu_gets_its_model_and_its_mechanisms() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let executor = executor(dir.path(), "", 5);
        let words = |engine: Setup| {
            let mut spec = spec();
            spec.cell.engine = engine;
            let command = executor.command(&spec);
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let naive = words(EngineId::EmuNaive.into());
        assert!(naive.contains(" --cpu v1 -- "), "{naive}");
        let native = words(EngineId::Native.into());
        assert!(!native.contains("--cpu") && !native.contains("--emu"), "{native}");
        let unlinked = words(Setup::new(EngineId::EmuInterp, "link=off").expect("it has links"));
        assert!(unlinked.contains("--engine emu-interp ") && unlinked.contains(" --emu link=off -- "), "{unlinked}");
    }

    #[test]
    fn each_run_draws_its_own_placement_from_the_seed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut executor = executor(dir.path(), "", 5);
        executor.settings.setup_seed = Some(42);
        let words = |run| {
            let command = executor.command(&RunSpec { run, ..spec() });
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert!(words(7).contains(&format!(" --setup {} -- ", Placement::seed_of_run(42, 7))), "{}", words(7));
        assert_ne!(words(7), words(8));
    }

    #[test]
    fn a_child_that_fails_is_reported_by_its_last_words() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let script = "echo 'evlab: engine kvm is missing' >&2\nexit 2";
        let got = executor(dir.path(), script, 5).execute(&spec(), &StopFlag::new());
        assert_eq!(got.status, Status::Failed);
        let message = got.message.expect("a reason");
        assert!(message.contains("engine kvm is missing"), "{message}");
        let got = executor(dir.path(), "kill -SEGV $$", 5).execute(&spec(), &StopFlag::new());
        let message = got.message.expect("a reason");
        assert!(message.contains("signal"), "{message}");
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failed_run() {
        let settings = Settings {
            ram_mib: 64,
            timeout_s: 1,
            prefault: true,
            cpu: emu_min::Model::V1,
            hz: None,
            deterministic: false,
            setup_seed: None,
            sandbox: true,
        };
        let mut executor = ChildExecutor::new("/nonexistent/evlab".into(), settings);
        let got = executor.execute(&spec(), &StopFlag::new());
        assert_eq!(got.status, Status::Failed);
        assert!(got.message.expect("a reason").contains("/nonexistent/evlab"));
    }

    #[test]
    fn nothing_is_left_of_a_child_that_hangs() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}\nwait", pid.display());
        let got = executor(dir.path(), &script, 1).execute(&spec(), &StopFlag::new());
        assert_eq!(got.status, Status::Timeout);
        assert!(gone(&pid), "the grandchild survived");
    }

    #[test]
    fn nothing_is_left_of_a_child_that_is_stopped_and_will_not() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let pid = dir.path().join("pid");
        let script = format!("trap '' TERM\nsleep 1000 & echo $! > {}\nwait; wait", pid.display());
        let stop = StopFlag::new();
        let setter = stop.clone();
        let (file, waiter) = (pid.clone(), Duration::from_millis(10));
        let thread = thread::spawn(move || {
            while !file.exists() {
                thread::sleep(waiter);
            }
            setter.stop();
        });
        let got = executor(dir.path(), &script, 60).execute(&spec(), &stop);
        thread.join().expect("the stopper");
        assert_eq!(got.status, Status::Interrupted);
        assert!(gone(&pid), "the grandchild survived");
    }
}
