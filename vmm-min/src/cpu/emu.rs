//! A virtual CPU in software: emu-min's processor, spoken to as the machine speaks to KVM's.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use emu_min::{Clock, Config, Cpu, Mechanisms, Model, Observer, Rings, State, Watchpoint};

use super::{CpuError, Exit, Kick, Registers, Segment, VirtualCpu};
use crate::boot::BootState;
use crate::clock::host_tsc_khz;
use crate::counters::{Counter, Source};
use crate::debug::DebugCpu;
use crate::memory::GuestRam;

/// Nanoseconds in a millisecond: a counter that ticks once in a nanosecond has so many kHz.
const NS_PER_MS: u32 = 1_000_000;

/// What the machine owes the processor before it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    In,
    MmioRead,
}

/// How far the processor goes in one call.
pub(crate) trait Drive: Default + Send {
    fn run(&self, cpu: &mut Cpu) -> emu_min::Exit;

    /// From the next call on it does one thing a call, or no longer so.
    ///
    /// # Errors
    /// [`CpuError::Unsupported`] if it cannot.
    fn set_stepping(&mut self, on: bool) -> Result<(), CpuError>;
}

/// As far as it can.
#[derive(Debug, Default)]
pub(crate) struct Free;

impl Drive for Free {
    #[inline(always)]
    fn run(&self, cpu: &mut Cpu) -> emu_min::Exit {
        cpu.run()
    }

    fn set_stepping(&mut self, on: bool) -> Result<(), CpuError> {
        let ability = "be stepped in this machine; make it with GuestSpec::stepped";
        if on { Err(CpuError::Unsupported { cpu: "emu-min", ability }) } else { Ok(()) }
    }
}

/// As far as it can, or one step, as was asked last.
#[derive(Debug, Default)]
pub(crate) struct Stepper {
    stepping: bool,
}

impl Drive for Stepper {
    fn run(&self, cpu: &mut Cpu) -> emu_min::Exit {
        if self.stepping { cpu.single_step().unwrap_or(emu_min::Exit::Stopped) } else { cpu.run() }
    }

    fn set_stepping(&mut self, on: bool) -> Result<(), CpuError> {
        self.stepping = on;
        Ok(())
    }
}

/// emu-min's processor as a virtual CPU. What drives it is a type, so that a machine that is never stepped does not ask.
pub(crate) struct EmuCpu<D = Free> {
    pub(super) cpu: Cpu,
    drive: D,
    /// The watchpoints of a debugger.
    pub(super) points: Vec<Watchpoint>,
    /// Where instructions are told, if they are the guest's time.
    retired: Option<Arc<AtomicU64>>,
    owed: Owed,
    /// An interrupt was handed over since the last run.
    handed_over: bool,
    /// Ticks of the guest's own time that passed without an instruction.
    skipped: u64,
    /// Nanoseconds of such a tick.
    instruction_ns: u32,
    /// The bytes of the access being served.
    data: [u8; 8],
    /// An exit for nothing is still to come.
    #[cfg(any(debug_assertions, feature = "planted"))]
    needless: bool,
    // Dropped last: the processor reads and writes it.
    _ram: Arc<GuestRam>,
}

#[derive(Debug)]
struct EmuKick(emu_min::StopHandle);

impl Kick for EmuKick {
    fn kick(&self) {
        self.0.stop();
    }
}

impl<D: Drive> EmuCpu<D> {
    /// A processor with `ram` at guest-physical address 0.
    pub(crate) fn new(
        ram: Arc<GuestRam>,
        mechanisms: Mechanisms,
        model: Model,
        clock: Clock,
        instruction_ns: u32,
    ) -> Result<Self, CpuError> {
        let base = NonNull::new(ram.host_ptr()).ok_or(CpuError::Unexpected("guest RAM has no address".to_owned()))?;
        // SAFETY: the region is exactly the mapping that `ram` owns; `ram` is kept and dropped after the processor. The
        // machine reaches guest memory through vm-memory's volatile accesses only, never through references.
        let memory = unsafe { emu_min::GuestRam::from_raw(base, ram.size()) };
        let cpu = Cpu::new(memory, Config { mechanisms, model, clock, ..Config::default() });
        let retired = (clock == Clock::Instructions).then(Arc::default);
        Ok(Self {
            cpu,
            drive: D::default(),
            points: Vec::new(),
            retired,
            owed: Owed::Nothing,
            handed_over: false,
            skipped: 0,
            instruction_ns,
            data: [0; 8],
            #[cfg(any(debug_assertions, feature = "planted"))]
            needless: false,
            _ram: ram,
        })
    }

    /// The processor with somebody who looks on, if there is to be somebody.
    pub(crate) fn with_observer(mut self, make: Option<fn() -> Box<dyn Observer>>) -> Self {
        if let Some(make) = make {
            self.cpu.observe(make());
        }
        self
    }

    /// The processor with a bug planted that tests look for, if there is to be one.
    #[cfg(debug_assertions)]
    pub(crate) fn with_bug(mut self, bug: Option<crate::spec::Bug>) -> Self {
        use crate::spec::Bug;
        let planted = match bug {
            Some(Bug::SupervisorCheck) => emu_min::Planted::SupervisorCheck,
            Some(Bug::BoundsCheck) if self._ram.fence().is_some() => {
                emu_min::Planted::BoundsCheck { slack: crate::fence::CANARY as u64 }
            }
            Some(Bug::BoundsCheck) | None => return self,
        };
        // SAFETY: behind fenced RAM lies a canary of that many bytes, in the same mapping.
        unsafe { self.cpu.plant(planted) };
        self
    }

    /// The processor with a regression planted that gates look for, if there is to be one.
    #[cfg(any(debug_assertions, feature = "planted"))]
    pub(crate) fn with_regression(mut self, regression: Option<crate::spec::Regression>) -> Self {
        use crate::spec::Regression;
        match regression {
            Some(Regression::Slower(part)) => self.cpu.plant_slowness(part),
            Some(Regression::Exit) => self.needless = true,
            None => {}
        }
        self
    }

    /// Hands the processor what the machine has filled in.
    pub(super) fn hand_over(&mut self) {
        let value = u64::from_le_bytes(self.data);
        match std::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => {}
            Owed::In => self.cpu.complete_in(value as u32),
            Owed::MmioRead => self.cpu.complete_mmio_read(value),
        }
    }
}

impl<D> fmt::Debug for EmuCpu<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmuCpu").field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl<D: Drive> VirtualCpu for EmuCpu<D> {
    fn boot(&mut self, state: BootState) -> Result<(), CpuError> {
        self.cpu.set_state(&State::pvh(u64::from(state.entry), u64::from(state.start_info)));
        Ok(())
    }

    fn run(&mut self) -> Result<Exit<'_>, CpuError> {
        #[cfg(any(debug_assertions, feature = "planted"))]
        if std::mem::take(&mut self.needless) {
            return Ok(Exit::Interrupted);
        }
        self.hand_over();
        self.handed_over = false;
        let exit = self.drive.run(&mut self.cpu);
        if let Some(retired) = &self.retired {
            retired.store(self.cpu.instructions(), Ordering::Relaxed);
        }
        Ok(match exit {
            emu_min::Exit::IoOut { port, size, value } => {
                self.data = u64::from(value).to_le_bytes();
                let size = usize::from(size).min(4);
                Exit::IoOut { port, size, data: &self.data[..size] }
            }
            emu_min::Exit::IoIn { port, size } => {
                self.owed = Owed::In;
                self.data = [0; 8];
                let size = usize::from(size).min(4);
                Exit::IoIn { port, size, data: &mut self.data[..size] }
            }
            emu_min::Exit::MmioRead { gpa, size } => {
                self.owed = Owed::MmioRead;
                self.data = [0; 8];
                Exit::MmioRead { gpa, data: &mut self.data[..usize::from(size).min(8)] }
            }
            emu_min::Exit::MmioWrite { gpa, size, value } => {
                self.data = value.to_le_bytes();
                Exit::MmioWrite { gpa, data: &self.data[..usize::from(size).min(8)] }
            }
            emu_min::Exit::Halt => Exit::Hlt,
            emu_min::Exit::TripleFault => Exit::Shutdown,
            emu_min::Exit::Stopped => Exit::Interrupted,
            emu_min::Exit::BudgetExhausted => Exit::BudgetExhausted,
            emu_min::Exit::IrqWindow => Exit::IrqWindow,
            emu_min::Exit::Debug(stop) => Exit::Debug(stop),
        })
    }

    fn is_interruptible(&mut self) -> bool {
        self.owed != Owed::MmioRead && !self.handed_over && self.cpu.interrupts_enabled()
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), CpuError> {
        self.cpu.inject_interrupt(vector);
        self.handed_over = true;
        Ok(())
    }

    fn request_irq_window(&mut self, wanted: bool) {
        self.cpu.request_irq_window(wanted);
    }

    fn registers(&mut self) -> Result<Registers, CpuError> {
        let s = self.cpu.state();
        Ok(Registers {
            gpr: s.gprs,
            rip: s.rip,
            rflags: s.rflags,
            segments: [s.es, s.cs, s.ss, s.ds, s.fs, s.gs].map(|s| segment(&s)),
            cr0: s.cr0,
            cr2: s.cr2,
            cr3: s.cr3,
            cr4: s.cr4,
            efer: s.efer,
            cpl: (s.cs.selector & 3) as u8,
        })
    }

    fn emulated(&self) -> Option<&Cpu> {
        Some(&self.cpu)
    }

    fn settle(&mut self) {
        // A memory access is part of an instruction that is not complete before the next run.
        if self.owed == Owed::In {
            self.hand_over();
        }
    }

    fn set_stepping(&mut self, on: bool) -> Result<(), CpuError> {
        self.drive.set_stepping(on)
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::new(EmuKick(self.cpu.stop_handle()))
    }

    fn tsc_khz(&self) -> Option<u32> {
        Some(if self.retired.is_some() { NS_PER_MS / self.instruction_ns } else { host_tsc_khz() })
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.cpu.instructions())
    }

    fn retired(&self) -> Option<Arc<AtomicU64>> {
        self.retired.clone()
    }

    fn skip_time(&mut self, instructions: u64) {
        self.skipped += instructions;
        self.cpu.skip_time(instructions);
    }

    fn set_budget(&mut self, instructions: u64) -> Result<(), CpuError> {
        self.cpu.set_instruction_budget(Some(instructions));
        Ok(())
    }

    fn rings(&self, now: u64) -> Option<Rings> {
        Some(self.cpu.rings(now))
    }

    #[inline]
    fn away(&mut self, ticks: u64) {
        self.cpu.away(ticks);
    }

    fn debug(&mut self) -> Option<&mut dyn DebugCpu> {
        Some(self)
    }

    fn counters(&mut self) -> Result<Vec<Counter>, CpuError> {
        let counters = self.cpu.counters();
        let own = counters.iter().map(|(name, value)| Counter::new(Source::Emu, name, value));
        let seen = self.cpu.observer().map(|observer| {
            let waited = ("wait_ns".into(), self.skipped * u64::from(self.instruction_ns));
            observer.counts().into_iter().chain([waited])
        });
        let seen = seen.into_iter().flatten().map(|(name, value)| Counter::new(Source::Profile, name, value));
        Ok(own.chain(seen).collect())
    }
}

fn segment(s: &emu_min::Segment) -> Segment {
    Segment { selector: s.selector, base: s.base, limit: s.limit, long: s.long(), big: s.big() }
}
