//! The profile of a program: what it does, counted instruction by instruction.
//!
//! emu-min runs the guest in its own time ([`emu_min::Clock::Instructions`]) and shows every instruction to a [`Profiler`], which
//! counts kinds of instructions, accesses, what small models of caches, TLBs and branch predictors say of them, and the cycles of a
//! model of a processor that executes out of order. All of it depends on the guest's bytes alone, so a profile is the same on every host
//! and says of all engines what their guest does. `docs/explain.md` lists what is counted.

mod branch;
mod cache;
mod class;
mod instruction;
mod memory;
mod pipeline;
mod sleep;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use emu_min::{Observer, Sight};
use iced_x86::InstructionInfoFactory;

use branch::Predictor;
use class::Class;
use instruction::{Drops, Known, Repeated};
use memory::{Memory, MemoryCounts, Wait};
use pipeline::{Access, Cycles, Execution, Pipeline};
use sleep::Sleeps;

/// Executions after which a translator finds code worth translating.
const HOT: u32 = 48;
/// Most memory operands of an instruction that are followed.
const OPERANDS: usize = 4;
/// Bytes of a cache line.
const LINE: u64 = 64;
/// Bytes that a repetition moves in one cycle.
const MOVED: u64 = 32;
/// RCX, RSI and RDI among the registers.
const COUNT: usize = 1;
const SOURCE: usize = 6;
const DESTINATION: usize = 7;

/// What one ring did.
#[derive(Debug, Default, Clone)]
struct Counts {
    classes: [u64; Class::ALL.len()],
    loads: u64,
    stores: u64,
    lanes: u64,
    wide: u64,
    taken: u64,
    missed_branch: u64,
    missed_target: u64,
    moved: u64,
    compared: u64,
    bytes: u64,
    memory: MemoryCounts,
    cycles: Cycles,
}

impl Counts {
    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let named = [
            ("load", self.loads),
            ("store", self.stores),
            ("lanes", self.lanes),
            ("wide", self.wide),
            ("taken", self.taken),
            ("miss.branch", self.missed_branch),
            ("miss.target", self.missed_target),
            ("string.moved", self.moved),
            ("string.compared", self.compared),
            ("string.bytes", self.bytes),
            ("miss.l1", self.memory.l1_miss),
            ("miss.l2", self.memory.l2_miss),
            ("miss.l3", self.memory.l3_miss),
            ("miss.dram", self.memory.dram),
            ("streamed", self.memory.streamed),
            ("streamed.far", self.memory.streamed_far),
            ("streamed.dram", self.memory.streamed_dram),
            ("streamed.store", self.memory.streamed_store),
            ("miss.tlb64", self.memory.tlb_small_miss),
            ("miss.tlb", self.memory.tlb_miss),
        ];
        let cycles = [
            ("cycles.issue", self.cycles.issue),
            ("cycles.dependence", self.cycles.dependence),
            ("cycles.branch", self.cycles.branch),
            ("cycles.load", self.cycles.load),
            ("cycles.l2", self.cycles.l2),
            ("cycles.l3", self.cycles.l3),
            ("cycles.llc", self.cycles.llc),
            ("cycles.dram", self.cycles.dram),
            ("cycles.walk", self.cycles.walk),
        ];
        let classes = Class::ALL.into_iter().map(Class::name).zip(self.classes);
        classes.chain(named).chain(cycles.map(|(name, cycles)| (name, cycles.round() as u64)))
    }
}

/// The instruction that was shown last, until it is known what became of it.
#[derive(Debug, Clone, Copy)]
struct Pending {
    known: usize,
    at: u64,
    ring3: bool,
    retired: u64,
    addresses: [u64; OPERANDS],
    /// RCX, RSI and RDI before it.
    string: [u64; 3],
}

/// Counts what a guest does.
pub struct Profiler {
    factory: InstructionInfoFactory,
    known: Vec<Known>,
    by_address: HashMap<u64, usize>,
    pending: Option<Pending>,
    /// Cycles of the repetition that is not over.
    repeating: u64,
    memory: Memory,
    predictor: Predictor,
    pipeline: Pipeline,
    sleeps: Sleeps,
    /// Of rings 0 to 2, and of ring 3.
    rings: [Counts; 2],
    /// Instructions that were executed for the first time; that became hot; whose bytes had changed.
    new: u64,
    hot: u64,
    changed: u64,
}

impl fmt::Debug for Profiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiler").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Default for Profiler {
    fn default() -> Self {
        Self {
            factory: InstructionInfoFactory::new(),
            known: Vec::new(),
            by_address: HashMap::new(),
            pending: None,
            repeating: 0,
            memory: Memory::new(),
            predictor: Predictor::new(),
            pipeline: Pipeline::new(),
            sleeps: Sleeps::default(),
            rings: Default::default(),
            new: 0,
            hot: 0,
            changed: 0,
        }
    }
}

impl Profiler {
    /// One that has seen nothing yet, as a machine wants it.
    #[must_use]
    pub fn boxed() -> Box<dyn Observer> {
        Box::<Self>::default()
    }

    /// The number of the instruction in sight.
    fn look_up(&mut self, sight: &Sight<'_>) -> Option<usize> {
        let found = self.by_address.get(&sight.address).copied();
        if let Some(index) = found {
            let known = self.known.get_mut(index)?;
            if known.bits == sight.bits && sight.code.starts_with(&known.bytes) {
                if known.executed < HOT {
                    known.executed += 1;
                    self.hot += u64::from(known.executed == HOT);
                }
                return Some(index);
            }
        }
        let mut known = Known::of(sight.code, sight.bits, sight.rip, &mut self.factory)?;
        known.executed = 1;
        if let Some(index) = found {
            self.changed += 1;
            *self.known.get_mut(index)? = known;
            return Some(index);
        }
        self.new += 1;
        self.known.push(known);
        self.by_address.insert(sight.address, self.known.len() - 1);
        Some(self.known.len() - 1)
    }

    /// Accounts for an instruction, now that its successor is in sight.
    fn settle(&mut self, pending: Pending, next: &Sight<'_>) {
        let Self { known, memory, predictor, pipeline, rings, repeating, .. } = self;
        let Some(known) = known.get(pending.known) else { return };
        let counts = &mut rings[usize::from(pending.ring3)];
        let retired = next.retired > pending.retired;
        if let Some(repeated) = known.repeated {
            *repeating += repeat(repeated, &pending, next, memory, counts);
        }
        if !retired {
            return;
        }
        counts.classes[known.class as usize] += 1;
        counts.lanes += known.lanes;
        counts.wide += u64::from(known.wide);
        let (mut loads, mut stores) = ([Access::default(); OPERANDS], [Access::default(); OPERANDS]);
        let (mut loaded, mut stored) = (0, 0);
        let mut wait = Wait::default();
        for (operand, &address) in known.operands.iter().zip(&pending.addresses) {
            if !operand.load && !operand.store {
                continue;
            }
            let access = Access { address, bytes: operand.bytes };
            let waited = memory.access(address, operand.store && !operand.load, &mut counts.memory);
            if operand.load {
                counts.loads += 1;
                (loads[loaded], loaded) = (access, loaded + 1);
                if waited.total() > wait.total() {
                    wait = waited;
                }
            }
            if operand.store {
                counts.stores += 1;
                (stores[stored], stored) = (access, stored + 1);
            }
        }
        match known.drops {
            Drops::Nothing => {}
            Drops::Page => memory.flush_page(pending.addresses[0]),
            Drops::All => memory.flush(),
        }
        // An interrupt or an exception in between says nothing of where the instruction went.
        let through = pending.at.wrapping_add(known.bytes.len() as u64);
        let missed =
            pending.ring3 == next.ring3 && goes(known.class, pending.at, through, next.address, predictor, counts);
        let (loads, stores, besides) = (&loads[..loaded], &stores[..stored], std::mem::take(repeating));
        pipeline.retire(&Execution { known, loads, stores, wait, besides, missed }, &mut counts.cycles);
    }
}

/// The branch at `at` went to `target`; whether that was not foreseen.
fn goes(class: Class, at: u64, through: u64, target: u64, predictor: &mut Predictor, counts: &mut Counts) -> bool {
    let taken = target != through;
    let foreseen = match class {
        Class::Branch => predictor.conditional(at, taken),
        Class::Call => {
            predictor.call(through);
            true
        }
        Class::Indirect => predictor.indirect(at, target),
        Class::Return => predictor.returned(target),
        Class::Jump => true,
        _ => return false,
    };
    counts.taken += u64::from(taken);
    if !foreseen {
        let missed = if class == Class::Branch { &mut counts.missed_branch } else { &mut counts.missed_target };
        *missed += 1;
    }
    !foreseen
}

/// Accounts for the elements that a repetition did; the cycles that they took.
fn repeat(repeated: Repeated, pending: &Pending, next: &Sight<'_>, memory: &mut Memory, counts: &mut Counts) -> u64 {
    let [count, source, destination] = pending.string;
    let elements = count.saturating_sub(next.registers[COUNT]);
    let bytes = elements * repeated.size;
    let compares = repeated.destination == Some(false);
    *(if compares { &mut counts.compared } else { &mut counts.moved }) += elements;
    counts.bytes += bytes;
    let mut waited = 0;
    let mut pass = |from: u64, to: u64, stores: bool| {
        // Downwards it begins at its last element.
        let from = if to < from { to.wrapping_add(repeated.size) } else { from };
        for line in 0..bytes.div_ceil(LINE) {
            waited += memory.access(from.wrapping_add(line * LINE), stores, &mut counts.memory).total() / 4;
        }
    };
    if repeated.source {
        pass(source, next.registers[SOURCE], false);
        counts.loads += elements;
    }
    if let Some(writes) = repeated.destination {
        pass(destination, next.registers[DESTINATION], writes);
        if writes {
            counts.stores += elements;
        } else {
            counts.loads += elements;
        }
    }
    // Comparisons and searches go element by element on processors, moves and fills by blocks.
    let moved = if repeated.destination == Some(true) { bytes.div_ceil(MOVED) } else { 2 * elements };
    moved + waited
}

impl Observer for Profiler {
    fn before(&mut self, sight: &Sight<'_>) {
        if let Some(pending) = self.pending.take() {
            self.settle(pending, sight);
        }
        self.pending = self.look_up(sight).and_then(|index| {
            let known = self.known.get(index)?;
            if known.class == Class::Enter {
                self.sleeps.see(sight);
            }
            let mut addresses = [0; OPERANDS];
            for (address, operand) in addresses.iter_mut().zip(&known.operands) {
                *address = operand.address(sight.registers, sight.bases);
            }
            let register = |number: usize| sight.registers[number];
            Some(Pending {
                known: index,
                at: sight.address,
                ring3: sight.ring3,
                retired: sight.retired,
                addresses,
                string: [register(COUNT), register(SOURCE), register(DESTINATION)],
            })
        });
    }

    fn counts(&self) -> Vec<(Cow<'static, str>, u64)> {
        let code = [("code.new", self.new), ("code.hot", self.hot), ("code.changed", self.changed)];
        let sleeps = [("sleep.calls", self.sleeps.calls), ("sleep.asked_ns", self.sleeps.asked_ns)];
        let once = code.into_iter().chain(sleeps).map(|(name, count)| (Cow::Borrowed(name), count));
        let rings = self.rings.iter().zip(["ring0", "ring3"]);
        let rings = rings.flat_map(|(counts, ring)| {
            counts.all().map(move |(name, count)| (Cow::Owned(format!("{ring}.{name}")), count))
        });
        once.chain(rings).collect()
    }
}

#[cfg(test)]
mod tests;
