//! The machine: RAM, devices and one virtual CPU, and the loop that serves its exits.

mod debugged;
mod emulated;
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use emu_min::Mechanisms;

use crate::accounting::Accounting;
use crate::boot::{self, BootError};
use crate::bus::{Effect, PortBus};
use crate::cause::Cause;
use crate::clock::Moment;
use crate::counters::{Counter, Source};
use crate::cpu::kvm::KvmCpu;
use crate::cpu::{CpuError, CpuKind, Exit, VirtualCpu};
use crate::debug::Debuggee;
use crate::devices::marker::{Channel, Marker};
use crate::dump::Dump;
use crate::guest_time::GuestTime;
use crate::interrupts::{Interrupts, TickerError};
use crate::memory::{GuestRam, MemoryError};
use crate::outcome::{End, Outcome};
use crate::quadrants::tick_ns;
use crate::spec::{GuestSpec, SpecError};
use crate::stop::{StopHandle, StopReason, Watchdog};
use crate::ticker::Bell;
use crate::witness::{Scene, SeenExit, Why, Witness};
pub(crate) use debugged::Pause;
use debugged::{Debugged, until_end};
use emulated::emulated;
use reading::{Reading, RoiRecord};

/// Why a machine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The specification describes no machine.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no RAM for it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest cannot be loaded.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// There is no virtual CPU for it.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The host could not start a thread to keep the guest's timer.
    #[error(transparent)]
    Ticker(#[from] TickerError),
}

/// Why a machine could not be run to any end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host could not start a thread to watch the time.
    #[error("cannot start the thread that watches the time limit: {0}")]
    Watchdog(std::io::Error),
    /// The observer did not let the guest run.
    #[error("the guest was not started: {0}")]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// The host has too little memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The virtual CPU does not know a limit, or cannot be read.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// When to end a run that does not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall time.
    pub wall: Duration,
    /// Guest instructions; only for virtual CPUs that count them.
    pub instructions: Option<u64>,
}

/// Hears of what happens during a run, as it happens.
pub trait Observer {
    /// Everything is set up, and the guest's first instruction is next. All threads of the run have been started.
    ///
    /// # Errors
    /// The guest must not run, and why.
    fn ready(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
    /// The guest printed these bytes.
    fn console(&mut self, _bytes: &[u8]) {}
    /// A marker arrived; `at` is the timestamp that the outcome carries.
    fn marker(&mut self, _marker: Marker, _at: Instant) {}
}

/// Listens to nothing.
impl Observer for () {}

/// A guest loaded and ready to run.
#[derive(Debug)]
pub struct Machine {
    // Dropped before the RAM that it runs on.
    cpu: Box<dyn VirtualCpu>,
    ram: Arc<GuestRam>,
    bus: PortBus,
    bell: Arc<Bell>,
    stop: StopHandle,
    prefault: bool,
    /// Set if the guest's own time passes in it, not the host's.
    guest_time: Option<GuestTime>,
    /// The host kernel's tick.
    tick_ns: u64,
    startup: Vec<Counter>,
}

impl Machine {
    /// Makes a machine with a virtual CPU of `kind` and loads the guest.
    ///
    /// # Errors
    /// A [`MachineError`] whose text names the fault and the fix.
    pub fn new(spec: &GuestSpec<'_>, kind: CpuKind) -> Result<Self, MachineError> {
        let mut parts = Vec::new();
        let mut machine = Self::with_cpu(spec, |ram| match kind {
            CpuKind::Kvm if spec.deterministic => {
                Err(CpuError::Unsupported { cpu: "KVM", ability: "keep the guest's own time" })
            }
            CpuKind::Kvm => {
                let (cpu, costs) = KvmCpu::new(Arc::clone(ram))?;
                parts = vec![
                    ("startup.kvm_open_ns", costs.open),
                    ("startup.kvm_vm_ns", costs.create_vm),
                    ("startup.kvm_memory_ns", costs.memory_slot),
                    ("startup.kvm_vcpu_ns", costs.create_vcpu),
                    ("startup.kvm_cpuid_ns", costs.cpuid),
                ];
                Ok(Box::new(cpu))
            }
            CpuKind::EmuNaive => emulated(ram, spec, Mechanisms::naive()),
            CpuKind::EmuInterp => emulated(ram, spec, Mechanisms::interp()),
            CpuKind::EmuDbt => emulated(ram, spec, Mechanisms::dbt()),
        })?;
        machine.startup.extend(parts.into_iter().map(|(name, span)| startup_counter(name, span)));
        Ok(machine)
    }

    /// Makes a machine around the virtual CPU that `make` builds on its RAM, and loads the guest.
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub fn with_cpu(
        spec: &GuestSpec<'_>,
        make: impl FnOnce(&Arc<GuestRam>) -> Result<Box<dyn VirtualCpu>, CpuError>,
    ) -> Result<Self, MachineError> {
        let begin = Instant::now();
        spec.check()?;
        let ram = Arc::new(if spec.fenced { GuestRam::fenced(spec.ram_mib) } else { GuestRam::new(spec.ram_mib) }?);
        let mapped = Instant::now();
        let mut cpu = make(&ram)?;
        let made = Instant::now();
        let state = boot::load(&ram, spec, &spec.full_cmdline(cpu.tsc_khz()))?;
        cpu.boot(state)?;
        let startup = vec![
            startup_counter("startup.ram_ns", mapped - begin),
            startup_counter("startup.cpu_ns", made - mapped),
            startup_counter("startup.load_ns", made.elapsed()),
        ];
        let bell = Arc::new(Bell::new(cpu.kicker()));
        let stop = StopHandle::new(Arc::<Bell>::clone(&bell));
        let (interrupts, guest_time) = match cpu.retired() {
            Some(retired) => {
                let instruction_ns = u64::from(spec.instruction_ns());
                (Interrupts::with_guest_time(Arc::clone(&bell), retired, instruction_ns), Some(GuestTime::default()))
            }
            None => (Interrupts::start(Arc::clone(&bell))?, None),
        };
        let bus = PortBus::new(interrupts);
        Ok(Self { cpu, ram, bus, bell, stop, prefault: spec.prefault, guest_time, tick_ns: tick_ns(), startup })
    }

    /// A handle that stops the run from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Runs the guest until it ends, by itself or by a limit.
    ///
    /// # Errors
    /// The host cannot run it at all; whatever the guest does is an [`Outcome`].
    pub fn run(self, limits: Limits, observer: &mut dyn Observer) -> Result<Outcome, RunError> {
        self.run_watched(limits, observer, &mut ())
    }

    /// As [`Machine::run`], with a witness of every exit.
    ///
    /// # Errors
    /// As there.
    pub fn run_watched<W: Witness>(
        self,
        limits: Limits,
        observer: &mut dyn Observer,
        witness: &mut W,
    ) -> Result<Outcome, RunError> {
        self.conduct(limits, observer, witness, until_end)
    }

    /// Runs the guest as a debugger's session asks, until the guest or the session ends.
    ///
    /// # Errors
    /// As [`Machine::run`], or whatever the session says.
    pub fn debug(
        mut self,
        limits: Limits,
        observer: &mut dyn Observer,
        session: impl FnOnce(&mut Debuggee<'_, '_>) -> Result<End, RunError>,
    ) -> Result<Outcome, RunError> {
        // A CPU looks around on the host as a debugger comes; once the guest runs it may not.
        if self.cpu.debug().is_none() {
            return Err(CpuError::Unsupported { cpu: "this virtual CPU", ability: "be debugged" }.into());
        }
        self.conduct(limits, observer, &mut (), |run, ()| session(&mut Debuggee::new(run)))
    }

    fn conduct<W: Witness>(
        mut self,
        limits: Limits,
        observer: &mut dyn Observer,
        witness: &mut W,
        work: impl FnOnce(&mut Run<'_>, &mut W) -> Result<End, RunError>,
    ) -> Result<Outcome, RunError> {
        if let Some(time) = &mut self.guest_time {
            time.set_end(&*self.cpu, limits.instructions);
        } else if let Some(instructions) = limits.instructions {
            self.cpu.set_budget(instructions)?;
        }
        self.cpu.bind_to_thread();
        let _watchdog = Watchdog::start(limits.wall, self.stop.clone()).map_err(RunError::Watchdog)?;
        observer.ready().map_err(RunError::Refused)?;
        let started = Moment::now();
        let mut run = Run {
            machine: &mut self,
            observer,
            channel: Channel::default(),
            account: Accounting::start(),
            ring3_at: None,
            begun: None,
            roi: None,
            reported: None,
            debugged: Debugged::default(),
        };
        witness.ready(&mut run.scene());
        let end = work(&mut run, witness)?;
        let ended = Moment::now();
        witness.ended(&end, &mut run.scene());
        run.outcome(end, started, ended)
    }
}

fn startup_counter(name: &'static str, span: Duration) -> Counter {
    Counter::new(Source::Vmm, name, u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// A run in progress.
pub(crate) struct Run<'a> {
    machine: &'a mut Machine,
    observer: &'a mut dyn Observer,
    channel: Channel,
    account: Accounting,
    ring3_at: Option<Instant>,
    begun: Option<(Moment, Reading)>,
    roi: Option<RoiRecord>,
    /// The exit code that came on the marker channel.
    reported: Option<u8>,
    debugged: Debugged,
}

/// Bytes of the widest port access; longer data comes from string instructions.
const WIDEST: usize = 8;

impl Run<'_> {
    /// Runs until something happens that ends the run, or that a debugger asked for.
    pub(crate) fn until_pause<W: Witness>(&mut self, witness: &mut W) -> Result<Pause, RunError> {
        loop {
            if let Some(reason) = self.machine.stop.requested() {
                return Ok(match reason {
                    StopReason::Clock => Pause::End(Box::new(End::TimeLimit(self.dump()))),
                    StopReason::User => Pause::End(Box::new(End::Stopped)),
                    StopReason::Debugger => Pause::Asked,
                });
            }
            let active = self.machine.bus.interrupts.is_active();
            if active && !self.deliver()? {
                continue;
            }
            if let Some(time) = &mut self.machine.guest_time {
                let ticks = if active { self.machine.bus.interrupts.until_tick() } else { None };
                time.limit(&mut *self.machine.cpu, ticks)?;
            }
            let result = self.machine.cpu.run();
            self.account.returned();
            if active {
                self.machine.bell.leave();
            }
            let exit = match result {
                Ok(exit) => exit,
                Err(e) => {
                    self.account.count(Cause::ERROR);
                    let reason = e.to_string();
                    return Ok(Pause::End(Box::new(End::Failed { reason, dump: self.dump() })));
                }
            };
            let cause = Cause::of(&exit);
            self.account.count(cause);
            let mut seen = W::WATCHES.then(|| SeenExit { at: Instant::now(), why: Why::of(&exit) });
            let end = match exit {
                Exit::IoOut { port, size, data } => {
                    // The data is the CPU's, which serving a marker needs; so it is copied out of its hands.
                    let mut short = [0; WIDEST];
                    if let Some(bytes) = short.get_mut(..data.len()) {
                        bytes.copy_from_slice(data);
                        let len = data.len();
                        self.port_out(port, size, &short[..len])?
                    } else {
                        let long = data.to_vec();
                        self.port_out(port, size, &long)?
                    }
                }
                Exit::IoIn { port, size, data } => {
                    for access in data.chunks_mut(size.max(1)) {
                        for (byte, port) in access.iter_mut().zip(ports_from(port)) {
                            *byte = self.machine.bus.read(port);
                        }
                    }
                    if let Some(seen) = &mut seen {
                        seen.why.answered(data);
                    }
                    None
                }
                Exit::MmioRead { data, .. } => {
                    data.fill(0xff);
                    if let Some(seen) = &mut seen {
                        seen.why.answered(data);
                    }
                    None
                }
                Exit::MmioWrite { .. } | Exit::IrqWindow | Exit::Interrupted => None,
                Exit::Hlt => self.halt(),
                Exit::Shutdown => Some(End::TripleFault(self.dump())),
                Exit::BudgetExhausted => self.used_up(),
                Exit::Debug(stop) => return Ok(Pause::Debug(stop)),
            };
            let took = self.account.served(cause);
            self.machine.cpu.away(took);
            let stop = seen.is_some_and(|seen| {
                self.machine.cpu.settle();
                witness.exit(&seen, &mut self.scene()).is_break()
            });
            if let Some(end) = end {
                return Ok(Pause::End(Box::new(end)));
            }
            if stop {
                return Ok(Pause::End(Box::new(End::Stopped)));
            }
        }
    }

    fn scene(&mut self) -> Scene<'_> {
        Scene { cpu: &mut *self.machine.cpu, ram: &self.machine.ram }
    }

    /// The budget is used up: the run ends, unless it was only up to the timer's next tick.
    fn used_up(&mut self) -> Option<End> {
        let machine = &mut *self.machine;
        if let Some(time) = &mut machine.guest_time
            && let Some(charged) = time.used_up(&*machine.cpu)
        {
            machine.bus.interrupts.skip(charged);
            machine.cpu.skip_time(charged);
            return None;
        }
        Some(End::InstructionLimit(self.dump()))
    }

    /// Hands the CPU its interrupts. False if more have come meanwhile; otherwise a tick will interrupt the CPU.
    fn deliver(&mut self) -> Result<bool, RunError> {
        if self.debugged.stepping {
            return Ok(true); // it waits, and a tick kicks nobody
        }
        let machine = &mut *self.machine;
        if let Some(taken) = machine.bus.interrupts.deliver(&mut *machine.cpu)? {
            self.account.interrupt(taken);
        }
        Ok(machine.bell.enter())
    }

    /// The guest has halted: for good, or until the next interrupt.
    fn halt(&mut self) -> Option<End> {
        // With the option `hold` the kernel halts after it has reported its exit code.
        if let Some(code) = self.reported {
            return Some(End::Exited(code));
        }
        if self.idle() { None } else { Some(End::Halted(self.dump())) }
    }

    /// Sleeps until the guest, which has halted, has an interrupt to take. False if none can come.
    fn idle(&mut self) -> bool {
        let machine = &mut *self.machine;
        if !machine.cpu.is_interruptible() || !machine.bus.interrupts.can_wake() {
            return false;
        }
        if machine.guest_time.is_some() {
            let skipped = machine.bus.interrupts.skip_to_tick();
            machine.cpu.skip_time(skipped);
            return true;
        }
        while machine.stop.requested().is_none() && !machine.bus.interrupts.wait() {}
        let slept = self.account.idled();
        self.machine.cpu.away(slept);
        self.debugged.asleep = self.machine.stop.requested() == Some(StopReason::Debugger);
        true
    }

    #[inline]
    fn port_out(&mut self, port: u16, size: usize, data: &[u8]) -> Result<Option<End>, RunError> {
        for access in data.chunks(size.max(1)) {
            for (&byte, port) in access.iter().zip(ports_from(port)) {
                match self.machine.bus.write(port, byte) {
                    Effect::None => {}
                    Effect::Console(byte) => self.observer.console(&[byte]),
                    Effect::Marker(byte) => self.marker(byte)?,
                    Effect::Exit(code) => return Ok(Some(End::Exited(code))),
                }
            }
        }
        Ok(None)
    }

    fn marker(&mut self, byte: u8) -> Result<(), RunError> {
        let arrived = Moment::now();
        let Some(marker) = self.channel.take(byte) else { return Ok(()) };
        let at = match marker {
            Marker::Ring3 => {
                self.ring3_at = Some(arrived.at);
                self.near_ring3();
                arrived.at
            }
            Marker::Begin => self.begin()?,
            Marker::End => {
                self.end(arrived)?;
                arrived.at
            }
            Marker::ExitCode(code) => {
                self.reported = Some(code);
                arrived.at
            }
        };
        self.observer.marker(marker, at);
        Ok(())
    }

    fn dump(&mut self) -> Dump {
        Dump::take(&mut *self.machine.cpu, &self.machine.ram)
    }

    fn outcome(mut self, end: End, started: Moment, ended: Moment) -> Result<Outcome, RunError> {
        let whole = self.reading()?;
        let mut totals = whole.account.since(None, started.ns_per_tick(ended));
        totals.extend(whole.counters);
        totals.append(&mut self.machine.startup);
        let (roi, mut counters, histograms, guest_instructions) = match self.roi {
            Some(record) => (Some(record.roi), record.counters, record.histograms, record.instructions),
            None => (None, Vec::new(), Vec::new(), None),
        };
        counters.extend(totals.into_iter().map(Counter::total));
        Ok(Outcome {
            end,
            console: self.machine.bus.console_output(),
            ring3_at: self.ring3_at,
            roi,
            guest_instructions,
            started: started.at,
            ended: ended.at,
            counters,
            histograms,
            fence: self.machine.ram.fence(),
        })
    }
}

/// The ports that the bytes of an access at `port` go to.
fn ports_from(port: u16) -> impl Iterator<Item = u16> {
    (0..).map(move |i| port.wrapping_add(i))
}

#[cfg(test)]
mod tests;
