//! What one run of a micro-benchmark yielded.

use super::benchmark::Benchmark;
use crate::model::{RunRecord, Status};

/// Exits that our own machine served in the region of interest; `None` on engines that are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Accesses to ports, the marker that ends the region not among them.
    pub io: u64,
    /// Accesses to memory that is none.
    pub mmio: u64,
    /// Halts.
    pub hlt: u64,
    /// All others.
    pub other: u64,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// How many iterations.
    pub iterations: u64,
    /// Time of the region of interest, nanoseconds, by the guest's clock: the host's sees the markers too.
    pub roi_ns: f64,
    /// Guest instructions in it, where the engine counts them.
    pub instructions: Option<u64>,
    /// Exits in it.
    pub exits: Option<Counted>,
    /// The part of it that was lost, where the program told.
    pub lost: Option<f64>,
}

impl Sample {
    /// What the record says, or why it says nothing.
    ///
    /// # Errors
    /// The run did not end well, or lacks a time; the reason in one sentence.
    pub fn of(record: &RunRecord, iterations: u64) -> Result<Self, String> {
        if record.status != Status::Ok {
            let message = record.message.as_deref().unwrap_or("it did not end well");
            let said = record.console.lines().find(|line| line.starts_with("micro:"));
            return Err(said.unwrap_or_else(|| message.lines().next().unwrap_or(message)).to_owned());
        }
        let roi_ns = record.roi_guest_ns.or(record.roi_host_ns).ok_or("the run has no time")?;
        let vmm = |name: &str| record.counters.iter().find(|c| c.source == "vmm" && c.counter == name).map(|c| c.value);
        let exits = match (vmm("exit.total"), vmm("exit.io"), vmm("exit.mmio"), vmm("exit.hlt")) {
            (Some(total), Some(io), Some(mmio), Some(hlt)) => {
                let other = total.saturating_sub(io + mmio + hlt);
                Some(Counted { io: io.saturating_sub(1), mmio, hlt, other })
            }
            _ => None,
        };
        let (lost, ticks) = (number(&record.console, "lost "), number(&record.console, "ticks "));
        Ok(Self {
            iterations,
            roi_ns: roi_ns as f64,
            instructions: record.guest_instructions,
            exits,
            lost: lost.zip(ticks).filter(|(_, ticks)| *ticks > 0.0).map(|(lost, ticks)| lost / ticks),
        })
    }

    /// What is wrong with its exits, if anything: where the machine is ours they are known exactly. Where the timer
    /// interrupts, the virtual CPU is interrupted too, and such exits are not.
    #[must_use]
    pub fn objection(&self, benchmark: &Benchmark) -> Option<String> {
        let Counted { io, mmio, hlt, other } = self.exits?;
        let expected =
            [benchmark.exits.io, benchmark.exits.mmio, benchmark.exits.hlt].map(|each| each * self.iterations);
        let unasked = if benchmark.is_timed() { 0 } else { other };
        if [io, mmio, hlt] == expected && unasked == 0 {
            return None;
        }
        let [wanted_io, wanted_mmio, wanted_hlt] = expected;
        Some(format!(
            "{} iterations took {io} port, {mmio} MMIO, {hlt} HLT and {other} other exits; expected are {wanted_io}, \
             {wanted_mmio}, {wanted_hlt}{}",
            self.iterations,
            if benchmark.is_timed() { "" } else { ", 0" }
        ))
    }
}

/// The number of a line `<name><number>` on the console.
fn number(console: &str, name: &str) -> Option<f64> {
    console.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Counter, EngineId};

    pub(in crate::micro) fn record(engine: EngineId, roi_ns: u64, io: u64) -> RunRecord {
        let counter = |name: &str, value| Counter { source: "vmm".to_owned(), counter: name.to_owned(), value };
        RunRecord {
            run: 0,
            engine: engine.into(),
            workload: "loop".to_owned(),
            args: Vec::new(),
            image_sha256: String::new(),
            status: Status::Ok,
            checksum: None,
            roi_host_ns: Some(roi_ns + 1000),
            roi_guest_ns: Some(roi_ns),
            roi_began_ns: None,
            wall_ns: 0,
            startup_ns: None,
            guest_instructions: None,
            exit_code: Some(0),
            message: None,
            console: String::new(),
            counters: [("exit.total", io + 1), ("exit.io", io), ("exit.mmio", 0), ("exit.hlt", 0)]
                .map(|(name, value)| counter(name, value))
                .to_vec(),
            histograms: Vec::new(),
            command: Vec::new(),
            sandbox: None,
            placement: None,
            fence: None,
        }
    }

    #[test]
    fn the_marker_is_no_exit_of_the_event() {
        let sample = Sample::of(&record(EngineId::Kvm, 500, 11), 10).expect("it ended well");
        assert_eq!(sample.exits, Some(Counted { io: 10, mmio: 0, hlt: 0, other: 1 }));
        assert_eq!((sample.roi_ns, sample.lost), (500.0, None));
    }

    #[test]
    fn lost_time_is_a_part_of_all_ticks() {
        let mut record = record(EngineId::Native, 500, 1);
        record.console = "lost 5\nresult 0\nticks 20\n".to_owned();
        record.counters.clear();
        let sample = Sample::of(&record, 1).expect("it ended well");
        assert_eq!((sample.lost, sample.exits), (Some(0.25), None));
    }

    #[test]
    fn a_run_that_failed_says_why() {
        let mut record = record(EngineId::Kvm, 500, 1);
        record.status = Status::Failed;
        record.message = Some("KVM gave up\nrip 0".to_owned());
        assert_eq!(Sample::of(&record, 1), Err("KVM gave up".to_owned()));
        record.console = "micro: the kernel refuses\n".to_owned();
        assert_eq!(Sample::of(&record, 1), Err("micro: the kernel refuses".to_owned()));
    }
}
