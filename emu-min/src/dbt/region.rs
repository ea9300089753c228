//! What is translated as one: the blocks that hot code runs through, as far as they are decoded and direct branches lead.

use iced_x86::{Decoder, FlowControl, Instruction, InstructionInfoFactory, OpKind};

use super::asm::{Asm, Label};
use super::facts::{memory_operand, never_leaves, written_registers};
use super::lowering::{Alone, Emit, Exit, Flags, Lowering};
use super::recipe::{Effect, Recipe, STATUS, effect};
use super::snippets::Snippets;
use super::windows::{Part, Windows};
use crate::block::{BlockCache, BlockId};
use crate::core::Core;
use crate::mov;

/// Most blocks and instructions of a region.
const MAX_BLOCKS: usize = 48;
const MAX_INSTRUCTIONS: usize = 512;
/// Blocks of a loop that a region holds in any case.
const SHORT_LOOP: usize = 12;

/// A decoded block of the guest.
pub(super) struct GuestBlock {
    pub(super) rip: u64,
    pub(super) id: BlockId,
    pub(super) instructions: Vec<Instruction>,
}

impl GuestBlock {
    /// Address behind the last instruction.
    fn end(&self) -> u64 {
        self.instructions.last().map_or(self.rip, Instruction::next_ip)
    }

    /// Where it goes that is known, the likelier next block last.
    fn successors(&self) -> Vec<u64> {
        let Some(last) = self.instructions.last() else { return Vec::new() };
        let relative = last.op0_kind() == OpKind::NearBranch64;
        match last.flow_control() {
            FlowControl::Next => vec![self.end()],
            FlowControl::UnconditionalBranch if relative => vec![last.near_branch_target()],
            FlowControl::ConditionalBranch if relative => vec![last.near_branch_target(), self.end()],
            _ => Vec::new(),
        }
    }
}

/// How much is translated as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Extent {
    Region,
    /// One block, whose accesses look their pages up one by one: for when a window of accesses does not lie in one page.
    Apart,
}

/// The blocks that are reached from the one at `rip`, that one first. What was not executed yet is decoded if it is in the
/// same page: else the loops around a hot loop would each become a region, one after the other, that holds them all.
///
/// Blocks that are `in_enough` regions already are left out, for code with many hot places would be translated once for
/// each of them; but not those of a short loop through the first block. The others are regions of their own once hot.
pub(super) fn discover(
    core: &mut Core,
    blocks: &mut BlockCache,
    head: u64,
    extent: Extent,
    in_enough: impl Fn(u64) -> bool,
) -> Vec<GuestBlock> {
    let most = if extent == Extent::Region { MAX_BLOCKS } else { 1 };
    let mut found: Vec<GuestBlock> = Vec::new();
    let mut instructions = 0;
    let mut waiting = vec![head];
    while let Some(rip) = waiting.pop() {
        if found.len() >= most || found.iter().any(|block| block.rip == rip) {
            continue;
        }
        // Far blocks of that kind are not even looked at.
        if found.len() > SHORT_LOOP && in_enough(rip) {
            continue;
        }
        let id = match blocks.decoded_at(core, rip) {
            None if rip >> 12 == head >> 12 => blocks.decode_ahead(core, rip),
            id => id,
        };
        let Some(block) = id.and_then(|id| read(core, blocks, id)) else { continue };
        instructions += block.instructions.len();
        if instructions > MAX_INSTRUCTIONS && !found.is_empty() {
            break;
        }
        waiting.extend(block.successors());
        found.push(block);
    }
    thin_out(&mut found, in_enough);
    found
}

/// Drops blocks that are in enough regions and not in a short loop through the first block.
fn thin_out(region: &mut Vec<GuestBlock>, in_enough: impl Fn(u64) -> bool) {
    let successors = successors(region);
    let from_first = distances(&successors, 0);
    let mut predecessors = vec![Vec::new(); region.len()];
    for (block, next) in successors.iter().enumerate() {
        next.iter().for_each(|&next| predecessors[next].push(block));
    }
    let to_first = distances(&predecessors, 0);
    let mut number = 0;
    region.retain(|block| {
        let around = from_first[number].saturating_add(to_first[number]);
        number += 1;
        around <= SHORT_LOOP || !in_enough(block.rip)
    });
}

/// Numbers of the blocks that each block may go to.
fn successors(region: &[GuestBlock]) -> Vec<Vec<usize>> {
    let place = |rip: u64| region.iter().position(|other| other.rip == rip);
    region.iter().map(|block| block.successors().into_iter().filter_map(place).collect()).collect()
}

/// Fewest edges from a node to each.
fn distances(edges: &[Vec<usize>], from: usize) -> Vec<usize> {
    let mut distances = vec![usize::MAX; edges.len()];
    let Some(first) = distances.get_mut(from) else { return distances };
    *first = 0;
    let mut waiting = std::collections::VecDeque::from([from]);
    while let Some(node) = waiting.pop_front() {
        for &next in &edges[node] {
            if distances[next] == usize::MAX {
                distances[next] = distances[node] + 1;
                waiting.push_back(next);
            }
        }
    }
    distances
}

/// Decodes the instructions of a block again.
fn read(core: &Core, blocks: &BlockCache, id: BlockId) -> Option<GuestBlock> {
    let extent = blocks.extent(id)?;
    let mut bytes = vec![0; extent.len as usize];
    if !core.ram.read(extent.gpa, &mut bytes) {
        return None;
    }
    if let Some(second) = extent.second {
        let mut more = [0; 15];
        if !core.ram.read(second, &mut more) {
            return None;
        }
        bytes.extend(more);
    }
    let mut instructions = Vec::new();
    let mut decoder = Decoder::with_ip(64, &bytes, extent.rip, core.decoder_options);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid()
            || !core.features.allow(instruction.code()) && !mov::is_reserved_nop(instruction.mnemonic())
        {
            break;
        }
        let last = extent.second.is_some() || instruction.flow_control() != FlowControl::Next;
        instructions.push(instruction);
        if last {
            break;
        }
    }
    (!instructions.is_empty()).then_some(GuestBlock { rip: extent.rip, id, instructions })
}

/// How the flags are known at the end of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    /// Not looked at yet.
    Unseen,
    /// Nothing but their value.
    Value,
    By(Recipe),
}

impl Known {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unseen, known) | (known, Self::Unseen) => known,
            (a, b) if a == b => a,
            _ => Self::Value,
        }
    }

    fn recipe(self) -> Option<Recipe> {
        match self {
            Self::By(recipe) => Some(recipe),
            _ => None,
        }
    }

    /// What remains when general registers have been changed.
    fn without(self, written: u16) -> Self {
        if self.recipe().is_some_and(|recipe| recipe.registers() & written != 0) { Self::Value } else { self }
    }
}

/// What a block does to what is known of the flags.
struct Transfer {
    /// What is known behind it, if that does not depend on what is known before.
    set: Option<Known>,
    /// General registers that it changes, a bit each, while the flags are those from before.
    written: u16,
}

impl Transfer {
    fn of(block: &GuestBlock, infos: &mut InstructionInfoFactory) -> Self {
        let mut transfer = Self { set: None, written: 0 };
        for instruction in &block.instructions {
            match effect(instruction) {
                Effect::Writes => transfer.set = Some(Recipe::of(instruction).map_or(Known::Value, Known::By)),
                Effect::Merges => transfer.set = Some(Known::Value),
                Effect::Keeps => {
                    let written = written_registers(instruction, infos);
                    match &mut transfer.set {
                        Some(known) => *known = known.without(written),
                        None => transfer.written |= written,
                    }
                }
            }
        }
        transfer
    }

    fn apply(&self, before: Known) -> Known {
        self.set.unwrap_or_else(|| before.without(self.written))
    }
}

/// What is known where the region itself enters each block.
fn known_inside(region: &[GuestBlock], infos: &mut InstructionInfoFactory) -> Vec<Known> {
    let transfers: Vec<Transfer> = region.iter().map(|block| Transfer::of(block, infos)).collect();
    let successors = successors(region);
    let mut before = vec![Known::Unseen; region.len()];
    for _ in 0..=region.len() {
        let mut after = vec![Known::Unseen; region.len()];
        for (i, transfer) in transfers.iter().enumerate() {
            // The first block is entered from outside too, in a copy of its own.
            let outside = (i == 0).then(|| transfer.apply(Known::Value));
            let inside = (before[i] != Known::Unseen).then(|| transfer.apply(before[i]));
            for &at in &successors[i] {
                after[at] = outside.into_iter().chain(inside).fold(after[at], Known::meet);
            }
        }
        if after == before {
            break;
        }
        before = after;
    }
    before
}

/// A translated region.
pub(super) struct Translated {
    /// Guest instructions in it.
    pub(super) instructions: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Blocks of it, copies counted.
    pub(super) blocks: u64,
}

/// What a translation is made for.
pub(super) struct Target<'a> {
    pub(super) asm: &'a mut Asm,
    pub(super) infos: &'a mut InstructionInfoFactory,
    pub(super) snippets: &'a Snippets,
    pub(super) exits: &'a mut Vec<Exit>,
    pub(super) alone: &'a mut Vec<Alone>,
    pub(super) first_alone: u32,
    pub(super) table: usize,
    pub(super) avx: bool,
    pub(super) chain: bool,
    pub(super) jumps: Option<usize>,
    pub(super) leave: usize,
    /// Accesses near one another share a look into the TLB.
    pub(super) windows: bool,
    pub(super) extent: Extent,
}

/// Translates a region; `None` if its first instruction cannot be.
pub(super) fn translate(region: &[GuestBlock], target: Target<'_>) -> Option<Translated> {
    let known = match target.extent {
        Extent::Region => known_inside(region, target.infos),
        Extent::Apart => vec![Known::Unseen; region.len()],
    };
    let entered: Vec<bool> = known.iter().map(|known| *known != Known::Unseen).collect();
    let inside: std::collections::HashMap<u64, Label> = region
        .iter()
        .zip(&entered)
        .filter(|(_, entered)| **entered)
        .map(|(block, _)| (block.rip, target.asm.label()))
        .collect();
    let mut lowering = Lowering {
        asm: target.asm,
        infos: target.infos,
        flags: Flags::IN_FRAME,
        stubs: Vec::new(),
        table: target.table,
        avx: target.avx,
        snippets: target.snippets,
        chain: target.chain,
        inside,
        exits: target.exits,
        alone: target.alone,
        first_alone: target.first_alone,
        leave: target.leave,
        jumps: target.jumps,
        rip: 0,
        executed: 0,
        accounted: None,
        block_stubs: 0,
        windows: Windows::default(),
        ready: 0,
        number: 0,
    };
    let first = region.first()?;
    // The copy of the first block for entries from outside, then the blocks as the region enters them.
    let copies = std::iter::once((first, None)).chain(
        region
            .iter()
            .zip(&known)
            .filter(|(_, known)| **known != Known::Unseen)
            .map(|(block, known)| (block, Some(*known))),
    );
    let order: Vec<(&GuestBlock, Option<Known>)> = copies.collect();
    let (mut instructions, mut bytes) = (0, 0);
    for (i, (block, known)) in order.iter().enumerate() {
        let following = order.get(i + 1).map(|(block, _)| block.rip);
        if let Some(label) = lowering.inside.get(&block.rip).copied().filter(|_| known.is_some()) {
            lowering.asm.bind(label);
        }
        let flags = known.map_or(Flags::IN_FRAME, |known| Flags::in_host(known.recipe()));
        let (done, done_bytes) = lowering.block(block, flags, following, target.windows)?;
        if i == 0 && done == 0 {
            return None;
        }
        instructions += u64::from(done);
        bytes += done_bytes;
    }
    lowering.emit_stubs().ok()?;
    Some(Translated { instructions, bytes, blocks: order.len() as u64 })
}

impl Lowering<'_> {
    /// Translates a block; returns how many of its instructions, and how many bytes these have.
    ///
    /// Those that are not translated cut it into pieces: the interpreter executes them, and the next piece is entered
    /// behind them.
    fn block(&mut self, block: &GuestBlock, flags: Flags, following: Option<u64>, windows: bool) -> Option<(u32, u64)> {
        let mut rest = block.instructions.as_slice();
        let mut flags = flags;
        let (mut done, mut bytes) = (0, 0);
        let mut behind_alone = false;
        loop {
            let start = self.mark();
            let cut = self.piece(rest, flags, following, windows);
            done += self.executed;
            bytes += rest.iter().take(self.executed as usize).map(|i| i.len() as u64).sum::<u64>();
            let Some(at) = cut else { break };
            let instruction = rest.get(at)?;
            if instruction.flow_control() != FlowControl::Next {
                self.step(instruction.ip()).ok()?;
                self.end_block(self.executed);
                return Some((done, bytes));
            }
            if at == 0 && behind_alone {
                self.go_back(start);
                self.one_more_alone()?;
            } else {
                self.leave_alone(instruction.ip());
                self.end_block(self.executed);
            }
            behind_alone = true;
            rest = rest.get(at + 1..)?;
            flags = Flags::IN_FRAME;
        }
        if block.instructions.last().is_some_and(|last| last.flow_control() == FlowControl::Next) {
            self.rip = block.end();
            self.run_on(block.end(), following).ok()?;
        }
        self.end_block(self.executed);
        Some((done, bytes))
    }

    /// Translates instructions of a block as far as it goes; the number of the one that cannot be translated, if there is
    /// one.
    fn piece(
        &mut self,
        instructions: &[Instruction],
        flags: Flags,
        following: Option<u64>,
        windows: bool,
    ) -> Option<usize> {
        self.windows = if windows { Windows::of(instructions, self.infos) } else { Windows::default() };
        let start = self.mark();
        self.begin_block(flags);
        match self.instructions(instructions, following, true) {
            // Flags that were taken for dead are seen where the block is left before its end.
            Some(Unfinished { dropped_flags: true, .. }) => {
                self.go_back(start);
                self.begin_block(flags);
                self.instructions(instructions, following, false)
            }
            done => done,
        }
        .map(|unfinished| unfinished.at)
    }

    fn instructions(&mut self, block: &[Instruction], following: Option<u64>, drop: bool) -> Option<Unfinished> {
        let mut dropped_flags = false;
        for (at, instruction) in block.iter().enumerate() {
            self.rip = instruction.ip();
            let before = self.mark();
            self.number = at;
            let fate = match self.fate(block, at + 1) {
                Fate::Dead if !drop => Fate::Spoiled,
                fate => fate,
            };
            dropped_flags |= fate == Fate::Dead;
            if self.one(instruction, fate, following, at + 1 == block.len()).is_err() {
                self.go_back(before);
                return Some(Unfinished { at, dropped_flags });
            }
            self.executed += 1;
        }
        None
    }

    /// What becomes of the flags before the instruction of number `from`.
    fn fate(&self, instructions: &[Instruction], from: usize) -> Fate {
        for (i, instruction) in instructions.iter().enumerate().skip(from) {
            let touches_memory = memory_operand(instruction).is_some();
            // An access whose page was looked up before does not leave.
            let leaves = touches_memory && self.windows.place(i, Part::Operand).is_none_or(|place| place.leads);
            let computes = instruction.flow_control() == FlowControl::Next && !instruction.is_stack_instruction();
            if instruction.rflags_read() & STATUS != 0 {
                return if self.accounted.is_some() { Fate::Seen } else { Fate::Spoiled };
            }
            if !computes || leaves || !never_leaves(instruction) {
                return Fate::Spoiled;
            }
            match effect(instruction) {
                Effect::Writes => return Fate::Dead,
                Effect::Merges => return Fate::Seen,
                Effect::Keeps => {}
            }
        }
        Fate::Spoiled
    }

    fn one(&mut self, instruction: &Instruction, fate: Fate, following: Option<u64>, last: bool) -> Emit {
        if instruction.flow_control() != FlowControl::Next {
            return self.branch(instruction, following);
        }
        if self.stack(instruction)? || self.string(instruction, last)? {
            Ok(())
        } else {
            self.compute(instruction, fate)
        }
    }
}

/// What becomes of flags that an instruction leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are overwritten before anything can see them.
    Dead,
    /// They are used, or changed in part.
    Seen,
    /// The host's copy is spoiled before that.
    Spoiled,
}

/// A block could not be translated to its end.
struct Unfinished {
    /// The number of the instruction that could not.
    at: usize,
    /// Flags of instructions before it were not computed.
    dropped_flags: bool,
}
