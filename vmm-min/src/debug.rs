//! What a debugger sees of a guest and does to it, whatever its virtual CPU.
//!
//! [`Machine::debug`](crate::Machine::debug) hands a [`Debuggee`] to a session, which lets the guest run on and looks at it between.

use emu_min::Fpu;
pub use emu_min::{DebugStop, Trigger, Watchpoint};

use crate::RunError;
use crate::cpu::{CpuError, Registers};
use crate::machine::{Pause, Run};
use crate::outcome::End;
use crate::walk::{Walk, translate, walk};

/// Bytes of the smallest page.
const PAGE: u64 = 4096;

/// The registers of x87 and SSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatRegisters {
    /// x87.
    pub fpu: Fpu,
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// SSE control and status.
    pub mxcsr: u32,
}

/// A byte of guest RAM that a breakpoint instruction has replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Linear address at which it was asked for.
    pub linear: u64,
    /// Guest-physical address.
    pub gpa: u64,
    /// What belongs there.
    pub original: u8,
}

/// The instruction INT3.
pub(crate) const INT3: u8 = 0xcc;

/// Why a breakpoint or watchpoint cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Breakpoints of this CPU lie in memory, and no program has any there.
    #[error("no program has memory at {address:#x} yet, to put a breakpoint into; run the guest until one has")]
    Unmapped {
        /// Where it was to be.
        address: u64,
    },
    /// All of the processor's are in use.
    #[error("all hardware breakpoints and watchpoints that KVM has for a debugger ({slots}) are in use; delete one")]
    NoneLeft {
        /// How many there are.
        slots: usize,
    },
    /// The processor watches 1, 2, 4 or 8 aligned bytes for writes or for any access.
    #[error("KVM watches 1, 2, 4 or 8 aligned bytes, for writes (watch) or for reads and writes (awatch)")]
    Shape,
    /// The backend watches no data.
    #[error("KVM's PVM backend has no watchpoints: set can-use-hw-watchpoints 0 makes gdb step instead, which is slow")]
    NoWatchpoints,
    /// The virtual CPU failed.
    #[error(transparent)]
    Cpu(#[from] CpuError),
}

/// The means of a debugger that a virtual CPU has. It is used between two runs.
pub trait DebugCpu {
    /// Completes what the machine served last, so that registers and memory are those after it; the stop that this led to.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn complete(&mut self) -> Result<Option<DebugStop>, CpuError>;

    /// Replaces general registers, RIP, RFLAGS, and selectors and bases of DS, ES, FS and GS.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn set_registers(&mut self, registers: &Registers) -> Result<(), CpuError>;

    /// The registers of x87 and SSE.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    fn float_registers(&mut self) -> Result<FloatRegisters, CpuError>;

    /// Replaces them.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn set_float_registers(&mut self, registers: &FloatRegisters) -> Result<(), CpuError>;

    /// Sets a breakpoint or watchpoint.
    ///
    /// # Errors
    /// An [`InsertError`].
    fn insert(&mut self, point: Watchpoint) -> Result<(), InsertError>;

    /// Removes one; false if there was none.
    fn remove(&mut self, point: Watchpoint) -> bool;

    /// Bytes of guest RAM that breakpoints have replaced.
    fn patches(&mut self) -> &mut [Patch] {
        &mut []
    }

    /// Guest RAM was written from outside.
    fn memory_written(&mut self) {}

    /// Makes what was set take effect in the next run, which executes one instruction if `step` says so. What came of it, if
    /// that one was done at once.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    fn arm(&mut self, step: bool) -> Result<Option<DebugStop>, CpuError>;
}

/// Where a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Before the kernel's first instruction.
    Boot,
    /// Before the first instruction in ring 3.
    Ring3,
}

/// Why the guest does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// One instruction was executed, or a breakpoint or watchpoint was met.
    Debug(DebugStop),
    /// Somebody asked by [`StopHandle::attend`](crate::StopHandle::attend).
    Asked,
    /// It has ended, or cannot go on: the next resumption ends the run so.
    Ended(Box<End>),
}

/// A guest in the hands of a debugger.
#[derive(Debug)]
pub struct Debuggee<'a, 'm> {
    run: &'a mut Run<'m>,
    ended: Option<Box<End>>,
}

impl<'a, 'm> Debuggee<'a, 'm> {
    pub(crate) fn new(run: &'a mut Run<'m>) -> Self {
        Self { run, ended: None }
    }

    /// Lets the guest run until something happens: one instruction at most, if `step` says so.
    ///
    /// # Errors
    /// As [`Machine::run`](crate::Machine::run).
    pub fn resume(&mut self, step: bool) -> Result<Stop, RunError> {
        if let Some(end) = &self.ended {
            return Ok(Stop::Ended(end.clone()));
        }
        self.run.away();
        self.run.step(step);
        if let Some(stop) = self.cpu()?.arm(step)? {
            return Ok(Stop::Debug(stop));
        }
        let pause = self.run.until_pause(&mut ())?;
        Ok(match pause {
            Pause::End(end) => {
                self.ended = Some(end.clone());
                Stop::Ended(end)
            }
            Pause::Asked => self.cpu()?.complete()?.map_or(Stop::Asked, Stop::Debug),
            Pause::Debug(stop) => Stop::Debug(stop),
        })
    }

    /// Runs the guest to where a session begins; `Some` if something else happened before.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn begin(&mut self, start: Start) -> Result<Option<Stop>, RunError> {
        if start == Start::Boot {
            return Ok(None);
        }
        // The kernel says when it is about to enter ring 3; from there it is a matter of some instructions.
        while !self.run.is_near_ring3() {
            self.run.pause_near_ring3();
            match self.resume(false)? {
                Stop::Asked => self.heed(),
                other => return Ok(Some(other)),
            }
        }
        while self.registers()?.cpl != 3 {
            match self.resume(true)? {
                Stop::Asked => self.heed(),
                Stop::Debug(DebugStop::Step) => {}
                other => return Ok(Some(other)),
            }
        }
        Ok(None)
    }

    /// Lets the guest go: nothing that was set stays, and it runs to its end.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn detach(&mut self, points: &[Watchpoint]) -> Result<End, RunError> {
        for point in points {
            self.cpu()?.remove(*point);
        }
        loop {
            match self.resume(false)? {
                Stop::Ended(end) => return Ok(*end),
                Stop::Asked => self.heed(),
                Stop::Debug(_) => {}
            }
        }
    }

    /// What was asked by [`StopHandle::attend`](crate::StopHandle::attend) is being done; only what is asked from now on stops the guest.
    pub fn heed(&mut self) {
        self.run.stop_handle().heed();
    }

    /// Whether somebody ended the run from outside.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.run.stop_handle().is_ending()
    }

    /// All registers but those of x87 and SSE.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    pub fn registers(&mut self) -> Result<Registers, CpuError> {
        self.run.cpu().registers()
    }

    /// Replaces general registers, RIP, RFLAGS, and selectors and bases of DS, ES, FS and GS.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), CpuError> {
        self.cpu()?.set_registers(registers)
    }

    /// The registers of x87 and SSE.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    pub fn float_registers(&mut self) -> Result<FloatRegisters, CpuError> {
        self.cpu()?.float_registers()
    }

    /// Replaces them.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    pub fn set_float_registers(&mut self, registers: &FloatRegisters) -> Result<(), CpuError> {
        self.cpu()?.set_float_registers(registers)
    }

    /// Reads guest-linear memory through the current page tables, with the rights of ring 0; how many leading bytes there are.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    pub fn read(&mut self, linear: u64, buffer: &mut [u8]) -> Result<usize, CpuError> {
        let registers = self.registers()?;
        let patches = self.cpu()?.patches().to_vec();
        let ram = self.run.ram();
        let mut done = 0;
        for (address, range) in pages(linear, buffer.len()) {
            let part = &mut buffer[range];
            let Ok(gpa) = translate(ram, &registers, address) else { break };
            let read = ram.read(gpa, part);
            for patch in &patches {
                if let Some(byte) = patch.gpa.checked_sub(gpa).and_then(|at| part.get_mut(usize::try_from(at).ok()?)) {
                    *byte = patch.original;
                }
            }
            done += read;
            if read < part.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Writes guest-linear memory through the current page tables, read-only pages too; nothing is written if a part is not
    /// there. False then.
    ///
    /// # Errors
    /// Whatever keeps the host from doing so.
    pub fn write(&mut self, linear: u64, bytes: &[u8]) -> Result<bool, CpuError> {
        let registers = self.registers()?;
        let mut parts = Vec::new();
        for (address, range) in pages(linear, bytes.len()) {
            match translate(self.run.ram(), &registers, address) {
                Ok(gpa) if self.run.ram().has(gpa, range.len()) => parts.push((gpa, range)),
                _ => return Ok(false),
            }
        }
        for (gpa, range) in parts {
            let mut part = bytes[range].to_vec();
            for patch in self.cpu()?.patches() {
                let inside = patch.gpa.checked_sub(gpa).and_then(|at| part.get_mut(usize::try_from(at).ok()?));
                if let Some(byte) = inside {
                    patch.original = std::mem::replace(byte, INT3);
                }
            }
            self.run.ram().write(gpa, &part);
        }
        self.cpu()?.memory_written();
        Ok(true)
    }

    /// The way through the current page tables to an address.
    ///
    /// # Errors
    /// Whatever keeps the host from telling.
    pub fn walk(&mut self, linear: u64) -> Result<Walk, CpuError> {
        let registers = self.registers()?;
        Ok(walk(self.run.ram(), &registers, linear))
    }

    /// Sets a breakpoint or watchpoint.
    ///
    /// # Errors
    /// An [`InsertError`].
    pub fn insert(&mut self, point: Watchpoint) -> Result<(), InsertError> {
        self.cpu()?.insert(point)
    }

    /// Removes one; false if there was none.
    ///
    /// # Errors
    /// The CPU has no means for debuggers.
    pub fn remove(&mut self, point: Watchpoint) -> Result<bool, CpuError> {
        Ok(self.cpu()?.remove(point))
    }

    fn cpu(&mut self) -> Result<&mut dyn DebugCpu, CpuError> {
        self.run.cpu().debug().ok_or(CpuError::Unsupported { cpu: "this CPU", ability: "be debugged" })
    }
}

/// The parts of `[linear, linear + len)` that lie in one page each: address and range of bytes.
fn pages(linear: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let address = linear.wrapping_add(done as u64);
        let size = (len - done).min((PAGE - address % PAGE) as usize);
        let range = done..done + size;
        done += size;
        (size > 0).then_some((address, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_pages() {
        let cut = |linear, len| pages(linear, len).collect::<Vec<_>>();
        assert_eq!(cut(0x1ffe, 5), [(0x1ffe, 0..2), (0x2000, 2..5)]);
        assert_eq!(cut(0x1000, 0x1000), [(0x1000, 0..0x1000)]);
        assert_eq!(cut(u64::MAX, 2), [(u64::MAX, 0..1), (0, 1..2)]);
        assert_eq!(cut(7, 0), []);
    }
}
