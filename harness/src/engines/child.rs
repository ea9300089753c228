//! Child processes that never outlive this one.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use duct::{Expression, Handle};

/// How often a waiting engine looks at its stop flag and its time limit.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// A descriptor that a child gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherit {
    /// Its number in this process.
    pub(super) from: RawFd,
    /// Its number in the child.
    pub(super) to: RawFd,
}

/// A running child. It is the leader of a process group of its own, so that a Ctrl-C at the terminal reaches this
/// process alone, which then ends the child in good order; the whole group is killed when the value is dropped, and by
/// the kernel when this process dies.
#[derive(Debug)]
pub(super) struct Child {
    handle: Handle,
    spawned: Instant,
}

impl Child {
    /// Starts `command`. The kernel kills the child when the *thread* that calls this ends, so that thread must wait
    /// for it.
    pub(super) fn start(command: &Expression, inherit: Vec<Inherit>) -> io::Result<Self> {
        let parent = std::process::id();
        let command = command.unchecked().before_spawn(move |command| {
            let inherit = inherit.clone();
            command.process_group(0);
            // SAFETY: `prepare` makes nothing but async-signal-safe system calls and allocates nothing, as the time
            // between fork and exec of a process with threads demands.
            unsafe { command.pre_exec(move || prepare(parent, &inherit)) };
            Ok(())
        });
        let spawned = Instant::now();
        let handle = command.start()?;
        Ok(Self { handle, spawned })
    }

    /// The moment just before the child was started.
    pub(super) const fn spawned(&self) -> Instant {
        self.spawned
    }

    /// Its number.
    pub(super) fn id(&self) -> Option<u32> {
        self.handle.pids().first().copied()
    }

    /// Whether it has ended; unlike [`Self::wait`], which then lets the kernel forget it.
    pub(super) fn has_ended(&self) -> bool {
        let Some(id) = self.id() else { return true };
        // SAFETY: all zeros are a valid siginfo_t, which the call fills in; it changes nothing about the child.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, id, &raw mut info, flags) != 0 || info.si_pid() != 0
        }
    }

    /// Waits for the child to end, at most `patience`.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        Ok(self.handle.wait_timeout(patience)?.map(|output| output.status))
    }

    /// Kills the child and what it started, and waits for its end.
    pub(super) fn kill(&self) {
        for pid in self.handle.pids() {
            // SAFETY: the call takes two integers. The group is the child's own: it was made before exec.
            unsafe { libc::killpg(pid.cast_signed(), libc::SIGKILL) };
        }
        // It cannot refuse SIGKILL; were it no child of ours any more, it would be gone.
        let _ = self.handle.kill();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs in the child between fork and exec.
fn prepare(parent: u32, inherit: &[Inherit]) -> io::Result<()> {
    // SAFETY: the calls take integers only, and touch nothing but this process.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before the line above.
        if libc::getppid().cast_unsigned() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        for &Inherit { from, to } in inherit {
            if from == to {
                check(libc::fcntl(from, libc::F_SETFD, 0))?;
            } else {
                check(libc::dup2(from, to))?;
            }
        }
    }
    Ok(())
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        let command = duct::cmd!("sh", "-c", "sleep 1000 & sleep 1000").stdout_null().stderr_null();
        Child::start(&command, Vec::new()).expect("sh exists")
    }

    /// Whether a process group has a member that is not a zombie.
    fn group_lives(group: u32) -> bool {
        let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
        processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok()).any(|stat| {
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields[0] != "Z" && fields[2] == group.to_string()
        })
    }

    #[test]
    fn a_dropped_child_takes_its_children_along() {
        let child = sleeper();
        let pid = child.handle.pids()[0];
        assert!(group_lives(pid), "it runs in its own process group");
        assert_eq!(child.wait(Duration::ZERO).expect("it is our child"), None);
        drop(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while group_lives(pid) {
            assert!(Instant::now() < deadline, "process group {pid} lives on");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn an_unknown_program_is_an_error() {
        let error = Child::start(&duct::cmd!("/nonexistent/program"), Vec::new()).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_kernel_kills_the_child_of_a_thread_that_ended() {
        let child = std::thread::spawn(sleeper).join().expect("it does not panic");
        let status = child.wait(Duration::from_secs(10)).expect("it is our child");
        assert!(status.is_some_and(|status| !status.success()));
    }
}
