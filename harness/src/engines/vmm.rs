//! The engines that live in this process: vmm-min's machine with one of its virtual CPUs.
//!
//! Markers are timestamped where the machine serves the port write, so the region of interest has no transport in it.
//! Start-up counts from the moment at which the parent started this process ([`SPAWNED_AT_ENV`](super::SPAWNED_AT_ENV)).

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use vmm_min::{
    CpuKind, Dump, End, FenceReport, GuestSpec, Limits, Machine, Observer, Outcome, StopHandle, TscKhz, Witness,
};

use super::child::POLL;
use super::clock::{TscClock, process_start};
use super::console::Console;
use super::outcome::{Ending, Measured};
use super::{Availability, Engine, EngineError, Job, StopFlag};
use crate::model::{Bucket, Counter, EngineId, FenceRecord, Histogram, RunRecord, SandboxChoice};
use crate::profile::Profiler;
use crate::sandbox::{self, Runner};

/// When a guest starts whose own time passes: 2026-01-01, nanoseconds since 1970.
const EPOCH_NS: u128 = 1_767_225_600_000_000_000;
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
        self.check(job)?;
        let (spec, tsc) = guest(job)?;
        let machine = Machine::new(&spec, self.cpu)
            .map_err(|source| EngineError::Machine { engine: self.id, source: Box::new(source) })?;
        let mut listener = Listener::new(job, self.cpu);
        let limits = Limits { wall: job.timeout(), instructions: None };
        let outcome = stoppable(machine.stop_handle(), stop, || machine.run(limits, &mut listener))
            .map_err(|source| EngineError::Run { engine: self.id, source: Box::new(source) })?;
        let sandbox = Some(listener.in_force);
        Ok(RunRecord { sandbox, ..record(job, outcome, listener.console, started, tsc) })
    }
}

impl Vmm {
    fn check(&self, job: &Job<'_>) -> Result<(), EngineError> {
        job.check(self.id)?;
        match self.availability() {
            Availability::Missing { reason, fix } => Err(EngineError::Missing { engine: self.id, reason, fix }),
            Availability::Available { .. } => Ok(()),
        }
    }

    /// The machine of a job, with its guest loaded.
    ///
    /// # Errors
    /// The engine is missing, or the machine cannot be made.
    pub(super) fn machine(&self, job: &Job<'_>) -> Result<Machine, EngineError> {
        self.check(job)?;
        let (spec, _) = guest(job)?;
        Machine::new(&spec, self.cpu)
            .map_err(|source| EngineError::Machine { engine: self.id, source: Box::new(source) })
    }

    /// Does one run with a witness of its exits.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub(super) fn watch<W: Witness>(
        &self,
        job: &Job<'_>,
        stop: &StopFlag,
        witness: &mut W,
    ) -> Result<Watched, EngineError> {
        self.check(job)?;
        let (mut spec, _) = guest(job)?;
        spec.stepped = true;
        let machine = Machine::new(&spec, self.cpu)
            .map_err(|source| EngineError::Machine { engine: self.id, source: Box::new(source) })?;
        let mut listener = Listener::new(job, self.cpu);
        let limits = Limits { wall: job.timeout(), instructions: None };
        let outcome = stoppable(machine.stop_handle(), stop, || machine.run_watched(limits, &mut listener, witness))
            .map_err(|source| EngineError::Run { engine: self.id, source: Box::new(source) })?;
        Ok(Watched { end: outcome.end, console: listener.console.finish().text })
    }
}

/// What is left of a run that was watched.
#[derive(Debug)]
pub struct Watched {
    /// How it ended.
    pub end: End,
    /// What the guest printed.
    pub console: String,
}

/// The machine's guest, and the clock that goes with it.
fn guest<'a>(job: &'a Job<'a>) -> Result<(GuestSpec<'a>, TscClock), EngineError> {
    let command_line = job.command_line()?;
    let (tsc, command_line) = if job.request.deterministic {
        (TscClock::of_guest_time(job.request.profile.unwrap_or(1)), command_line.starting_at(EPOCH_NS))
    } else {
        (TscClock::start(), command_line.starting_now())
    };
    let command_line = command_line.build()?;
    let mut spec = GuestSpec::new(job.kernel).with_module(&*job.program.elf).with_cmdline(command_line);
    spec.ram_mib = job.request.ram_mib;
    spec.prefault = job.request.prefault;
    spec.cpu_model = job.request.cpu;
    spec.mechanisms = job.request.engine.mechanisms();
    spec.tsc_khz = TscKhz::Auto;
    spec.deterministic = job.request.deterministic;
    spec.observer = job.request.profile.map(|_| Profiler::boxed as _);
    spec.instruction_ns = job.request.profile.unwrap_or(1);
    spec.module_offset_pages = job.request.placement.map_or(0, |placement| placement.offset_pages);
    spec.fenced = job.request.confine.fenced;
    #[cfg(debug_assertions)]
    {
        spec.bug = job.request.confine.bug;
    }
    #[cfg(any(debug_assertions, feature = "planted"))]
    {
        spec.regression = super::planted::regression(job.request.engine.id);
    }
    Ok((spec, tsc))
}

/// Gathers the console as it is written (the machine itself keeps only its beginning), and enters the sandbox.
#[derive(Debug)]
struct Listener {
    console: Console,
    /// The sandbox to enter.
    sandbox: Option<(Runner, SandboxChoice)>,
    /// What of it is in force.
    in_force: String,
}

impl Listener {
    fn new(job: &Job<'_>, cpu: CpuKind) -> Self {
        let runner = if cpu == CpuKind::Kvm { Runner::Kvm } else { Runner::Emulator };
        let sandbox = job.request.confine.sandbox.clone().map(|choice| (runner, choice));
        Self { console: Console::default(), sandbox, in_force: "off".to_owned() }
    }
}

impl Observer for Listener {
    fn ready(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some((runner, choice)) = self.sandbox.take() {
            self.in_force = sandbox::enter(runner, &choice)?;
        }
        Ok(())
    }

    fn console(&mut self, bytes: &[u8]) {
        self.console.write(bytes);
    }
}

/// Does `work` while a thread carries the stop flag over to the machine.
pub(crate) fn stoppable<T>(machine: StopHandle, stop: &StopFlag, work: impl FnOnce() -> T) -> T {
    let (done, changed) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = done.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                guard = changed.wait_timeout(guard, POLL).unwrap_or_else(PoisonError::into_inner).0;
                if stop.is_stopped() {
                    machine.stop();
                }
            }
        });
        let result = work();
        *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
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
    let histograms = outcome.histograms.into_iter().map(|histogram| Histogram {
        latency: histogram.name.into_owned(),
        buckets: histogram
            .buckets
            .into_iter()
            .map(|vmm_min::Bucket { from_ns, to_ns, count }| Bucket { from_ns, to_ns, count })
            .collect(),
    });
    let histograms = histograms.collect();
    let measured = Measured {
        started,
        ended: outcome.ended,
        ending,
        ring3: outcome.ring3_at,
        roi: outcome.roi,
        transcript: console.finish(),
        tsc,
    };
    let fence = outcome.fence.map(|fence| {
        let FenceReport { bytes, before, after, damage } = fence;
        FenceRecord { bytes, before, after, damage }
    });
    RunRecord { fence, counters, histograms, guest_instructions: outcome.guest_instructions, ..measured.record(job) }
}

/// The first lines of a dump.
fn excerpt(dump: &Dump) -> String {
    let text = dump.to_string();
    text.lines().take(DUMP_LINES).collect::<Vec<_>>().join("\n")
}
