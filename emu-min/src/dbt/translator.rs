//! All translations: made, found, linked, and dropped.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use iced_x86::InstructionInfoFactory;

use super::asm::Asm;
use super::frame::{self, FrameMemory};
use super::inline_tlb::{self, InlineTlb};
use super::jump_table::JumpTable;
use super::lowering::{Exit, Link};
use super::region::{self, Extent, Target};
use super::snippets::Snippets;
use super::trampoline::{self, Enter};
use crate::block::{BlockCache, BlockId};
use crate::core::Core;
use crate::counters::Translation;
use crate::host_code::HostCode;
use crate::mechanisms::Mechanisms;
use crate::op::Op;
use crate::rings;

/// Bytes of host code; when they are full, all of it is dropped.
const CODE_BYTES: usize = 16 << 20;
/// Regions that hold a block until further ones do without it.
const ENOUGH_COPIES: u8 = 2;
/// Most exits, for the same reason.
const MAX_EXITS: usize = 180_000;
/// Most runs of instructions that are left to the interpreter: some 2 MB.
const MAX_ALONE: usize = 12_000;
/// About as many as one region can have.
const EXITS_OF_REGION: usize = 4096;

/// Counters of how often blocks ran, by RIP; several blocks may share one.
const HEAT: usize = 1 << 14;

/// What regions are found by: address, rights and extent.
type Key = (u64, u64, Extent);

/// A region that was looked at.
struct Region {
    /// Where its code begins, in the area of host code; none if it cannot be translated.
    entry: Option<usize>,
    /// The generation for which its blocks were last compared.
    generation: u32,
    /// The blocks that it was made of, and their addresses.
    blocks: Vec<(u64, BlockId)>,
}

/// See the module.
pub(crate) struct Translator {
    code: HostCode,
    used: usize,
    pub(super) frame: FrameMemory,
    asm: Asm,
    infos: InstructionInfoFactory,
    snippets: Snippets,
    regions: HashMap<Key, Region>,
    /// How many regions hold each block, by address.
    copies: HashMap<u64, u8>,
    heat: Box<[u16; HEAT]>,
    pub(super) exits: Vec<Exit>,
    /// What exits of that kind let the interpreter execute, by number.
    pub(super) alone: Vec<Box<[Op]>>,
    /// Number of the current generation, never 0.
    generation: u32,
    /// What the current generation stands for: the CPU's own count of changes of code.
    core_generation: u64,
    /// Version of the TLB that the tables in the frame agree with.
    pub(super) tlb_version: u64,
    avx: bool,
    /// Executions of a block after which it is translated.
    hot: u16,
    mechanisms: Mechanisms,
    enter: usize,
    leave: usize,
    pub(crate) statistics: Translation,
}

/// The counter of the block at `rip`.
fn heat_of(rip: u64) -> usize {
    (rip ^ rip >> 14) as usize % HEAT
}

impl Translator {
    /// A translator without translations.
    ///
    /// # Errors
    /// The host refuses executable memory, or has no memory left.
    pub(crate) fn new(hot: u16, mechanisms: Mechanisms) -> io::Result<Self> {
        let mut translator = Self {
            code: HostCode::new(CODE_BYTES)?,
            used: 0,
            frame: FrameMemory::new()?,
            asm: Asm::new(),
            infos: InstructionInfoFactory::new(),
            snippets: Snippets::new().map_err(|_| io::Error::other("the encoder refuses an instruction"))?,
            regions: HashMap::new(),
            copies: HashMap::new(),
            heat: Box::new([0; HEAT]),
            // Reserved, so that growing never doubles it.
            exits: Vec::with_capacity(MAX_EXITS + EXITS_OF_REGION),
            alone: Vec::new(),
            generation: 1,
            core_generation: 0,
            tlb_version: 0,
            avx: false,
            hot,
            mechanisms,
            enter: 0,
            leave: 0,
            statistics: Translation::default(),
        };
        translator.clear();
        Ok(translator)
    }

    /// Drops all code.
    fn clear(&mut self) {
        self.regions.clear();
        self.copies.clear();
        self.exits.clear();
        self.alone.clear();
        self.used = 0;
        self.next_generation();
        let avx = self.avx;
        self.enter = self.emit(|asm| trampoline::enter(asm, avx).is_ok()).unwrap_or(0);
        self.leave = self.emit(|asm| trampoline::leave(asm, avx).is_ok()).unwrap_or(0);
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let frame = self.frame.get();
        frame.generation = u64::from(self.generation);
        frame.jumps.iter_mut().for_each(JumpTable::clear);
    }

    /// Emits a piece of code behind what there is; returns where it begins.
    fn emit(&mut self, make: impl FnOnce(&mut Asm) -> bool) -> Option<usize> {
        let base = self.used;
        self.asm.begin(base);
        if !make(&mut self.asm) {
            return None;
        }
        let code = self.asm.finish()?;
        if !self.code.write(base, code) {
            return None;
        }
        self.used = (base + code.len()).next_multiple_of(16);
        Some(base)
    }

    /// Makes what is known agree with the CPU's state. Call before looking anything up.
    pub(super) fn agree(&mut self, core: &Core) {
        if self.avx != core.sse.avx_enabled {
            self.avx = core.sse.avx_enabled;
            self.statistics.flushes += 1;
            self.clear();
        }
        if self.core_generation != core.code_generation {
            self.core_generation = core.code_generation;
            self.next_generation();
        }
        if self.tlb_version != core.tlb.version() {
            self.tlb_version = core.tlb.version();
            let frame = self.frame.get();
            frame.reads.iter_mut().chain(&mut frame.writes).for_each(InlineTlb::clear);
        }
    }

    /// Host code for the guest's RIP, if it was found lately.
    pub(super) fn known(&mut self, core: &Core) -> Option<*const u8> {
        self.frame.get().jumps[core.user as usize % 3].get(core.rip).map(|host| host as *const u8)
    }

    /// Counts an execution of the block at `rip`; whether it is hot.
    pub(super) fn warm(&mut self, rip: u64) -> bool {
        let heat = &mut self.heat[heat_of(rip)];
        *heat = heat.saturating_add(1);
        *heat > self.hot
    }

    /// Whether the region at the guest's RIP was looked at, if only to find that it cannot be translated.
    pub(super) fn is_known(&self, core: &Core, extent: Extent) -> bool {
        self.regions.contains_key(&(core.rip, core.user, extent))
    }

    /// Host code for the guest's RIP, if there is some that holds.
    pub(super) fn find(&mut self, core: &mut Core, blocks: &BlockCache) -> Option<*const u8> {
        if let Some(host) = self.known(core) {
            return Some(host);
        }
        let host = self.look_up(core, blocks, Extent::Region)?;
        self.frame.get().jumps[core.user as usize % 3].insert(core.rip, host as u64);
        Some(host)
    }

    /// As [`Self::find`], for code of any extent, and without remembering it for indirect branches.
    pub(super) fn look_up(&mut self, core: &mut Core, blocks: &BlockCache, extent: Extent) -> Option<*const u8> {
        let key = (core.rip, core.user, extent);
        let region = self.regions.get_mut(&key)?;
        if region.generation != self.generation {
            let holds = region.blocks.iter().all(|&(rip, id)| blocks.is_current(core, rip, id));
            // Looking up addresses may have begun another generation.
            if !holds || self.core_generation != core.code_generation {
                let gone = self.regions.remove(&key)?;
                for (rip, _) in gone.blocks.iter().filter(|_| extent == Extent::Region) {
                    self.copies.entry(*rip).and_modify(|copies| *copies = copies.saturating_sub(1));
                }
                return None;
            }
            region.generation = self.generation;
        }
        Some(self.code.address(region.entry?))
    }

    /// Translates the region or block at the guest's RIP, whose block is decoded; whether that could be done.
    pub(super) fn translate(&mut self, core: &mut Core, blocks: &mut BlockCache, extent: Extent) -> bool {
        let start = (Instant::now(), rings::ticks());
        let in_enough = |rip| self.copies.get(&rip).is_some_and(|copies| *copies >= ENOUGH_COPIES);
        let guest = region::discover(core, blocks, core.rip, extent, in_enough);
        if guest.is_empty() {
            return false;
        }
        // Decoding may have begun a new generation.
        self.agree(core);
        let full = self.exits.len() > MAX_EXITS || self.alone.len() > MAX_ALONE;
        if full || self.used + (64 << 10) > self.code.capacity() {
            self.statistics.flushes += 1;
            self.clear();
        }
        let base = self.used;
        let exits = self.exits.len();
        self.asm.begin(base);
        let class = core.user as usize % 3;
        let jumps = frame::JUMPS + class * size_of::<JumpTable>();
        let mut alone = Vec::new();
        let target = Target {
            asm: &mut self.asm,
            infos: &mut self.infos,
            snippets: &self.snippets,
            exits: &mut self.exits,
            alone: &mut alone,
            first_alone: self.alone.len() as u32,
            table: inline_tlb::table(core.user),
            avx: self.avx,
            chain: self.mechanisms.chain,
            jumps: self.mechanisms.inline_cache.then_some(jumps),
            leave: self.leave,
            windows: self.mechanisms.window && extent == Extent::Region,
            extent,
        };
        let translated = region::translate(&guest, target);
        let written = translated.as_ref().and_then(|_| {
            let code = self.asm.finish()?;
            self.code.write(base, code).then_some(code.len())
        });
        let interpreted: Option<Vec<_>> =
            alone.iter().map(|alone| blocks.decode_run(core, alone.rip, alone.count)).collect();
        let done = translated.zip(written).zip(interpreted);
        let region = Region {
            entry: done.as_ref().map(|_| base),
            generation: self.generation,
            blocks: guest.iter().map(|block| (block.rip, block.id)).collect(),
        };
        self.regions.insert((core.rip, core.user, extent), region);
        if extent == Extent::Region {
            for block in &guest {
                let copies = self.copies.entry(block.rip).or_default();
                *copies = copies.saturating_add(1);
            }
        }
        // Its blocks would each become a region at the next chance, for they were about as hot.
        guest.iter().for_each(|block| self.heat[heat_of(block.rip)] = 0);
        let Some(((translated, len), interpreted)) = done else {
            self.exits.truncate(exits);
            return false;
        };
        self.used = (base + len).next_multiple_of(16);
        self.alone.extend(interpreted);
        self.statistics.regions += 1;
        self.statistics.blocks += translated.blocks;
        self.statistics.guest_instructions += translated.instructions;
        self.statistics.guest_bytes += translated.bytes;
        self.statistics.host_bytes += len as u64;
        self.statistics.nanoseconds += start.0.elapsed().as_nanos() as u64;
        core.rings.translated(start.1);
        true
    }

    /// Makes a jump between regions direct.
    pub(super) fn link(&mut self, link: Link, host: *const u8) {
        let next = self.code.address(link.displacement as usize + 4) as i64;
        let Ok(distance) = i32::try_from(host as i64 - next) else { return };
        let generation = self.generation.to_le_bytes();
        if self.code.write(link.displacement as usize, &distance.to_le_bytes()) {
            let _linked = self.code.write(link.generation as usize, &generation);
            self.statistics.links += 1;
        }
    }

    /// The number of the current generation.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Where code at an offset is executed.
    pub(super) fn address(&self, offset: usize) -> *const u8 {
        self.code.address(offset)
    }

    /// Runs translated code until it leaves.
    ///
    /// # Safety
    /// `code` must be what [`Self::find`] or [`Self::address`] of a resumption returned since the last [`Self::agree`], and
    /// the guest's state must be in the frame.
    pub(super) unsafe fn enter(&mut self, code: *const u8) {
        // SAFETY: the code there was written by `clear` as a function of this type.
        let enter: Enter = unsafe { std::mem::transmute(self.code.address(self.enter)) };
        // SAFETY: the caller's promise; translated code keeps to the calling convention through its way out.
        unsafe { enter(self.frame.address(), code) };
    }
}
