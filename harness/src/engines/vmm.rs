//! The engines that live in this process: vmm-min's machine with one of its virtual CPUs.
//!
//! Markers are timestamped where the machine serves the port write, so the region of interest has no transport in it.
//! Start-up counts from the moment at which the parent started this process ([`SPAWNED_AT_ENV`](super::SPAWNED_AT_ENV)).

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use vmm_min::{CpuKind, Dump, End, GuestSpec, Limits, Machine, Observer, Outcome, StopHandle, TscKhz};

use super::child::POLL;
use super::clock::{TscClock, process_start};
use super::console::Console;
use super::outcome::{Ending, Measured};
use super::{Availability, Engine, EngineError, Job, StopFlag};
use crate::model::{Counter, EngineId, RunRecord};

/// Lines of a machine's dump that go into a message.
const DUMP_LINES: usize = 8;

/// A machine of vmm-min with one kind of virtual CPU.
#[derive(Debug)]
pub(super) struct Vmm {
    /// The engine's id.
    pub(super) id: EngineId,
    /// The virtual CPU.
    pub(super) cpu: CpuKind,
}

impl Engine for Vmm {
    fn id(&self) -> EngineId {
        self.id
    }

    fn availability(&self) -> Availability {
        let version = env!("CARGO_PKG_VERSION");
        match self.cpu {
            CpuKind::Kvm => match super::kvm::missing() {
                Some(missing) => missing,
                None => Availability::Available { version: format!("vmm-min {version}, {}", super::kvm::version()) },
            },
            CpuKind::EmuNaive | CpuKind::EmuInterp => Availability::Available { version: format!("emu-min {version}") },
            CpuKind::EmuDbt => match emu_min::host_code_available() {
                Ok(()) => Availability::Available { version: format!("emu-min {version}") },
                Err(error) => Availability::Missing {
                    reason: format!("this host refuses memory for code that is made at run time: {error}"),
                    fix: "allow executable memory to this process (SELinux: execmem; systemd: \
                          MemoryDenyWriteExecute=no; a seccomp filter must pass memfd_create)"
                        .to_owned(),
                },
            },
        }
    }

    fn run(&self, job: &Job<'_>, stop: &StopFlag) -> Result<RunRecord, EngineError> {
        let started = process_start();
        job.check(self.id)?;
        if let Availability::Missing { reason, fix } = self.availability() {
            return Err(EngineError::Missing { engine: self.id, reason, fix });
        }
        let tsc = TscClock::start();
        let command_line = job.command_line()?.starting_now().build()?;
        let mut spec = GuestSpec::new(job.kernel).with_module(&*job.program.elf).with_cmdline(command_line);
        spec.ram_mib = job.request.ram_mib;
        spec.prefault = job.request.prefault;
        spec.cpu_model = job.request.cpu;
        spec.mechanisms = job.request.engine.mechanisms();
        spec.tsc_khz = TscKhz::Auto;
        let machine = Machine::new(&spec, self.cpu)
            .map_err(|source| EngineError::Machine { engine: self.id, source: Box::new(source) })?;
        let mut listener = Listener::default();
        let limits = Limits { wall: job.timeout(), instructions: None };
        let outcome = stoppable(machine.stop_handle(), stop, || machine.run(limits, &mut listener))
            .map_err(|source| EngineError::Run { engine: self.id, source: Box::new(source) })?;
        Ok(record(job, outcome, listener.console, started, tsc))
    }
}

/// Gathers the console as it is written: the machine itself keeps only its beginning.
#[derive(Debug, Default)]
struct Listener {
    console: Console,
}

impl Observer for Listener {
    fn console(&mut self, bytes: &[u8]) {
        self.console.write(bytes);
    }
}

/// Does `work` while a thread carries the stop flag over to the machine.
fn stoppable<T>(machine: StopHandle, stop: &StopFlag, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            while ended.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                if stop.is_stopped() {
                    machine.stop();
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn record(job: &Job<'_>, outcome: Outcome, console: Console, started: Instant, tsc: TscClock) -> RunRecord {
    let ending = match &outcome.end {
        End::Exited(code) => Ending::Exited(*code),
        End::TimeLimit(dump) => Ending::TimedOut(Some(excerpt(dump))),
        End::Stopped => Ending::Stopped,
        end => Ending::Failed(match end.dump() {
            Some(dump) => format!("{end}\n{}", excerpt(dump)),
            None => end.to_string(),
        }),
    };
    let counters = outcome.counters.iter().map(|counter| Counter {
        source: counter.source.name().to_owned(),
        counter: counter.name.to_string(),
        value: counter.value,
    });
    let counters = counters.collect();
    let measured = Measured {
        started,
        ended: outcome.ended,
        ending,
        ring3: outcome.ring3_at,
        roi: outcome.roi.map(|roi| roi.duration()),
        transcript: console.finish(),
        tsc,
    };
    RunRecord { counters, guest_instructions: outcome.guest_instructions, ..measured.record(job) }
}

/// The first lines of a dump.
fn excerpt(dump: &Dump) -> String {
    let text = dump.to_string();
    text.lines().take(DUMP_LINES).collect::<Vec<_>>().join("\n")
}
