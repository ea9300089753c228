//! The guest as gdbstub's target.

use std::cell::RefCell;
use std::rc::Rc;

use gdbstub::common::Signal;
use gdbstub::stub::SingleThreadStopReason;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep, SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::MonitorCmdOps;
use gdbstub::target::{Target, TargetError, TargetResult};
use vmm_min::{CpuError, DebugStop, Debuggee, End, RunError, Stop, Trigger, Watchpoint};

use super::console::Console;
use super::registers::{GuestArch, GuestRegisters, Number};
use super::step_over::StepOver;

/// Error numbers that gdb shows: no such memory, an argument that cannot be.
const EFAULT: u8 = 14;
const EINVAL: u8 = 22;

/// Why a guest stopped, to gdbstub.
pub(super) type Reason = SingleThreadStopReason<u64>;

/// A guest and what gdb has asked of it.
#[derive(Debug)]
pub(super) struct Guest<'d, 'a, 'm> {
    pub(super) debuggee: &'d mut Debuggee<'a, 'm>,
    /// The next resumption is for one instruction.
    step: bool,
    /// A step that enters the kernel goes on until ring 3 is back.
    pub(super) over: bool,
    /// The step over the kernel that gdb has asked for.
    pub(super) under_way: Option<StepOver>,
    /// What is set, and whether gdb calls it a hardware breakpoint.
    points: Vec<(Watchpoint, bool)>,
    /// gdb was told that the guest cannot go on.
    mourned: bool,
    console: Rc<RefCell<Console>>,
    /// Linear address of the kernel's variable `current_pid`.
    pub(super) pid_address: Option<u64>,
    /// How the guest ended, if it did.
    pub(super) end: Option<End>,
}

impl<'d, 'a, 'm> Guest<'d, 'a, 'm> {
    pub(super) fn new(
        debuggee: &'d mut Debuggee<'a, 'm>,
        console: Rc<RefCell<Console>>,
        pid_address: Option<u64>,
    ) -> Self {
        Self {
            debuggee,
            step: false,
            over: false,
            under_way: None,
            points: Vec::new(),
            mourned: false,
            console,
            pid_address,
            end: None,
        }
    }

    /// All that is set.
    pub(super) fn points(&self) -> Vec<Watchpoint> {
        self.points.iter().map(|(point, _)| *point).collect()
    }

    /// Lets the guest run on as gdb asked; `None` if somebody called the debugger back.
    pub(super) fn go(&mut self) -> Result<Option<Reason>, RunError> {
        let stop = if self.step && self.over { self.step_over()? } else { self.debuggee.resume(self.step)? };
        self.console.borrow_mut().flush();
        Ok(match stop {
            Stop::Asked => None,
            Stop::Debug(DebugStop::Step) => Some(Reason::DoneStep),
            Stop::Debug(DebugStop::Met(point)) => Some(self.reason(point)),
            Stop::Ended(end) => Some(self.ended(*end)),
        })
    }

    fn reason(&self, point: Watchpoint) -> Reason {
        let kind = match point.trigger {
            Trigger::Execute => {
                let at = |known: &&(Watchpoint, bool)| {
                    known.0.trigger == Trigger::Execute && known.0.address == point.address
                };
                return match self.points.iter().find(at) {
                    Some((_, true)) => Reason::HwBreak(()),
                    Some((_, false)) => Reason::SwBreak(()),
                    None => Reason::Signal(Signal::SIGTRAP),
                };
            }
            Trigger::Write => WatchKind::Write,
            Trigger::Read => WatchKind::Read,
            Trigger::Access => WatchKind::ReadWrite,
        };
        Reason::Watch { tid: (), kind, addr: point.address }
    }

    fn ended(&mut self, end: End) -> Reason {
        let reason = match &end {
            End::Exited(code) => Reason::Exited(*code),
            // A dead guest can be looked at before it is buried.
            end if end.dump().is_some() && !self.mourned => {
                self.mourned = true;
                self.console.borrow_mut().say(&format!("evlab: {end}; continue ends the session\n"));
                let crashed = matches!(end, End::TripleFault(_));
                return Reason::Signal(if crashed { Signal::SIGSEGV } else { Signal::SIGABRT });
            }
            _ => Reason::Terminated(Signal::SIGKILL),
        };
        self.end = Some(end);
        reason
    }

    fn refuse(&self, why: String) {
        eprintln!("evlab: {why}");
        self.console.borrow_mut().refuse(why);
    }

    /// Why a breakpoint was refused last.
    pub(super) fn refusal(&self) -> Option<String> {
        self.console.borrow().refusal().map(str::to_owned)
    }

    fn all_registers(&mut self) -> Result<GuestRegisters, CpuError> {
        Ok(GuestRegisters::new(&self.debuggee.registers()?, &self.debuggee.float_registers()?))
    }

    fn replace_registers(&mut self, wanted: &GuestRegisters) -> TargetResult<(), Self> {
        let mut registers = self.debuggee.registers().map_err(fatal)?;
        let mut float = self.debuggee.float_registers().map_err(fatal)?;
        let (registers_before, float_before) = (registers, float.clone());
        wanted.apply(&mut registers, &mut float).map_err(|_| TargetError::Errno(EINVAL))?;
        if registers != registers_before {
            self.debuggee.set_registers(&registers).map_err(|_| TargetError::Errno(EINVAL))?;
        }
        if float != float_before {
            self.debuggee.set_float_registers(&float).map_err(|_| TargetError::Errno(EINVAL))?;
        }
        Ok(())
    }

    fn add(&mut self, point: Watchpoint, hardware: bool) -> TargetResult<bool, Self> {
        match self.debuggee.insert(point) {
            Ok(()) => {
                self.points.push((point, hardware));
                Ok(true)
            }
            Err(error) => {
                // gdb itself shows a number alone.
                self.refuse(error.to_string());
                Ok(false)
            }
        }
    }

    fn remove(&mut self, point: Watchpoint, hardware: bool) -> TargetResult<bool, Self> {
        let Some(index) = self.points.iter().position(|known| *known == (point, hardware)) else { return Ok(false) };
        self.points.swap_remove(index);
        self.debuggee.remove(point).map_err(fatal)
    }
}

/// An error that ends the session.
fn fatal(error: CpuError) -> TargetError<RunError> {
    TargetError::Fatal(error.into())
}

fn breakpoint(address: u64) -> Watchpoint {
    Watchpoint { trigger: Trigger::Execute, address, size: 1 }
}

fn watchpoint(address: u64, size: u64, kind: WatchKind) -> Watchpoint {
    let trigger = match kind {
        WatchKind::Write => Trigger::Write,
        WatchKind::Read => Trigger::Read,
        WatchKind::ReadWrite => Trigger::Access,
    };
    Watchpoint { trigger, address, size }
}

impl Target for Guest<'_, '_, '_> {
    type Arch = GuestArch;
    type Error = RunError;

    fn base_ops(&mut self) -> BaseOps<'_, GuestArch, RunError> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Guest<'_, '_, '_> {
    fn read_registers(&mut self, registers: &mut GuestRegisters) -> TargetResult<(), Self> {
        *registers = self.all_registers().map_err(fatal)?;
        Ok(())
    }

    fn write_registers(&mut self, registers: &GuestRegisters) -> TargetResult<(), Self> {
        self.replace_registers(registers)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        match self.debuggee.read(start, data).map_err(fatal)? {
            0 if !data.is_empty() => Err(TargetError::Errno(EFAULT)),
            read => Ok(read),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8]) -> TargetResult<(), Self> {
        if self.debuggee.write(start, data).map_err(fatal)? { Ok(()) } else { Err(TargetError::Errno(EFAULT)) }
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, (), Self>> {
        Some(self)
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<()> for Guest<'_, '_, '_> {
    fn read_register(&mut self, (): (), number: Number, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let value = self.all_registers().map_err(fatal)?.get(number);
        let place = buffer.get_mut(..value.len()).ok_or(TargetError::Errno(EINVAL))?;
        place.copy_from_slice(&value);
        Ok(value.len())
    }

    fn write_register(&mut self, (): (), number: Number, value: &[u8]) -> TargetResult<(), Self> {
        let mut registers = self.all_registers().map_err(fatal)?;
        if !registers.set(number, value) {
            return Err(TargetError::Errno(EINVAL));
        }
        self.replace_registers(&registers)
    }
}

impl SingleThreadResume for Guest<'_, '_, '_> {
    fn resume(&mut self, _signal: Option<Signal>) -> Result<(), RunError> {
        (self.step, self.under_way) = (false, None);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Guest<'_, '_, '_> {
    fn step(&mut self, _signal: Option<Signal>) -> Result<(), RunError> {
        (self.step, self.under_way) = (true, None);
        Ok(())
    }
}

impl Breakpoints for Guest<'_, '_, '_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Guest<'_, '_, '_> {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.add(breakpoint(address), false)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.remove(breakpoint(address), false)
    }
}

impl HwBreakpoint for Guest<'_, '_, '_> {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.add(breakpoint(address), true)
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.remove(breakpoint(address), true)
    }
}

impl HwWatchpoint for Guest<'_, '_, '_> {
    fn add_hw_watchpoint(&mut self, address: u64, size: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        if size == 0 {
            return Ok(false);
        }
        self.add(watchpoint(address, size, kind), true)
    }

    fn remove_hw_watchpoint(&mut self, address: u64, size: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        self.remove(watchpoint(address, size, kind), true)
    }
}
