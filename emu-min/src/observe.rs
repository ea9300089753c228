//! Somebody who looks on: every instruction, before it is executed.

use std::borrow::Cow;
use std::fmt;

use crate::cpu::Cpu;
use crate::decode::linear_rip;
use crate::op::{Flow, SEG_BASES};
use crate::sse::Sse;

/// Longest instruction.
const MAX_LEN: usize = 15;

/// What an observer sees: the processor between two instructions.
#[derive(Debug)]
pub struct Sight<'a> {
    /// Linear address of the next instruction.
    pub address: u64,
    /// The instruction pointer there: its offset in the code segment.
    pub rip: u64,
    /// Bits of the code: 16, 32 or 64.
    pub bits: u32,
    /// The bytes there, up to 15: fewer where the next page cannot be read, none where the fetch will fault.
    pub code: &'a [u8],
    /// Whether the processor is in ring 3.
    pub ring3: bool,
    /// Instructions retired so far: one more at the next sight, unless this one faults or a repetition is not over.
    pub retired: u64,
    /// The general registers in the order of the encoding: RAX, RCX, RDX, RBX, RSP, ...
    pub registers: &'a [u64; 16],
    /// The segment bases in effect: ES, CS, SS, DS, FS, GS.
    pub bases: &'a [u64; 6],
    /// What lies in memory.
    pub memory: MemoryView<'a>,
}

/// Memory as the processor's page tables show it.
#[derive(Clone, Copy)]
pub struct MemoryView<'a>(&'a Cpu);

impl MemoryView<'_> {
    /// Reads bytes from a linear address on; yields how many there were before the first that is not mapped to RAM.
    pub fn read(&self, address: u64, out: &mut [u8]) -> usize {
        self.0.read_virtual(address, out)
    }
}

impl fmt::Debug for MemoryView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryView").finish_non_exhaustive()
    }
}

/// Looks on while a guest runs; it can change nothing.
pub trait Observer: Send + fmt::Debug {
    /// An instruction is next.
    fn before(&mut self, sight: &Sight<'_>);

    /// What it has counted so far, by name.
    fn counts(&self) -> Vec<(Cow<'static, str>, u64)>;
}

impl Cpu {
    /// From now on lets `observer` look on. Each instruction is then decoded and executed alone, whatever the
    /// mechanisms say: many times slower, and otherwise the same. Without an observer nothing becomes slower.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = Some(observer);
    }

    /// Who looks on.
    pub fn observer(&self) -> Option<&dyn Observer> {
        self.observer.as_deref()
    }

    /// Shows the next instruction, then executes it.
    pub(crate) fn observed_step(&mut self) -> Flow {
        self.show_next();
        self.step()
    }

    /// Shows the next instruction to the observer, if there is one.
    pub(crate) fn show_next(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        let core = &self.core;
        let address = linear_rip(core, core.rip);
        let mut code = [0; MAX_LEN];
        let have = self.read_virtual(address, &mut code);
        let registers = core.r.first_chunk::<16>();
        let bases = core.r.get(usize::from(SEG_BASES)..).and_then(|slots| slots.first_chunk::<6>());
        if let (Some(registers), Some(bases), Some(code)) = (registers, bases, code.get(..have)) {
            let sight = Sight {
                address,
                rip: core.rip,
                bits: core.mode as u32,
                code,
                ring3: core.is_in_user_ring(),
                retired: core.icount,
                registers,
                bases,
                memory: MemoryView(self),
            };
            Sse::aside(|| observer.before(&sight));
        }
        self.observer = Some(observer);
    }
}
