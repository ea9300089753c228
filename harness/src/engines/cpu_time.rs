//! Where the region of interest of a child process went: read from Linux at both its ends, by who timestamps the markers.
//!
//! Linux gives other processes' parts in hundredths of a second (`/proc/PID/stat`), so only regions of a tenth of a second
//! and more are divided; the sum is known better.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use vmm_min::quadrants::{CpuTime, tick_ns};

use crate::model::Counter;

/// Who executes the guest in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Executes {
    /// The child itself, as a program: ring 3 is the guest's, the kernel the host's.
    Program,
    /// A thread that also translates and emulates devices, all in ring 3.
    Translator,
    /// A thread in KVM_RUN.
    Kvm,
}

/// What is read at one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// How long after the marker it was complete.
    delay: Duration,
    /// Of all its threads, up to this moment.
    process_ns: Option<u64>,
    threads: Vec<Thread>,
}

/// One thread until a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Thread {
    id: u32,
    cpu: CpuTime,
    /// In ring 3, guests included, nanoseconds.
    user_ns: u64,
    /// Of it, a guest's on KVM.
    guest_ns: u64,
}

/// A hundredth of a second, the unit of `/proc/PID/stat` on every x86 (`USER_HZ`).
const UNIT_NS: u64 = 10_000_000;
/// The least error of the sum, nanoseconds.
const LEAST: u64 = 10_000;
/// A sampled part is used if its error is at most one in so many of the whole.
const COARSEST: u64 = 4;

impl Sample {
    /// Reads all threads of a process, whose marker came at `at`; `None` if it is gone.
    pub(super) fn of(process: u32, at: Instant) -> Option<Self> {
        let process_ns = process_clock(process);
        let tasks = format!("/proc/{process}/task");
        let threads: Vec<Thread> =
            fs::read_dir(&tasks).ok()?.filter_map(|task| Thread::read(&task.ok()?.path())).collect();
        (!threads.is_empty()).then(|| Self { delay: at.elapsed(), process_ns, threads })
    }

    /// The thread that worked most since an earlier sample, and how much.
    fn busiest_since(&self, earlier: &Self) -> Option<Thread> {
        let spent = self.threads.iter().map(|late| {
            let early = earlier.threads.iter().find(|t| t.id == late.id).copied().unwrap_or_default();
            Thread {
                id: late.id,
                cpu: late.cpu.since(early.cpu),
                user_ns: late.user_ns.saturating_sub(early.user_ns),
                guest_ns: late.guest_ns.saturating_sub(early.guest_ns),
            }
        });
        spent.max_by_key(|t| t.cpu.total_ns)
    }

    /// The quadrants of a region of interest that began with `earlier` and ended with this.
    pub(super) fn quadrants(&self, earlier: &Self, roi: Duration, executes: Executes) -> Vec<Counter> {
        let Some(mut spent) = self.busiest_since(earlier) else { return Vec::new() };
        let tick = tick_ns();
        // Somewhere between marker and delay it was read.
        let between = u64::try_from((self.delay + earlier.delay).as_nanos()).unwrap_or(u64::MAX).saturating_add(LEAST);
        // What others read of a thread that runs is behind by up to a tick; the clock of a process is not.
        let mut late = between.saturating_add(tick);
        if executes == Executes::Program
            && let Some((now, then)) = self.process_ns.zip(earlier.process_ns)
        {
            spent.cpu.total_ns = now.saturating_sub(then);
            late = between;
        }
        let roi = u64::try_from(roi.as_nanos()).unwrap_or(u64::MAX);
        divide(spent, roi, executes, (tick, late))
            .into_iter()
            .map(|(name, value)| Counter { source: "host".to_owned(), counter: name.to_owned(), value })
            .collect()
    }
}

impl Thread {
    /// Reads `/proc/PID/task/TID`.
    fn read(folder: &Path) -> Option<Self> {
        let id = folder.file_name()?.to_str()?.parse().ok()?;
        // Time on a processor is the first word.
        let schedstat = fs::read_to_string(folder.join("schedstat")).ok()?;
        let total_ns = schedstat.split(' ').next()?.parse().ok()?;
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let (user_ns, kernel_ns, guest_ns) = parts(&stat)?;
        Some(Self { id, cpu: CpuTime { total_ns, kernel_ns }, user_ns, guest_ns })
    }
}

/// User, system and guest time in the text of a `stat` file, nanoseconds (proc(5): fields 14, 15 and 43).
fn parts(stat: &str) -> Option<(u64, u64, u64)> {
    // The second field is a name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let field = |number: usize| Some(fields.get(number - 3)?.parse::<u64>().ok()?.saturating_mul(UNIT_NS));
    Some((field(14)?, field(15)?, field(43)?))
}

/// The CPU time of a process, exactly (clock_getcpuclockid(3)).
fn process_clock(process: u32) -> Option<u64> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: the pointers are to a live clock id and a live timespec, which the calls fill in.
    let done = unsafe {
        libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    done.then(|| time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// Divides a region among who ran on the thread that executes the guest; not at all where the sum is hardly known, whose
/// error is `late`.
fn divide(spent: Thread, roi: u64, executes: Executes, (tick_ns, late): (u64, u64)) -> Vec<(&'static str, u64)> {
    if late.saturating_mul(COARSEST) > roi {
        return Vec::new();
    }
    let total = spent.cpu.total_ns.min(roi);
    let sampled = spent.cpu.sampling_error_ns(tick_ns) + UNIT_NS;
    let mut segments = vec![("quadrant.off_cpu_ns", roi - total)];
    if sampled.saturating_mul(COARSEST) > total {
        segments.extend([("quadrant.mixed_ns", total), ("quadrant.error_ns", late)]);
        return segments;
    }
    let kernel = spent.cpu.kernel_ns.min(total);
    let user = total - kernel;
    match executes {
        Executes::Program => segments.push(("quadrant.guest_user_ns", user)),
        Executes::Translator => segments.push(("quadrant.mixed_ns", user)),
        Executes::Kvm => {
            let guest = spent.guest_ns.min(user);
            segments.extend([("quadrant.guest_ns", guest), ("quadrant.host_user_ns", user - guest)]);
        }
    }
    segments.extend([("quadrant.host_kernel_ns", kernel), ("quadrant.error_ns", late + sampled)]);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn value(segments: &[(&str, u64)], name: &str) -> Option<u64> {
        segments.iter().find(|s| s.0 == format!("quadrant.{name}_ns")).map(|s| s.1)
    }

    #[test]
    fn a_stat_file_is_read_whatever_the_name_of_the_program() {
        let fields: Vec<String> = (3..=52).map(|n: u32| n.to_string()).collect();
        let stat = format!("17 (a) b) R) {}", fields.join(" "));
        assert_eq!(parts(&stat), Some((14 * UNIT_NS, 15 * UNIT_NS, 43 * UNIT_NS)));
        assert_eq!(parts("17 (a) R 1 2"), None);
    }

    #[test]
    fn long_regions_are_divided_and_short_ones_are_not() {
        let cpu = CpuTime { total_ns: 900 * MS, kernel_ns: 300 * MS };
        let spent = Thread { id: 1, cpu, user_ns: 600 * MS, guest_ns: 500 * MS };
        let divided = |executes| divide(spent, 1000 * MS, executes, (4 * MS, 5 * MS));
        let program = divided(Executes::Program);
        assert_eq!((value(&program, "guest_user"), value(&program, "host_kernel")), (Some(600 * MS), Some(300 * MS)));
        let kvm = divided(Executes::Kvm);
        assert_eq!((value(&kvm, "guest"), value(&kvm, "host_user")), (Some(500 * MS), Some(100 * MS)));
        assert_eq!(value(&divided(Executes::Translator), "mixed"), Some(600 * MS));
        for segments in [program, kvm, divided(Executes::Translator)] {
            let all: u64 = segments.iter().filter(|s| s.0 != "quadrant.error_ns").map(|s| s.1).sum();
            assert_eq!((all, value(&segments, "off_cpu")), (1000 * MS, Some(100 * MS)));
        }
        let cpu = CpuTime { total_ns: 9 * MS, kernel_ns: 0 };
        let short = divide(Thread { cpu, ..spent }, 10 * MS, Executes::Program, (4 * MS, MS));
        assert_eq!(divide(Thread { cpu, ..spent }, 10 * MS, Executes::Kvm, (4 * MS, 5 * MS)), []);
        assert_eq!((value(&short, "mixed"), value(&short, "guest_user")), (Some(9 * MS), None));
    }

    #[test]
    fn this_process_can_be_sampled_and_one_that_is_gone_cannot() {
        let start = Instant::now();
        let before = Sample::of(std::process::id(), start).expect("it runs");
        while start.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(start);
        }
        let after = Sample::of(std::process::id(), Instant::now()).expect("it runs");
        assert!(after.busiest_since(&before).expect("it has threads").cpu.total_ns > 0);
        let quadrants = after.quadrants(&before, start.elapsed(), Executes::Program);
        assert!(quadrants.iter().any(|c| c.counter == "quadrant.error_ns" && c.source == "host"), "{quadrants:?}");
        assert_eq!(Sample::of(u32::MAX, start), None);
    }
}
