//! The processor as its user sees it: run it, look at it, change it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::block::BlockCache;
use crate::clock::Clock;
use crate::core::{Awaited, Core};
use crate::counters::Counters;
use crate::dbt::Translator;
use crate::decode::linear_rip;
use crate::flags::IF;
use crate::mechanisms::Mechanisms;
use crate::model::Model;
use crate::observe::Observer;
use crate::ram::GuestRam;
use crate::rings::Rings;
use crate::state::State;

/// How instructions are executed, in a word: a usual set of [`Mechanisms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Decode every instruction every time and walk the page tables at every access: [`Mechanisms::naive`].
    Naive,
    /// Cache decoded blocks and translations: [`Mechanisms::interp`].
    #[default]
    Interp,
    /// Translate hot code to host code: [`Mechanisms::dbt`].
    Dbt,
}

impl From<Strategy> for Mechanisms {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Naive => Self::naive(),
            Strategy::Interp => Self::interp(),
            Strategy::Dbt => Self::dbt(),
        }
    }
}

/// How to make a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How instructions are executed. Of a set that [`Mechanisms::checked`] refuses, what lacks its ground is not used.
    pub mechanisms: Mechanisms,
    /// What the time-stamp counter counts.
    pub clock: Clock,
    /// What RDTSC adds to that count (wrapping): 0 makes guest and host read the same.
    pub tsc_offset: u64,
    /// What CPUID offers. Of a model that the host cannot execute ([`Model::available`]) only what it can is offered.
    pub model: Model,
    /// Executions of a block after which it is translated, if code is: 0 translates everything at once, which suits tests
    /// and snippets.
    pub hot: u16,
}

impl Default for Config {
    fn default() -> Self {
        let (mechanisms, model) = (Mechanisms::default(), Model::default());
        Self { mechanisms, clock: Clock::Host, tsc_offset: 0, model, hot: DEFAULT_HOT }
    }
}

/// A block must run about this often until its translation repays what it costs.
const DEFAULT_HOT: u16 = 48;

impl Config {
    /// The usual configuration of a strategy.
    #[must_use]
    pub fn of(strategy: Strategy) -> Self {
        Self { mechanisms: strategy.into(), ..Self::default() }
    }
}

/// Stops a running CPU from any thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Makes the current run, or else the next, return [`Exit::Stopped`](crate::Exit::Stopped) soon, whatever the guest does.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An x86-64 processor on a piece of guest RAM.
pub struct Cpu {
    pub(crate) core: Box<Core>,
    pub(crate) blocks: BlockCache,
    pub(crate) mechanisms: Mechanisms,
    /// None without translation, or if the host refuses the memory that it needs.
    pub(crate) translator: Option<Box<Translator>>,
    /// Who looks on, if anybody.
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) injected: Option<u8>,
    /// A non-maskable interrupt waits.
    pub(crate) injected_nmi: bool,
    pub(crate) want_irq_window: bool,
}

impl Cpu {
    /// A processor in the state [`State::reset`].
    pub fn new(ram: GuestRam, config: Config) -> Self {
        let mechanisms = config.mechanisms.grounded();
        let mut core = Box::new(Core::new(ram, mechanisms, config.model));
        core.clock = config.clock;
        core.tsc_offset = config.tsc_offset;
        let translator = translator(mechanisms, config.hot).filter(|_| core.ram.is_page_aligned());
        Self {
            core,
            // Blocks that lead to one another would not be seen to grow hot.
            blocks: BlockCache::new(Mechanisms { link: mechanisms.link && translator.is_none(), ..mechanisms }),
            mechanisms,
            translator,
            observer: None,
            injected: None,
            injected_nmi: false,
            want_irq_window: false,
        }
    }

    /// A handle that stops this CPU.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.core.stop))
    }

    /// Lets the guest execute at most `instructions` from now on, then [`Exit::BudgetExhausted`](crate::Exit::BudgetExhausted); `None` lifts the limit.
    ///
    /// A fault, and every 4096 elements of a repeated string instruction, count as one more, so that guests which retire
    /// nothing end, too.
    pub fn set_instruction_budget(&mut self, instructions: Option<u64>) {
        self.core.budget_end = instructions.map_or(u64::MAX, |n| self.core.icount.saturating_add(n));
    }

    /// How many instructions the guest has retired.
    pub fn instructions(&self) -> u64 {
        self.core.icount
    }

    /// Adds to the time-stamp counter, as if the guest had waited so many ticks of it.
    pub fn skip_time(&mut self, ticks: u64) {
        self.core.tsc_offset = self.core.tsc_offset.wrapping_add(ticks);
    }

    /// Offset of the next instruction in the code segment.
    pub fn rip(&self) -> u64 {
        self.core.rip
    }

    /// Linear address of the next instruction.
    pub fn linear_rip(&self) -> u64 {
        linear_rip(&self.core, self.core.rip)
    }

    /// The ring that the processor is in, 0 to 3.
    pub fn ring(&self) -> u8 {
        self.core.cpl()
    }

    /// How code is decoded now: 16, 32 or 64 bits.
    pub fn code_bits(&self) -> u32 {
        self.core.mode as u32
    }

    /// How many walks of page tables there have been.
    pub fn page_walks(&self) -> u64 {
        self.core.page_walks
    }

    /// All architectural registers.
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// The bits of XCR0 that this CPU has: 0 without XSAVE, which CR4.OSXSAVE and XCR0 belong to.
    pub fn xcr0_supported(&self) -> u64 {
        self.core.xcr0_supported()
    }

    /// Replaces all architectural registers. A debug trap that was not delivered yet is dropped.
    pub fn set_state(&mut self, state: &State) {
        self.core.set_state(state);
    }

    /// Completes [`Exit::IoIn`](crate::Exit::IoIn) with the value read (its low `size` bytes count). Without it the value is 0.
    pub fn complete_in(&mut self, value: u32) {
        self.core.complete_in(value);
    }

    /// Completes [`Exit::MmioRead`](crate::Exit::MmioRead) with the value read (its low `size` bytes count).
    pub fn complete_mmio_read(&mut self, value: u64) {
        if let Awaited::Mmio { gpa, size } = std::mem::replace(&mut self.core.awaited, Awaited::Nothing) {
            let value = value & (u64::MAX >> (64 - u32::from(size) * 8));
            self.core.mmio.push_read(gpa, size, value);
        }
    }

    /// Queues an external interrupt: it is delivered as soon as the guest can take one. A second replaces the first if
    /// that was not delivered yet.
    pub fn inject_interrupt(&mut self, vector: u8) {
        self.injected = Some(vector);
    }

    /// Queues a non-maskable interrupt: it is delivered at the next instruction boundary, unless an earlier one is being
    /// handled (until IRET) or SS was just loaded. While one waits, another adds nothing (Intel SDM volume 3, 7.7.1).
    pub fn inject_nmi(&mut self) {
        self.injected_nmi = true;
    }

    /// Whether the guest can take an external interrupt now: IF is set and no STI or MOV SS shadow is in force.
    pub fn interrupts_enabled(&self) -> bool {
        self.core.system_flags & IF != 0 && !self.core.in_shadow()
    }

    /// Asks for [`Exit::IrqWindow`](crate::Exit::IrqWindow) once the guest can take an interrupt.
    pub fn request_irq_window(&mut self, wanted: bool) {
        self.want_irq_window = wanted;
    }

    /// Instructions and time of the guest's rings until `now`, a reading of the host's time-stamp counter; but for the time
    /// that [`Self::away`] was told of.
    pub fn rings(&self, now: u64) -> Rings {
        self.core.rings.read(self.core.icount, now)
    }

    /// So many ticks of the host's time-stamp counter were not the guest's: whoever runs the CPU did something else.
    #[inline]
    pub fn away(&mut self, ticks: u64) {
        self.core.rings.away(ticks);
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let core = &self.core;
        Counters {
            instructions: core.icount,
            user_instructions: core.rings.read(core.icount, 0).user.instructions,
            tlb_hit: if core.tlb_enabled { core.all_accesses().saturating_sub(core.tlb_misses) } else { 0 },
            tlb_miss: core.tlb_misses,
            tlb_recall: core.tlb.recalled(),
            page_walk: core.page_walks,
            flushes: core.flushes,
            bulk_elements: core.bulk_elements,
            exceptions: core.exceptions,
            device_io: core.device_io,
            device_mmio: core.device_mmio,
            block_decoded: self.blocks.decoded,
            block_executed: self.blocks.found + core.transitions(),
            link_hit: core.transitions(),
            link_miss: self.blocks.found,
            block_invalidated: self.blocks.invalidated,
            interrupt: core.interrupts,
            translation: self.translator.as_ref().map(|translator| translator.statistics),
            undefined: core.undefined.clone(),
        }
    }

    /// Guest-physical address behind a guest-virtual one under the current page tables, without permission checks or
    /// side effects.
    pub fn translate(&self, gva: u64) -> Option<u64> {
        self.core.peek(gva)
    }

    /// Reads guest-virtual memory for inspection; returns how many leading bytes of `out` were readable.
    pub fn read_virtual(&self, gva: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let address = gva.wrapping_add(done as u64);
            let chunk = rest.len().min(0x1000 - (address & 0xfff) as usize);
            let Some(gpa) = self.core.peek(address) else { break };
            if !rest.get_mut(..chunk).is_some_and(|part| self.core.ram.read(gpa, part)) {
                break;
            }
            done += chunk;
        }
        done
    }

    /// The guest RAM this CPU runs on.
    pub fn ram(&self) -> &GuestRam {
        &self.core.ram
    }

    /// Forgets all decoded code and cached translations: call it after writing guest memory that may hold code or page
    /// tables from outside.
    pub fn flush_code(&mut self) {
        self.blocks.clear(&mut self.core);
        self.core.flush_tlb();
    }
}

/// The translator of a CPU with these mechanisms; it wants RAM whose pages are aligned as the guest's. Where the host refuses executable memory, all code is interpreted.
fn translator(mechanisms: Mechanisms, hot: u16) -> Option<Box<Translator>> {
    let made = mechanisms.translate.then(|| Translator::new(hot, mechanisms).ok());
    made.flatten().map(Box::new)
}
