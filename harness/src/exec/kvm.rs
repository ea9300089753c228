//! KVM as an engine: ring 3 on the host's processor, in the same memory image as emu-min.

use std::fmt;
use std::time::Duration;

use vmm_min::{BareKvm, CpuError, FullState, Halt, SegmentState};

use super::end::{End, Exception};
use super::error::ExecError;
use super::finish::finish;
use super::image::{self, Image, KernelHalf, Layout, Trapped};
use super::memory::collect_changes;
use super::native::{from_xsave, to_xsave};
use super::registers::Registers;
use super::runner::{Engine, FinalState, Runner};
use super::snippet::{MAX_MEMORY, Mode, Snippet};

/// Memory of the machine, MiB: all regions and their page tables.
const MEMORY_MIB: u32 = (MAX_MEMORY >> 20) as u32 + 8;
/// CR0: PG, AM, WP, NE, ET, MP, PE. CR4: OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR, PAE. EFER: NXE, LMA, LME, SCE.
const CR0: u64 = 0x8005_0033;
const CR4: u64 = 0x5_0620;
const EFER: u64 = 0xd01;

/// Executes snippets on the host's processor through KVM.
///
/// The instruction budget only bounds the time, as with [`super::NativeRunner`]. Where KVM has no hardware support
/// (kvm_pvm), `syscall` and software interrupts behave differently from the processor; the native engine is exact.
pub struct KvmRunner {
    cpu: BareKvm,
    prepared: Option<(Layout, Image)>,
    scratch: Vec<u8>,
}

impl fmt::Debug for KvmRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvmRunner").finish_non_exhaustive()
    }
}

fn failed(error: &CpuError) -> ExecError {
    match error {
        CpuError::NoKvm | CpuError::KvmPermission => {
            ExecError::Missing { engine: Engine::Kvm, reason: error.to_string() }
        }
        _ => unexpected(error.to_string()),
    }
}

fn unexpected(what: String) -> ExecError {
    ExecError::Unexpected { engine: Engine::Kvm, what }
}

impl KvmRunner {
    /// Makes a virtual machine. It is used by the thread that made it.
    ///
    /// # Errors
    /// The host lacks KVM, or refuses.
    pub fn new() -> Result<Self, ExecError> {
        let mut cpu = BareKvm::new(MEMORY_MIB).map_err(|e| failed(&e))?;
        cpu.set_system_call(image::STAR, image::SYSCALL_ENTRY).map_err(|e| failed(&e))?;
        Ok(Self { cpu, prepared: None, scratch: Vec::new() })
    }

    /// Fills memory; returns where each region is.
    fn prepare(&mut self, snippet: &Snippet) -> Result<Vec<u64>, ExecError> {
        let layout = image::layout(&snippet.regions);
        let image = match self.prepared.take() {
            Some((old, image)) if old == layout => image,
            _ => {
                let image = Image::build(&layout, KernelHalf::Sparse);
                if !self.cpu.write(0, &image.system) {
                    return Err(unexpected(format!("{:#x} bytes of page tables do not fit", image.system.len())));
                }
                image
            }
        };
        let regions = image.regions.clone();
        self.prepared = Some((layout, image));
        for (region, &gpa) in snippet.regions.iter().zip(&regions) {
            if !self.cpu.write(gpa, &region.bytes) {
                return Err(unexpected(format!("no memory at {gpa:#x}")));
            }
        }
        Ok(regions)
    }
}

impl Runner for KvmRunner {
    fn engine(&self) -> Engine {
        Engine::Kvm
    }

    fn run(&mut self, snippet: &Snippet) -> Result<FinalState, ExecError> {
        snippet.validate()?;
        let regions = self.prepare(snippet)?;
        self.cpu.set(&initial_state(snippet)).map_err(|e| failed(&e))?;
        let halt = self.cpu.run(time(snippet.budget)).map_err(|e| failed(&e))?;
        let state = self.cpu.get().map_err(|e| failed(&e))?;
        let in_ring_0 = state.segments[1].selector & 3 == 0;
        let trapped = match halt {
            Halt::Hlt if in_ring_0 => {
                let read = |gpa| {
                    let mut word = [0; 8];
                    self.cpu.read(gpa, &mut word).then(|| u64::from_le_bytes(word))
                };
                let trapped = image::trapped(state.rip, &state.gprs, state.control[1], snippet.mode, read);
                let trapped = trapped.ok_or_else(|| unexpected(format!("hlt at {:#x}", state.rip)))?;
                // kvm_pvm goes to the entry of system calls, but not to ring 0.
                let at_entry = trapped.rip == image::SYSCALL_ENTRY && trapped.exception.vector == 14;
                Some(if at_entry { image::called(&state.gprs, snippet.mode) } else { trapped })
            }
            Halt::Timeout | Halt::Shutdown => None,
            other => return Err(unexpected(format!("{other:?} at {:#x}", state.rip))),
        };
        let mut memory = Vec::new();
        for (region, gpa) in snippet.regions.iter().zip(regions) {
            self.scratch.resize(region.bytes.len(), 0);
            if self.cpu.read(gpa, &mut self.scratch) {
                collect_changes(region.address, &region.bytes, &self.scratch, &mut memory);
            }
        }
        let registers = registers_of(&state, trapped.as_ref());
        Ok(match trapped {
            None if halt == Halt::Shutdown => FinalState { end: End::Shutdown, registers, memory },
            None => FinalState { end: End::Budget, registers, memory },
            Some(Trapped { exception: Exception { vector: image::SYSTEM_CALL, .. }, .. }) => {
                FinalState { end: End::KernelCall, registers, memory }
            }
            Some(trapped) => finish(snippet, registers, memory, trapped.exception),
        })
    }
}

/// Time for a budget: at least 20 ms, a second for every 100 million instructions, at most 8 s.
fn time(budget: u64) -> Duration {
    Duration::from_millis((20 + budget / 100_000).min(8000))
}

fn segment(selector: u16, descriptor: u64, base: u64) -> SegmentState {
    SegmentState { selector, base, attributes: (descriptor >> 40) as u16 & 0xf0ff, limit: u32::MAX }
}

fn initial_state(snippet: &Snippet) -> FullState {
    let registers = &snippet.registers;
    let (gdt, idt, task) = image::system_tables();
    let (data_selector, data_descriptor) = image::DATA;
    let data = segment(data_selector, data_descriptor, 0);
    let code = snippet.mode.code_selector();
    let mut gprs = registers.gprs;
    if snippet.mode == Mode::Bits32 {
        gprs.iter_mut().for_each(|gpr| *gpr &= 0xffff_ffff);
    }
    let based = |base| SegmentState { base, ..data };
    FullState {
        gprs,
        rip: registers.rip,
        rflags: registers.rflags,
        segments: [
            data,
            segment(code, image::code_descriptor(code), 0),
            data,
            data,
            based(registers.fs_base),
            based(registers.gs_base),
        ],
        task: SegmentState { selector: image::TASK, base: task, attributes: 0x8b, limit: u32::from(image::TASK_LIMIT) },
        gdt,
        idt,
        control: [CR0, 0, image::PML4, CR4],
        efer: EFER,
        xsave: to_xsave(registers),
    }
}

fn registers_of(state: &FullState, trapped: Option<&Trapped>) -> Registers {
    let mut registers = Registers {
        gprs: state.gprs,
        rip: state.rip,
        rflags: state.rflags,
        selectors: state.segments.map(|segment| segment.selector),
        fs_base: state.segments[4].base,
        gs_base: state.segments[5].base,
        ..from_xsave(&state.xsave)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Access, Region};

    #[test]
    fn code_runs_in_ring_3_where_there_is_kvm() {
        let mut runner = match KvmRunner::new() {
            Ok(runner) => runner,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let run = |runner: &mut KvmRunner, code: &[u8]| {
            let mut bytes = vec![0xf4; 0x1000];
            bytes[..code.len()].copy_from_slice(code);
            let mut registers = Registers { rip: 0x1000_0000, ..Registers::default() };
            registers.gprs[0] = 41;
            registers.ymm[1] = [7, 0];
            let regions = vec![Region { address: 0x1000_0000, bytes, access: Access::RX }];
            runner.run(&Snippet { mode: Mode::Bits64, registers, regions, budget: 1000 }).unwrap()
        };
        // inc rax; movdqa xmm2, xmm1
        let state = run(&mut runner, &[0x48, 0xff, 0xc0, 0x66, 0x0f, 0x6f, 0xd1]);
        assert_eq!((state.end, state.registers.gprs[0]), (End::Hlt, 42));
        assert_eq!(state.registers.ymm[2], [7, 0]);
        let fault = run(&mut runner, &[0xc6, 0x00, 0x01]); // mov byte [rax], 1
        assert_eq!(fault.end, End::Exception(Exception::new(14, 6, 41)));
        assert_eq!(run(&mut runner, &[0x0f, 0x0b]).end, End::Exception(Exception::new(6, 0, 0)));
        assert_eq!(run(&mut runner, &[0xeb, 0xfe]).end, End::Budget);
    }
}
