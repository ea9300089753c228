//! The region of interest as four quadrants: ring of the processor times guest or host; as far as it can be known.
//!
//! Three sources, none of which disturbs the guest in the region: stamps of the time-stamp counter at exits, the CPU time
//! of the thread at both ends, and of an emulated CPU the time of its rings. Linux knows a thread's CPU time to the
//! nanosecond, but most kernels find out by sampling at each tick of their own timer what part of it was spent in the
//! kernel, so that part has an error, and short regions are not divided at all.

/// What Linux says of a thread or of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time on a processor, nanoseconds, exactly.
    pub total_ns: u64,
    /// The part in the kernel, nanoseconds, by samples.
    pub kernel_ns: u64,
}

impl CpuTime {
    /// That of the calling thread until now; `None` where the kernel does not say.
    pub fn of_this_thread() -> Option<Self> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec, which the call fills in.
        if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
            return None;
        }
        // SAFETY: all zeros are a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live rusage, which the call fills in.
        if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } != 0 {
            return None;
        }
        let kernel = usage.ru_stime;
        Some(Self {
            total_ns: time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs(),
            kernel_ns: kernel.tv_sec.unsigned_abs() * 1_000_000_000 + kernel.tv_usec.unsigned_abs() * 1000,
        })
    }

    /// What was spent since an earlier moment.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            kernel_ns: self.kernel_ns.saturating_sub(earlier.kernel_ns),
        }
    }

    /// How far the kernel's part may be off, nanoseconds: two standard deviations of a part found by one sample a tick,
    /// and a tick for the ends.
    #[must_use]
    pub fn sampling_error_ns(self, tick_ns: u64) -> u64 {
        let tick = tick_ns.max(1) as f64;
        let samples = self.total_ns as f64 / tick;
        // Laplace's estimate, since no sample among few does not mean never.
        let part = (self.kernel_ns.min(self.total_ns) as f64 / tick + 1.0) / (samples + 2.0);
        (tick * (1.0 + 2.0 * (samples * part * (1.0 - part)).sqrt())) as u64
    }
}

/// The host kernel's tick, nanoseconds: how often it looks who runs. Ask before a sandbox is entered.
pub fn tick_ns() -> u64 {
    // 250 Hz, the usual setting, should the kernel not say.
    const USUAL: u64 = 4_000_000;
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in.
    match unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) } {
        0 => resolution.tv_nsec.unsigned_abs().max(1),
        _ => USUAL,
    }
}

/// Lengths in the region of interest by the time-stamp counter, nanoseconds; together all of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spans {
    /// Inside the virtual CPU.
    pub(crate) running: u64,
    /// Outside it.
    pub(crate) serving: u64,
    /// The guest was halted and the host slept.
    pub(crate) idle: u64,
}

/// Time of the rings of an emulated CPU, nanoseconds; together that inside it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RingSpans {
    pub(crate) user: u64,
    pub(crate) kernel: u64,
    pub(crate) translating: u64,
}

/// The error of the stamps at both ends, nanoseconds: what lies between them and the readings that go with them.
const STAMPS: u64 = 20_000;
/// A sampled part is used if its error is at most one in so many of the whole.
const COARSEST: u64 = 4;

/// A quadrant or what else the region consists of, and its length.
type Segment = (&'static str, u64);

impl Spans {
    const fn whole(self) -> u64 {
        self.running + self.serving + self.idle
    }

    /// Time in which another thread had the processor.
    const fn off_cpu(self, cpu: CpuTime) -> u64 {
        self.whole().saturating_sub(self.idle + cpu.total_ns)
    }

    /// The quadrants where the guest runs on the processor itself. Inside KVM_RUN it is the guest's, in either ring, or
    /// the kernel's; outside it is the VMM's, and of the ways into the kernel and out of it.
    pub(crate) fn on_processor(self, cpu: CpuTime, tick_ns: u64) -> Vec<Segment> {
        let off = self.off_cpu(cpu).min(self.running);
        let inside = self.running - off;
        // Who ran instead is not known to have done so inside.
        let error = STAMPS + off.min(self.serving);
        let sampled = cpu.sampling_error_ns(tick_ns);
        let mut segments = vec![
            ("quadrant.host_user_ns", self.serving),
            ("quadrant.idle_ns", self.idle),
            ("quadrant.off_cpu_ns", off),
        ];
        if sampled.saturating_mul(COARSEST) <= inside {
            let kernel = cpu.kernel_ns.min(inside);
            segments.extend([
                ("quadrant.guest_ns", inside - kernel),
                ("quadrant.host_kernel_ns", kernel),
                ("quadrant.error_ns", error + sampled),
            ]);
        } else {
            segments.extend([("quadrant.mixed_ns", inside), ("quadrant.error_ns", error)]);
        }
        segments
    }

    /// The quadrants where the guest is emulated: its rings are the work done for them, all of it in the emulator's
    /// process; the VMM and the translator are host user; and what the host's kernel took is taken off all of them alike,
    /// since nobody knows when it did.
    pub(crate) fn emulated(self, rings: RingSpans, cpu: CpuTime, tick_ns: u64) -> Vec<Segment> {
        let off = self.off_cpu(cpu);
        let sampled = cpu.sampling_error_ns(tick_ns);
        let busy = self.running + self.serving;
        let known = sampled.saturating_mul(COARSEST) <= busy;
        let kernel = if known { cpu.kernel_ns } else { 0 };
        let off = off.min(busy);
        let kernel = kernel.min(busy - off);
        let taken = off + kernel;
        let kept = |span: u64| {
            let share = if busy == 0 { 0.0 } else { (busy - taken) as f64 / busy as f64 };
            (span as f64 * share).round() as u64
        };
        let error = STAMPS + taken + if known { sampled } else { 0 };
        vec![
            ("quadrant.guest_user_ns", kept(rings.user)),
            ("quadrant.guest_kernel_ns", kept(rings.kernel)),
            ("quadrant.host_user_ns", kept(self.serving + rings.translating)),
            ("quadrant.host_kernel_ns", kernel),
            ("quadrant.idle_ns", self.idle),
            ("quadrant.off_cpu_ns", off),
            ("quadrant.error_ns", error),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    const TICK: u64 = 4 * MS;

    fn value(segments: &[Segment], name: &str) -> Option<u64> {
        segments.iter().find(|s| s.0 == format!("quadrant.{name}_ns")).map(|s| s.1)
    }

    fn sum(segments: &[Segment]) -> u64 {
        segments.iter().filter(|s| s.0 != "quadrant.error_ns").map(|s| s.1).sum()
    }

    #[test]
    fn a_long_region_on_the_processor_is_divided_and_a_short_one_is_not() {
        let spans = Spans { running: 900 * MS, serving: 50 * MS, idle: 50 * MS };
        let cpu = CpuTime { total_ns: 940 * MS, kernel_ns: 300 * MS };
        let long = spans.on_processor(cpu, TICK);
        assert_eq!((value(&long, "off_cpu"), value(&long, "host_user")), (Some(10 * MS), Some(50 * MS)));
        assert_eq!((value(&long, "guest"), value(&long, "host_kernel")), (Some(590 * MS), Some(300 * MS)));
        let error = value(&long, "error").unwrap();
        assert!((50 * MS..120 * MS).contains(&error), "235 samples: {error}");
        let short = Spans { running: 2 * MS, ..Spans::default() };
        let short = short.on_processor(CpuTime { total_ns: 2 * MS, kernel_ns: 2 * MS }, TICK);
        assert_eq!((value(&short, "mixed"), value(&short, "guest")), (Some(2 * MS), None));
        assert_eq!(value(&short, "error"), Some(STAMPS));
    }

    #[test]
    fn the_rings_of_an_emulated_cpu_are_told_apart_in_any_region() {
        let spans = Spans { running: 3 * MS, serving: MS, idle: 0 };
        let rings = RingSpans { user: 2 * MS, kernel: MS / 2, translating: MS / 2 };
        let quiet = spans.emulated(rings, CpuTime { total_ns: 4 * MS, kernel_ns: 0 }, TICK);
        assert_eq!((value(&quiet, "guest_user"), value(&quiet, "guest_kernel")), (Some(2 * MS), Some(MS / 2)));
        assert_eq!((value(&quiet, "host_user"), value(&quiet, "error")), (Some(MS + MS / 2), Some(STAMPS)));
        let stolen = spans.emulated(rings, CpuTime { total_ns: 2 * MS, kernel_ns: 0 }, TICK);
        assert_eq!((value(&stolen, "guest_user"), value(&stolen, "off_cpu")), (Some(MS), Some(2 * MS)));
        assert!(value(&stolen, "error").unwrap() >= 2 * MS, "nobody knows whom it was taken from");
    }

    #[test]
    fn this_thread_has_cpu_time() {
        let before = CpuTime::of_this_thread().unwrap();
        let mut x = 1_u64;
        while CpuTime::of_this_thread().unwrap().since(before).total_ns < 2 * MS {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let spent = CpuTime::of_this_thread().unwrap().since(before);
        assert!(spent.total_ns >= 2 * MS && spent.kernel_ns <= spent.total_ns + tick_ns());
        assert!((100_000..=20_000_000).contains(&tick_ns()), "{}", tick_ns());
    }

    proptest! {
        #[test]
        fn segments_add_up_to_the_region(
            running in 0..u64::pow(10, 10), serving in 0..u64::pow(10, 9), idle in 0..u64::pow(10, 9),
            total_ns in 0..u64::pow(10, 10), kernel_ns in 0..u64::pow(10, 10), user in 0.0..1.0, kernel in 0.0..1.0,
        ) {
            let spans = Spans { running, serving, idle };
            let cpu = CpuTime { total_ns, kernel_ns };
            let user = (running as f64 * user) as u64;
            let kernel = ((running - user) as f64 * kernel) as u64;
            let rings = RingSpans { user, kernel, translating: running - user - kernel };
            prop_assert_eq!(sum(&spans.on_processor(cpu, TICK)), spans.whole());
            prop_assert!(sum(&spans.emulated(rings, cpu, TICK)).abs_diff(spans.whole()) <= 3, "rounding alone");
        }
    }
}
