//! emu-min as an engine.

use std::fmt;

use emu_min::{Config, Cpu, Exit, GuestRam, Segment, State, Table};

use super::end::{End, Exception};
use super::error::ExecError;
use super::finish::finish;
use super::image::{self, Image, KernelHalf, Layout, Trapped};
use super::memory::collect_changes;
use super::registers::{Registers, X87};
use super::runner::{Engine, FinalState, Runner};
use super::snippet::{Mode, Snippet};

/// Executes snippets on emu-min.
pub struct EmuRunner {
    engine: Engine,
    config: Config,
    machine: Option<Machine>,
    scratch: Vec<u8>,
}

impl fmt::Debug for EmuRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmuRunner").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// A CPU with the image of one layout.
struct Machine {
    cpu: Cpu,
    layout: Layout,
    image: Image,
}

/// CR0 as Linux sets it: PG, AM, WP, NE, ET, MP, PE.
const CR0: u64 = 0x8005_0033;
/// CR4 as far as ring 3 can tell: FSGSBASE, OSXMMEXCPT, OSFXSR, PAE. Linux clears DE, so that DR4 and DR5 are names of
/// DR6 and DR7.
const CR4: u64 = 0x1_0620;
/// CR4.OSXSAVE, on CPUs with XSAVE.
const CR4_OSXSAVE: u64 = 1 << 18;
/// EFER: NXE, LMA, LME, SCE.
const EFER: u64 = 0xd01;

impl EmuRunner {
    /// A runner that calls itself `engine`, on a CPU made as `config` says.
    #[must_use]
    pub fn new(engine: Engine, config: Config) -> Self {
        Self { engine, config, machine: None, scratch: Vec::new() }
    }

    /// The machine for this snippet, with its memory filled.
    fn prepare(&mut self, snippet: &Snippet) -> Result<&mut Machine, ExecError> {
        let layout = image::layout(&snippet.regions);
        if self.machine.as_ref().is_none_or(|machine| machine.layout != layout) {
            self.machine = Some(Machine::new(self.config, layout));
        }
        let machine = self.machine.as_mut().ok_or_else(|| unexpected(self.engine, "no machine".to_owned()))?;
        for (region, &gpa) in snippet.regions.iter().zip(&machine.image.regions) {
            if !machine.cpu.ram().write(gpa, &region.bytes) {
                return Err(unexpected(self.engine, format!("no RAM at {gpa:#x}")));
            }
        }
        machine.cpu.flush_code();
        machine.cpu.set_state(&initial_state(snippet, machine.cpu.xcr0_supported()));
        machine.cpu.set_instruction_budget(Some(snippet.budget));
        Ok(machine)
    }
}

impl Machine {
    fn new(config: Config, layout: Layout) -> Self {
        let image = Image::build(&layout, KernelHalf::Mapped);
        let ram = GuestRam::allocate(image.size as usize);
        // The RAM was made as large as the image.
        let written = ram.write(0, &image.system);
        debug_assert!(written);
        Self { cpu: Cpu::new(ram, Config { hot: 0, ..config }), layout, image }
    }

    /// Runs until the snippet ends: `None` at the end of the budget.
    fn run(&mut self, engine: Engine, mode: Mode) -> Result<Option<Trapped>, ExecError> {
        loop {
            let exit = self.cpu.run();
            let state = self.cpu.state();
            let in_stub = state.cs.selector & 3 == 0;
            match exit {
                Exit::Halt if in_stub => {
                    let read = |gpa| self.cpu.ram().read_u64(gpa);
                    let trapped = image::trapped(state.rip, &state.gprs, state.cr2, mode, read);
                    return trapped.map(Some).ok_or_else(|| unexpected(engine, format!("hlt at {:#x}", state.rip)));
                }
                // The last instruction of the budget raised an exception: let the stub halt.
                Exit::BudgetExhausted if in_stub => self.cpu.set_instruction_budget(Some(1)),
                Exit::BudgetExhausted => return Ok(None),
                other => return Err(unexpected(engine, format!("{other:?} at {:#x}", state.rip))),
            }
        }
    }
}

fn unexpected(engine: Engine, what: String) -> ExecError {
    ExecError::Unexpected { engine, what }
}

impl Runner for EmuRunner {
    fn engine(&self) -> Engine {
        self.engine
    }

    fn run(&mut self, snippet: &Snippet) -> Result<FinalState, ExecError> {
        snippet.validate()?;
        let engine = self.engine;
        let mut scratch = std::mem::take(&mut self.scratch);
        let machine = self.prepare(snippet)?;
        let trapped = match machine.run(engine, snippet.mode) {
            Ok(trapped) => trapped,
            Err(ExecError::Unexpected { what, .. }) if what.starts_with("TripleFault") => {
                let registers = registers_of(&machine.cpu.state(), None);
                return Ok(FinalState { end: End::Shutdown, registers, memory: Vec::new() });
            }
            Err(error) => return Err(error),
        };
        let mut memory = Vec::new();
        for (region, &gpa) in snippet.regions.iter().zip(&machine.image.regions) {
            scratch.resize(region.bytes.len(), 0);
            if machine.cpu.ram().read(gpa, &mut scratch) {
                collect_changes(region.address, &region.bytes, &scratch, &mut memory);
            }
        }
        let registers = registers_of(&machine.cpu.state(), trapped.as_ref());
        self.scratch = scratch;
        Ok(match trapped {
            None => FinalState { end: End::Budget, registers, memory },
            Some(Trapped { exception: Exception { vector: image::SYSTEM_CALL, .. }, .. }) => {
                FinalState { end: End::KernelCall, registers, memory }
            }
            Some(trapped) => finish(snippet, registers, memory, trapped.exception),
        })
    }
}

/// The hidden part of a segment register from its descriptor.
fn segment(selector: u16, descriptor: u64, base: u64) -> Segment {
    let attributes = (descriptor >> 40) as u16 & 0xf0ff;
    Segment { selector, base, limit: u32::MAX, attributes }
}

/// The state in which a snippet starts, with the components in `xcr0` enabled; 0 stands for a CPU without XSAVE.
fn initial_state(snippet: &Snippet, xcr0: u64) -> State {
    let registers = &snippet.registers;
    let (gdt, idt, task) = image::system_tables();
    let (data_selector, data_descriptor) = image::DATA;
    let data = segment(data_selector, data_descriptor, 0);
    let code = snippet.mode.code_selector();
    let mut state = State::reset();
    state.gprs = registers.gprs;
    if snippet.mode == Mode::Bits32 {
        state.gprs.iter_mut().for_each(|gpr| *gpr &= 0xffff_ffff);
    }
    state.rip = registers.rip;
    state.rflags = registers.rflags;
    state.cs = segment(code, image::code_descriptor(code), 0);
    (state.ss, state.ds, state.es) = (data, data, data);
    state.fs = Segment { base: registers.fs_base, ..data };
    state.gs = Segment { base: registers.gs_base, ..data };
    state.ldtr = Segment { selector: 0, base: 0, limit: 0, attributes: 0 };
    let limit = u32::from(image::TASK_LIMIT);
    state.tr = Segment { selector: image::TASK, base: task, limit, attributes: 0x8b };
    state.gdtr = Table { base: gdt.0, limit: gdt.1 };
    state.idtr = Table { base: idt.0, limit: idt.1 };
    state.cr0 = CR0;
    state.cr3 = image::PML4;
    state.cr4 = CR4;
    if xcr0 != 0 {
        state.cr4 |= CR4_OSXSAVE;
        state.xcr0 = xcr0;
    }
    state.efer = EFER;
    state.msrs.star = image::STAR;
    (state.msrs.lstar, state.msrs.cstar) = (image::SYSCALL_ENTRY, image::SYSCALL_ENTRY);
    state.mxcsr = registers.mxcsr;
    state.xmm = registers.ymm.map(|[low, _]| low);
    state.ymm_high = registers.ymm.map(|[_, high]| high);
    let x87 = &registers.x87;
    (state.fpu.fcw, state.fpu.fsw, state.fpu.ftw, state.fpu.st) = (x87.fcw, x87.fsw, x87.ftw, x87.st);
    state
}

/// The registers of ring 3: those of the CPU, or what it pushed when it left ring 3.
fn registers_of(state: &State, trapped: Option<&Trapped>) -> Registers {
    let segments = [state.es, state.cs, state.ss, state.ds, state.fs, state.gs];
    let mut registers = Registers {
        gprs: state.gprs,
        rip: state.rip,
        rflags: state.rflags,
        selectors: segments.map(|segment| segment.selector),
        fs_base: state.fs.base,
        gs_base: state.gs.base,
        ymm: std::array::from_fn(|i| [state.xmm[i], state.ymm_high[i]]),
        mxcsr: state.mxcsr,
        x87: X87 { fcw: state.fpu.fcw, fsw: state.fpu.fsw, ftw: state.fpu.ftw, st: state.fpu.st },
    };
    if let Some(trapped) = trapped {
        registers.gprs[4] = trapped.rsp;
        registers.rip = trapped.rip;
        registers.rflags = trapped.rflags;
        registers.selectors[1] = trapped.cs;
        registers.selectors[2] = trapped.ss;
    }
    registers
}
