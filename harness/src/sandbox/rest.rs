//! Waiting until the other threads of this process are at rest.
//!
//! A thread that starts makes system calls that it never needs again. The filter holds for all threads at once, so none
//! may still be starting; those of this program wait for something as soon as they have started.

use std::time::Duration;
use std::{fs, io};

/// How often, and how many times, they are looked at: 2 s of this process's own time, were they ever so slow.
const PAUSE: Duration = Duration::from_micros(100);
const LOOKS: u32 = 20_000;

/// Waits until every thread but this one sleeps.
pub(super) fn wait() -> io::Result<()> {
    // SAFETY: gettid has no preconditions.
    let own = unsafe { libc::gettid() }.to_string();
    for _ in 0..LOOKS {
        if all_sleep(&own)? {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn all_sleep(own: &str) -> io::Result<bool> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        if task.file_name() == own {
            continue;
        }
        match fs::read_to_string(task.path().join("stat")) {
            // The state follows the name, which is in parentheses and may hold anything.
            Ok(stat) if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) => {}
            Ok(_) => return Ok(false),
            // It has ended since.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_waits_is_at_rest_and_one_that_works_is_not() {
        // SAFETY: as above.
        let tid = || unsafe { libc::gettid() }.to_string();
        let (done, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let worker = std::thread::spawn(move || {
            tell.send(tid()).expect("somebody listens");
            while wait.try_recv() == Err(mpsc::TryRecvError::Empty) {}
        });
        let other = told.recv().expect("it tells");
        let busy = fs::read_to_string(format!("/proc/self/task/{other}/stat")).expect("it lives");
        assert!(busy.contains(") R "), "{busy}");
        assert!(!all_sleep(&tid()).expect("/proc is there"));
        done.send(()).expect("it listens");
        worker.join().expect("it does not panic");
    }
}
