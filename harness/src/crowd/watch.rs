//! Watches the processes of guests that run side by side: the processor time and the memory of each, again and again.
//!
//! When a region of interest began is known only from the record that its process prints at its end. So everything is
//! sampled with the time, and what counts is chosen afterwards.

use std::time::Duration;

use super::processes::{self, Memory};
use crate::engines::monotonic_ns;
use crate::model::EngineId;

/// Memory is looked at no more often than this.
const CENSUS_EVERY: Duration = Duration::from_millis(40);
/// To read how a process's memory is mapped costs time on the processors that the guests run on. So it takes at most this
/// part of one's time.
const CENSUS_SHARE: u32 = 30;
/// Two clocks that were not read within this time of one another are not a sample.
const TOGETHER_NS: u64 = 1_000_000;

/// A stretch of time by the host's `CLOCK_MONOTONIC`, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: u64,
    /// Its end.
    pub to: u64,
}

impl Span {
    /// Its length; 0 if it ends before it begins.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// What all of these have in common, `None` where that is nothing.
    pub fn common(spans: impl IntoIterator<Item = Self>) -> Option<Self> {
        let both = |a: Self, b: Self| Self { from: a.from.max(b.from), to: a.to.min(b.to) };
        spans.into_iter().reduce(both).filter(|span| span.length() > 0)
    }

    const fn holds(self, at: u64) -> bool {
        self.from <= at && at <= self.to
    }
}

/// One guest that is watched.
#[derive(Debug, Default)]
struct Lane {
    /// The process that was started for it.
    leader: Option<u32>,
    /// The process that counts as the guest.
    counted: Option<u32>,
    /// When, and how much processor time it had used by then.
    cpu: Vec<(u64, u64)>,
}

/// The memory of all guests at one time.
#[derive(Debug, Clone)]
struct Census {
    span: Span,
    guests: Vec<Memory>,
}

/// What was seen of a number of guests.
#[derive(Debug)]
pub(super) struct Watch {
    /// Whether the process that is started executes the guest itself. If not, it only watches the one that does, as the
    /// harness does for QEMU and a Linux process, and is no part of the guest.
    direct: bool,
    lanes: Vec<Lane>,
    censuses: Vec<Census>,
    /// When the next census is due.
    due: u64,
}

impl Watch {
    /// Nothing seen yet.
    pub(super) fn new(engine: EngineId, guests: usize) -> Self {
        let direct = match engine {
            EngineId::Kvm | EngineId::EmuNaive | EngineId::EmuInterp | EngineId::EmuDbt => true,
            EngineId::Native | EngineId::QemuTcg | EngineId::QemuKvm => false,
        };
        let lanes = (0..guests).map(|_| Lane::default()).collect();
        Self { direct, lanes, censuses: Vec::new(), due: 0 }
    }

    /// Takes in the process that was started for each guest, as far as it is known, and looks at all of them.
    pub(super) fn look(&mut self, leaders: &[Option<u32>]) {
        self.find(leaders);
        for lane in &mut self.lanes {
            let before = monotonic_ns();
            let used = lane.counted.and_then(processes::cpu_ns);
            let after = monotonic_ns();
            match used {
                Some(used) if after - before <= TOGETHER_NS => lane.cpu.push((before.midpoint(after), used)),
                Some(_) => (),
                // It has ended, and another may take its place.
                None => lane.counted = None,
            }
        }
        if monotonic_ns() >= self.due {
            self.take_census();
        }
    }

    fn find(&mut self, leaders: &[Option<u32>]) {
        let mut all: Option<Vec<(u32, u32)>> = None;
        for (lane, &leader) in self.lanes.iter_mut().zip(leaders) {
            lane.leader = leader;
            let (None, Some(leader)) = (lane.counted, leader) else { continue };
            lane.counted = if self.direct {
                Some(leader)
            } else {
                let all = all.get_or_insert_with(processes::parents);
                all.iter().find(|(_, parent)| *parent == leader).map(|&(pid, _)| pid)
            };
        }
    }

    fn take_census(&mut self) {
        let from = monotonic_ns();
        let guests: Option<Vec<Memory>> = self.lanes.iter().map(|lane| processes::memory(lane.counted?)).collect();
        let span = Span { from, to: monotonic_ns() };
        let pause = u64::try_from(CENSUS_EVERY.as_nanos()).unwrap_or(u64::MAX);
        self.due = span.to + pause.max(span.length() * u64::from(CENSUS_SHARE));
        self.censuses.extend(guests.map(|guests| Census { span, guests }));
    }

    /// Processor time that the guest used in its region of interest, nanoseconds: its share of a processor between the
    /// first and the last sample in there, for the whole of it.
    pub(super) fn cpu_ns(&self, guest: usize, roi: Span) -> Option<u64> {
        share(&self.lanes.get(guest)?.cpu, roi).map(|share| (share * roi.length() as f64).round() as u64)
    }

    /// The memory of each guest at the moment within `all` at which together they had the most.
    pub(super) fn memory(&self, all: Span) -> Option<Vec<Memory>> {
        let inside = self.censuses.iter().filter(|census| all.holds(census.span.from) && all.holds(census.span.to));
        inside.max_by_key(|census| census.guests.iter().map(|m| m.pss).sum::<u64>()).map(|census| census.guests.clone())
    }
}

/// Processor time per time, between the first and the last sample within `span`.
fn share(samples: &[(u64, u64)], span: Span) -> Option<f64> {
    let mut inside = samples.iter().filter(|(at, _)| span.holds(*at));
    let first = inside.next()?;
    let last = inside.next_back()?;
    let time = last.0.checked_sub(first.0).filter(|&time| time > 0)?;
    Some(last.1.checked_sub(first.1)? as f64 / time as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_in_common_what_all_hold() {
        let span = |from, to| Span { from, to };
        assert_eq!(Span::common([span(0, 10), span(3, 12), span(2, 9)]), Some(span(3, 9)));
        assert_eq!(Span::common([span(0, 3), span(3, 5)]), None);
        assert_eq!(Span::common([]), None);
    }

    #[test]
    fn a_share_is_of_the_samples_inside_alone() {
        // Idle, then half a processor, then a whole one.
        let samples = [(0, 0), (10, 0), (20, 5), (30, 10), (40, 20)];
        assert_eq!(share(&samples, Span { from: 10, to: 35 }), Some(0.5));
        assert_eq!(share(&samples, Span { from: 29, to: 40 }), Some(1.0));
        assert_eq!(share(&samples, Span { from: 11, to: 29 }), None, "one sample tells no rate");
        assert_eq!(share(&[], Span { from: 0, to: 9 }), None);
    }

    #[test]
    fn the_fullest_census_within_the_time_counts() {
        let mut watch = Watch::new(EngineId::Kvm, 2);
        let census = |from, to, pss: [u64; 2]| Census {
            span: Span { from, to },
            guests: pss.map(|pss| Memory { pss, private: 0 }).to_vec(),
        };
        watch.censuses =
            vec![census(0, 2, [90, 90]), census(10, 12, [5, 9]), census(20, 22, [8, 8]), census(30, 32, [99, 99])];
        let found = watch.memory(Span { from: 5, to: 31 }).expect("two are inside");
        assert_eq!(found.iter().map(|m| m.pss).collect::<Vec<_>>(), [8, 8]);
        assert_eq!(watch.memory(Span { from: 13, to: 19 }), None);
    }

    #[test]
    fn a_process_is_watched_until_it_ends() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh exists");
        let mut watch = Watch::new(EngineId::Kvm, 1);
        let from = monotonic_ns();
        while watch.lanes[0].cpu.len() < 5 || watch.censuses.is_empty() {
            watch.look(&[Some(child.id())]);
            std::thread::sleep(Duration::from_millis(10));
        }
        let roi = Span { from, to: monotonic_ns() };
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        watch.look(&[Some(child.id())]);
        let used = watch.cpu_ns(0, roi).expect("there are samples");
        assert!(used > 0 && used < roi.length() * 11 / 10, "{used} of {}", roi.length());
        assert!(watch.memory(roi).expect("a census")[0].pss > 0);
    }
}
