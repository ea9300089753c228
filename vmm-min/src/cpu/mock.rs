//! A virtual CPU that follows a script: for tests of the machine without a guest.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{CpuError, Exit, Kick, Registers, VirtualCpu};
use crate::boot::BootState;
use crate::counters::{Counter, Source};

/// One thing a [`MockCpu`] does when it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes to a port: accesses of `size` bytes each.
    Out {
        /// The port.
        port: u16,
        /// Bytes of one access.
        size: usize,
        /// The bytes of all accesses.
        data: Vec<u8>,
    },
    /// Reads `len` bytes from a port; what it read is in [`MockCpu::seen`].
    In {
        /// The port.
        port: u16,
        /// Bytes of one access.
        size: usize,
        /// Bytes of all accesses.
        len: usize,
    },
    /// Reads 4 bytes of physical memory outside RAM.
    MmioRead(u64),
    /// Writes 4 bytes of physical memory outside RAM.
    MmioWrite(u64),
    /// Executes `hlt`.
    Hlt,
    /// Shuts down.
    Shutdown,
    /// Opens an interrupt window.
    IrqWindow,
    /// Executes instructions until it is kicked.
    Spin,
    /// Cannot go on, for this reason.
    Fail(&'static str),
}

impl Step {
    /// Writes one byte to a port.
    pub fn out(port: u16, value: u8) -> Self {
        Self::Out { port, size: 1, data: vec![value] }
    }
}

/// Follows a script; when it ends, starts over if it repeats, else shuts down.
#[derive(Debug)]
pub struct MockCpu {
    script: Vec<Step>,
    rest: VecDeque<Step>,
    repeats: bool,
    kick: Arc<MockKick>,
    data: Vec<u8>,
    reading: bool,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    instructions: u64,
    budget: Option<u64>,
    interruptible: bool,
    interrupts: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug, Default)]
struct MockKick {
    kicked: Mutex<bool>,
    changed: Condvar,
}

impl Kick for MockKick {
    fn kick(&self) {
        *self.kicked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl MockKick {
    fn take(&self) -> bool {
        std::mem::take(&mut *self.kicked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait(&self) {
        let kicked = self.kicked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kicked = self.changed.wait_while(kicked, |k| !*k).unwrap_or_else(PoisonError::into_inner);
        *kicked = false;
    }
}

impl MockCpu {
    /// A CPU that follows `script` once.
    pub fn new(script: impl IntoIterator<Item = Step>) -> Self {
        let script: Vec<_> = script.into_iter().collect();
        Self {
            rest: script.clone().into(),
            script,
            repeats: false,
            kick: Arc::default(),
            data: Vec::new(),
            reading: false,
            seen: Arc::default(),
            instructions: 0,
            budget: None,
            interruptible: false,
            interrupts: Arc::default(),
        }
    }

    /// A CPU that follows `script` for ever.
    pub fn repeating(script: impl IntoIterator<Item = Step>) -> Self {
        Self { repeats: true, ..Self::new(script) }
    }

    /// Takes interrupts at any time; without this, never.
    #[must_use]
    pub fn interruptible(mut self) -> Self {
        self.interruptible = true;
        self
    }

    /// The vectors of the interrupts it took, shared with the caller.
    pub fn interrupts(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.interrupts)
    }

    /// What the machine answered to each read, shared with the caller.
    pub fn seen(&self) -> Arc<Mutex<Vec<Vec<u8>>>> {
        Arc::clone(&self.seen)
    }
}

impl VirtualCpu for MockCpu {
    fn boot(&mut self, _state: BootState) -> Result<(), CpuError> {
        Ok(())
    }

    fn run(&mut self) -> Result<Exit<'_>, CpuError> {
        if std::mem::take(&mut self.reading) {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(self.data.clone());
        }
        if self.kick.take() {
            return Ok(Exit::Interrupted);
        }
        if self.budget.is_some_and(|budget| self.instructions >= budget) {
            return Ok(Exit::BudgetExhausted);
        }
        self.instructions += 1;
        if self.rest.is_empty() && self.repeats {
            self.rest.extend(self.script.iter().cloned());
        }
        Ok(match self.rest.pop_front().unwrap_or(Step::Shutdown) {
            Step::Out { port, size, data } => {
                self.data = data;
                Exit::IoOut { port, size, data: &self.data }
            }
            Step::In { port, size, len } => {
                self.data = vec![0; len];
                self.reading = true;
                Exit::IoIn { port, size, data: &mut self.data }
            }
            Step::MmioRead(gpa) => {
                self.data = vec![0; 4];
                self.reading = true;
                Exit::MmioRead { gpa, data: &mut self.data }
            }
            Step::MmioWrite(gpa) => {
                self.data = vec![0; 4];
                Exit::MmioWrite { gpa, data: &self.data }
            }
            Step::Hlt => Exit::Hlt,
            Step::Shutdown => Exit::Shutdown,
            Step::IrqWindow => Exit::IrqWindow,
            Step::Spin => {
                self.kick.wait();
                Exit::Interrupted
            }
            Step::Fail(reason) => return Err(CpuError::Unexpected(reason.to_owned())),
        })
    }

    fn is_interruptible(&mut self) -> bool {
        self.interruptible
    }

    fn interrupt(&mut self, vector: u8) -> Result<(), CpuError> {
        self.interrupts.lock().unwrap_or_else(PoisonError::into_inner).push(vector);
        Ok(())
    }

    fn request_irq_window(&mut self, _wanted: bool) {}

    fn registers(&mut self) -> Result<Registers, CpuError> {
        Ok(Registers { rip: self.instructions, rflags: 2, ..Registers::default() })
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::<MockKick>::clone(&self.kick)
    }

    fn tsc_khz(&self) -> Option<u32> {
        None
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.instructions)
    }

    fn set_budget(&mut self, instructions: u64) -> Result<(), CpuError> {
        self.budget = Some(self.instructions.saturating_add(instructions));
        Ok(())
    }

    fn counters(&mut self) -> Result<Vec<Counter>, CpuError> {
        Ok(vec![Counter::new(Source::Emu, "steps", self.instructions)])
    }
}
