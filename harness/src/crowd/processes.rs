//! What Linux says of other processes: their processor time, their memory, their children.

use std::fs;

/// Memory of a process, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// The proportional set size, bytes: a page that `n` processes map counts as an `n`th of a page.
    pub pss: u64,
    /// Pages that no other process maps, bytes: what would be free if it ended.
    pub private: u64,
}

impl std::ops::AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.pss += other.pss;
        self.private += other.private;
    }
}

/// Processor time that a process has used so far, in user and kernel mode of all its threads, nanoseconds.
///
/// Its clock is as fine as the scheduler's, unlike the ticks of `/proc/PID/stat`.
pub(super) fn cpu_ns(pid: u32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the calls take integers and pointers to live variables, which they fill in.
    let failed = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
    };
    (!failed).then(|| time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Memory of a process now; `None` once it has ended.
pub(super) fn memory(pid: u32) -> Option<Memory> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        Some(kib << 10)
    };
    Some(Memory { pss: bytes("Pss")?, private: bytes("Private_Clean")? + bytes("Private_Dirty")? })
}

/// Every process with its parent.
pub(super) fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// The parent, from `/proc/PID/stat`. The name in it may hold anything, so what counts stands behind its last bracket.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read() {
        let text = "5583-7ffe ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:    300 kB\nPss_Anon:   100 kB\n\
                    Shared_Clean: 5 kB\nPrivate_Clean:   20 kB\nPrivate_Dirty:  100 kB\n";
        assert_eq!(parse_rollup(text), Some(Memory { pss: 300 << 10, private: 120 << 10 }));
        assert_eq!(parse_rollup(""), None, "a zombie has none");
    }

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("7 (a) b) S 3 7 7 0"), Some(3));
        assert_eq!(parent_of("7 (a"), None);
    }

    #[test]
    fn this_process_and_its_child_are_seen() {
        let own = std::process::id();
        let before = cpu_ns(own).expect("it lives");
        let mut sum = 0u64;
        while cpu_ns(own).expect("it lives") < before + 2_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let memory = memory(own).expect("Linux since 4.14 has smaps_rollup");
        assert!(memory.pss > 100 << 10 && memory.private > 0 && memory.private <= memory.pss, "{memory:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep exists");
        let seen = parents();
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(seen.contains(&(child.id(), own)));
        assert_eq!(cpu_ns(child.id()), None, "it is gone");
        assert_eq!(super::memory(child.id()), None);
    }
}
