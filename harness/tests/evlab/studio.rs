//! Real experiments, small ones: complete, stopped half-way, killed half-way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use evlab::model::Status;
use evlab::results::{Experiment, SetUp, State, read};
use tempfile::TempDir;

use crate::common::{available, evlab, run, stderr, stdout};

/// Bound on everything that a test waits for: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An experiment that runs in the background; its processes are told by a mark in their environment.
struct Studio {
    child: Child,
    mark: String,
    dir: TempDir,
}

impl Studio {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mark = format!("EVLAB_TEST_MARK={}", dir.path().display());
        let child = evlab()
            .arg("studio")
            .args(args)
            .arg("--out")
            .arg(dir.path().join("out"))
            .env("EVLAB_TEST_MARK", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start evlab");
        Self { child, mark, dir }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn rows(&self) -> usize {
        fs::read_to_string(self.out().join("runs.csv")).map_or(0, |text| text.lines().count().saturating_sub(1))
    }

    fn signal(&self, signal: i32) {
        kill(self.child.id(), signal);
    }

    /// Waits for its end and returns the exit code.
    fn end(&mut self) -> Option<i32> {
        let mut code = None;
        wait_for("the end of the studio", || {
            code = self.child.try_wait().expect("wait");
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    /// Processes of this experiment, zombies apart: their number and command line.
    fn processes(&self) -> Vec<(u32, String)> {
        let entries = fs::read_dir("/proc").expect("read /proc").flatten();
        entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let environment = fs::read(entry.path().join("environ")).ok()?;
                let marked = environment.split(|&b| b == 0).any(|word| word == self.mark.as_bytes());
                let command = fs::read(entry.path().join("cmdline")).ok()?;
                marked.then(|| (pid, String::from_utf8_lossy(&command).replace('\0', " ")))
            })
            .collect()
    }

    fn assert_nothing_left(&self) {
        wait_for("the end of all processes", || self.processes().is_empty());
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn kill(pid: u32, signal: i32) {
    let signal = format!("-{signal}");
    let status = std::process::Command::new("kill").args([&signal, &pid.to_string()]).status();
    assert!(status.expect("run kill").success(), "kill {signal} {pid}");
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Renders the folder again, which must succeed, and reads it.
fn rendered(out: &Path) -> Experiment {
    let output = run(&["report", out.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(out.join("report.html").is_file());
    assert!(out.join("summary.csv").is_file());
    read(out).expect("readable")
}

#[test]
fn a_small_experiment_is_complete_and_agrees() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("deep/out");
    let engines = available(&["native", "kvm", "emu-interp", "qemu-tcg"]).join(",");
    let output = evlab()
        .args(["studio", "--engines", &engines, "--workloads", "noop,sieve,two_processes"])
        .args(["--runs", "2", "--size", "0.01", "--seed", "7", "--out"])
        .arg(&out)
        .output()
        .expect("start evlab");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("report.html"), "{}", stdout(&output));
    let found = read(&out).expect("readable");
    assert_eq!(found.meta.state, State::Complete);
    assert_eq!((found.meta.plan.seed, found.meta.plan.runs_per_cell), (7, 2));
    assert_eq!(found.meta.images[0].name, "kernel");
    let count = engines.split(',').count();
    let expected = 2 * (3 * count - 1);
    assert_eq!(found.runs.len(), expected, "native does not run two_processes");
    for (index, row) in found.runs.iter().enumerate() {
        let cell = &found.meta.plan.cells[found.meta.order[index]];
        assert_eq!((row.run as usize, row.engine, &row.workload), (index + 1, cell.engine, &cell.workload));
        assert_eq!(row.status, Status::Ok);
        assert!(row.checksum.is_some() && row.wall_ns > 0, "{row:?}");
        let image = found.meta.images.iter().find(|i| i.name == row.workload).expect("its image");
        assert_eq!(row.image_sha256, image.sha256);
    }
    // Again from the folder alone.
    assert_eq!(rendered(&out).runs, found.runs);
}

#[test]
fn set_ups_are_drawn_and_recorded_unless_they_are_to_be_fixed() {
    let studio = |args: &[&str]| {
        let dir = tempfile::tempdir().expect("temporary folder");
        let out = dir.path().join("out");
        let output = evlab()
            .args(["studio", "--workloads", "sieve", "--runs", "4", "--size", "0.01", "--out"])
            .arg(&out)
            .args(args)
            .output()
            .expect("start evlab");
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        (rendered(&out), fs::read_to_string(out.join("report.html")).expect("the page"))
    };
    let (drawn, page) = studio(&["--engines", "native,emu-interp", "--seed", "5"]);
    assert_eq!(drawn.meta.plan.setup, Some(SetUp::Drawn));
    assert!(page.contains("Each run drew its set-up") && !page.contains("--fixed-setup"));
    let counts: Vec<_> = drawn.runs.iter().filter_map(|run| run.guest_instructions).collect();
    assert!(counts.len() == 4 && counts.iter().all(|&count| count == counts[0]), "{counts:?}");
    let (fixed, page) = studio(&["--engines", "native", "--fixed-setup"]);
    assert_eq!(fixed.meta.plan.setup, Some(SetUp::Fixed));
    assert!(page.contains("--fixed-setup"));
    let (exact, _) = studio(&["--engines", "emu-interp", "--deterministic"]);
    assert_eq!(exact.meta.plan.setup, Some(SetUp::Fixed));
}

#[test]
fn a_budget_ends_an_experiment_in_time() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    let output = evlab()
        .args(["studio", "--engines", "native,emu-interp", "--workloads", "sieve", "--runs", "2", "--size", "0.01"])
        .args(["--budget", "2s", "--precision", "50%", "--out"])
        .arg(&out)
        .output()
        .expect("start evlab");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("ratios are known to 50%"), "{}", stdout(&output));
    let found = rendered(&out);
    assert_eq!((found.meta.plan.precision, found.meta.plan.budget_s), (Some(0.5), Some(2)));
    assert_eq!(found.runs.len(), found.meta.order.len());
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_leaves_no_process() {
    let engines = available(&["native", "kvm", "qemu-tcg"]).join(",");
    let mut studio = Studio::start(&["--engines", &engines, "--workloads", "sieve,fib,qsort", "--runs", "500"]);
    wait_for("some rows", || studio.rows() >= 3);
    studio.signal(2);
    assert_eq!(studio.end(), Some(130));
    studio.assert_nothing_left();
    let found = rendered(&studio.out());
    assert_eq!(found.meta.state, State::Interrupted);
    assert!(found.meta.ended.is_some());
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let good = found.runs.iter().filter(|r| r.status == Status::Ok).count();
    assert!(good >= 3, "{:?}", found.runs);
    assert!(found.runs.len() <= good + 1, "only the last run was stopped: {:?}", found.runs);
}

#[test]
fn kill_9_leaves_valid_files_and_no_process() {
    let engines = available(&["native", "kvm", "qemu-tcg"]).join(",");
    let mut studio = Studio::start(&["--engines", &engines, "--workloads", "sieve,fib,qsort", "--runs", "500"]);
    wait_for("some rows", || studio.rows() >= 3);
    studio.signal(9);
    assert_eq!(studio.end(), None);
    studio.assert_nothing_left();
    let found = rendered(&studio.out());
    assert_eq!(found.meta.state, State::Running, "nobody could say that it ended");
    assert!(found.runs.len() >= 3);
}

#[test]
fn a_qemu_that_is_killed_is_a_failed_run_and_the_others_go_on() {
    if available(&["qemu-tcg"]).is_empty() {
        return;
    }
    let args = ["--engines", "native,qemu-tcg", "--workloads", "sieve", "--runs", "2", "--size", "20"];
    let mut studio = Studio::start(&args);
    let mut qemu = None;
    wait_for("a QEMU", || {
        // Not one that is only asked for its version.
        let guest = |command: &str| command.contains("qemu-system") && command.contains("-kernel");
        qemu = studio.processes().into_iter().find(|(_, command)| guest(command));
        qemu.is_some()
    });
    kill(qemu.expect("found").0, 9);
    assert_eq!(studio.end(), Some(1));
    studio.assert_nothing_left();
    let found = rendered(&studio.out());
    assert_eq!(found.meta.state, State::Complete);
    assert_eq!(found.runs.len(), 4);
    let failed: Vec<_> = found.runs.iter().filter(|r| r.status == Status::Failed).collect();
    assert_eq!(failed.len(), 1, "{:?}", found.runs);
    assert_eq!(found.meta.problems[0].run, failed[0].run);
    assert!(!found.meta.problems[0].message.is_empty());
}

#[test]
fn a_missing_engine_is_named_and_fails_nothing() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let output = evlab()
        .args(["studio", "--engines", "native,qemu-tcg", "--workloads", "noop", "--runs", "1", "--out"])
        .arg(dir.path().join("out"))
        // No QEMU is found on this path.
        .env("PATH", dir.path())
        .output()
        .expect("start evlab");
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("without qemu-tcg: "), "{}", stdout(&output));
    let found = read(&dir.path().join("out")).expect("readable");
    let missing = found.meta.engines.iter().find(|e| e.id.name() == "qemu-tcg").expect("it is listed");
    assert!(missing.missing.is_some() && missing.fix.is_some(), "{missing:?}");
}

#[test]
fn a_disk_that_fills_up_ends_it_and_keeps_the_rows() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("out");
    // A limit on the size of files, of which the signal is ignored, refuses writes as a full disk does.
    let limited = "trap '' XFSZ; ulimit -f 160; exec \"$@\"";
    let output = std::process::Command::new("bash")
        .args(["-c", limited, "bash"])
        .arg(evlab().get_program())
        .args(["studio", "--engines", "native", "--workloads", "noop", "--runs", "5000", "--out"])
        .arg(&out)
        .output()
        .expect("start bash");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let last = text.lines().last().expect("a sentence");
    assert!(last.starts_with("evlab: cannot write ") && last.contains("is kept"), "{text}");
    let found = rendered(&out);
    assert!(found.runs.len() > 100, "{}", found.runs.len());
}
