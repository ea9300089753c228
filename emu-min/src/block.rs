//! Decoded blocks, found by RIP through a direct-mapped lookaside table and by guest-physical address behind it.
//!
//! A block ends at a branch, at an operation that changes how code is fetched or decoded, at the end of its page, or
//! after [`MAX_OPS`]. Only a block of a single instruction may cross into a second page.

use std::collections::HashMap;

use crate::code;
use crate::core::{Core, Mode};
use crate::decode::{decode_one, linear_rip};
use crate::op::{Op, R};
use crate::rights::USER;

/// Most instructions in a block.
pub(crate) const MAX_OPS: usize = 64;
const LOOKASIDE: usize = 4096;
/// Blocks kept before all are dropped: about 100 MB of operations at the very most.
const MAX_BLOCKS: usize = 1 << 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    gpa: u64,
    /// Operations hold absolute addresses, so a physical page mapped twice is decoded twice.
    rip: u64,
    mode: Mode,
}

struct Block {
    key: Key,
    ops: Box<[Op]>,
    /// Bytes of code in the first page, and the second page's address if the instruction crosses into it.
    len: u64,
    second: Option<u64>,
    /// How often it was entered, while code is translated.
    heat: u32,
    serial: u64,
}

/// Names a block as long as it lives: its place, and a number that no other block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockId {
    index: u32,
    serial: u64,
}

/// Where the code of a block is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) rip: u64,
    pub(crate) gpa: u64,
    /// Bytes in the first page.
    pub(crate) len: u64,
    /// The page into which its only instruction crosses.
    pub(crate) second: Option<u64>,
}

#[derive(Clone, Copy)]
struct Lookaside {
    rip: u64,
    generation: u32,
    mode: u16,
    block: u32,
}

const NO_BLOCK: u32 = u32::MAX;

/// The heat of a block that is not to be translated.
pub(crate) const NEVER: u32 = u32::MAX;

/// All decoded blocks.
pub(crate) struct BlockCache {
    blocks: Vec<Option<Block>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
    by_page: HashMap<u64, Vec<u32>>,
    lookaside: Box<[Lookaside; LOOKASIDE]>,
    pub(crate) decoded: u64,
    pub(crate) executed: u64,
    pub(crate) invalidated: u64,
}

impl BlockCache {
    pub(crate) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_page: HashMap::new(),
            lookaside: Box::new([Lookaside { rip: 0, generation: 0, mode: 0, block: NO_BLOCK }; LOOKASIDE]),
            decoded: 0,
            executed: 0,
            invalidated: 0,
        }
    }

    /// The operations of the block at RIP, decoding it if need be; raises the faults of its fetch.
    #[inline(always)]
    pub(crate) fn find(&mut self, core: &mut Core) -> R<&[Op]> {
        self.executed += 1;
        let index = self.index(core)?;
        match self.blocks.get(index as usize) {
            Some(Some(block)) => Ok(&block.ops),
            // The lookaside names live blocks only: dropping a block changes the generation.
            _ => Err(core.gp()),
        }
    }

    #[inline(always)]
    fn index(&mut self, core: &mut Core) -> R<u32> {
        let entry = self.lookaside[slot(core.rip)];
        if entry.rip == core.rip && entry.generation == core.code_generation && entry.mode == mode_tag(core) {
            return Ok(entry.block);
        }
        self.find_slow(core)
    }

    #[cold]
    #[inline(never)]
    fn find_slow(&mut self, core: &mut Core) -> R<u32> {
        let gpa = core.fetch_address(linear_rip(core, core.rip))?;
        let key = Key { gpa, rip: core.rip, mode: core.mode };
        let mut found = self.by_key.get(&key).copied();
        if let Some(index) = found
            && let Some(second) = self.blocks[index as usize].as_ref().and_then(|b| b.second)
            && core.fetch_address((linear_rip(core, core.rip) | 0xfff).wrapping_add(1))? != second
        {
            self.drop_block(core, index);
            found = None;
        }
        let index = match found {
            Some(index) => index,
            None => self.decode(core, key)?,
        };
        self.lookaside[slot(key.rip)] =
            Lookaside { rip: key.rip, generation: core.code_generation, mode: mode_tag(core), block: index };
        Ok(index)
    }

    fn decode(&mut self, core: &mut Core, key: Key) -> R<u32> {
        if self.by_key.len() >= MAX_BLOCKS {
            self.clear(core);
        }
        let start = core.rip;
        let in_page = 0x1000 - (key.gpa & 0xfff);
        let mut ops: Vec<Op> = Vec::with_capacity(8);
        let mut len = 0_u64;
        let mut accesses = 0;
        let mut second = None;
        let mut ended = false;
        while !ended && ops.len() < MAX_OPS && len < in_page {
            core.rip = start.wrapping_add(len);
            let decoded = decode_one(core, accesses);
            core.rip = start;
            let (mut op, ends) = match decoded {
                Ok(decoded) => decoded,
                Err(trap) if ops.is_empty() => return Err(trap),
                Err(_) => break, // the fault will be raised when execution gets there
            };
            if len + u64::from(op.len) > in_page {
                if !ops.is_empty() {
                    break;
                }
                second = Some(core.fetch_address((linear_rip(core, start) | 0xfff).wrapping_add(1))?);
            }
            op.n = ops.len() as u8;
            len += u64::from(op.len);
            accesses = op.accesses;
            ended = ends;
            ops.push(op);
        }
        if !ended {
            ops.push(Op::end_of_block(start.wrapping_add(len), ops.len() as u8, accesses));
        }
        self.decoded += 1;
        let len = len.min(in_page);
        let mut new_page = core.code.mark(key.gpa, len);
        if let Some(second) = second {
            new_page |= core.code.mark(second & !0xfff, 15);
        }
        if new_page {
            core.tlb.flush_writes();
        }
        let block = Block { key, ops: ops.into_boxed_slice(), len, second, heat: 0, serial: self.decoded };
        let index = self.free.pop().unwrap_or(self.blocks.len() as u32);
        match self.blocks.get_mut(index as usize) {
            Some(slot) => *slot = Some(block),
            None => self.blocks.push(Some(block)),
        }
        self.by_key.insert(key, index);
        self.by_page.entry(key.gpa >> 12).or_default().push(index);
        if let Some(second) = second {
            self.by_page.entry(second >> 12).or_default().push(index);
        }
        Ok(index)
    }

    /// The block at an address, if it is decoded; the page must be among the cached translations.
    pub(crate) fn decoded_at(&self, core: &Core, rip: u64) -> Option<BlockId> {
        let gpa = core.tlb.fetch(linear_rip(core, rip), core.user & USER)?;
        let index = *self.by_key.get(&Key { gpa, rip, mode: core.mode })?;
        let block = self.blocks.get(index as usize)?.as_ref()?;
        Some(BlockId { index, serial: block.serial })
    }

    fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id.index as usize)?.as_ref().filter(|block| block.serial == id.serial)
    }

    /// Where the code of a block is.
    pub(crate) fn extent(&self, id: BlockId) -> Option<Extent> {
        let block = self.block(id)?;
        Some(Extent { rip: block.key.rip, gpa: block.key.gpa, len: block.len, second: block.second })
    }

    /// Whether a block still is what is at its address.
    pub(crate) fn is_current(&self, core: &mut Core, rip: u64, id: BlockId) -> bool {
        let Some(extent) = self.extent(id) else { return false };
        let linear = linear_rip(core, rip);
        let here = core.fetch_address(linear) == Ok(extent.gpa);
        let second = extent.second.is_none_or(|page| core.fetch_address((linear | 0xfff).wrapping_add(1)) == Ok(page));
        here && second
    }

    /// Counts an execution of the block at RIP, decoding it if need be; raises the faults of its fetch.
    #[inline]
    pub(crate) fn warm(&mut self, core: &mut Core) -> R<u32> {
        let index = self.index(core)?;
        let Some(Some(block)) = self.blocks.get_mut(index as usize) else { return Ok(0) };
        if block.heat != NEVER {
            block.heat += 1;
        }
        Ok(block.heat)
    }

    /// Says that the block at RIP is not to be translated.
    pub(crate) fn never_translate(&mut self, core: &Core) {
        let id = self.decoded_at(core, core.rip);
        if let Some(Some(block)) = id.and_then(|id| self.blocks.get_mut(id.index as usize)) {
            block.heat = NEVER;
        }
    }

    /// Drops the blocks that hold code written since the last call.
    #[cold]
    #[inline(never)]
    pub(crate) fn drop_written(&mut self, core: &mut Core) {
        for (gpa, len) in std::mem::take(&mut core.code.written) {
            let page = gpa >> 12;
            let hit = code::mask(gpa, len);
            let on_page = self.by_page.get(&page).cloned().unwrap_or_default();
            for index in on_page {
                if self.granules(index, page) & hit != 0 {
                    self.drop_block(core, index);
                    self.invalidated += 1;
                }
            }
            let left = self
                .by_page
                .get(&page)
                .map_or(0, |blocks| blocks.iter().fold(0, |granules, index| granules | self.granules(*index, page)));
            core.code.set_page(page, left);
        }
    }

    /// The granules of `page` that a block covers.
    fn granules(&self, index: u32, page: u64) -> u64 {
        let Some(Some(block)) = self.blocks.get(index as usize) else { return 0 };
        let first = if block.key.gpa >> 12 == page { code::mask(block.key.gpa, block.len) } else { 0 };
        let second = block.second.filter(|gpa| gpa >> 12 == page).map_or(0, |gpa| code::mask(gpa & !0xfff, 15));
        first | second
    }

    fn drop_block(&mut self, core: &mut Core, index: u32) {
        let Some(block) = self.blocks.get_mut(index as usize).and_then(Option::take) else { return };
        self.by_key.remove(&block.key);
        for page in [Some(block.key.gpa), block.second].into_iter().flatten() {
            if let Some(list) = self.by_page.get_mut(&(page >> 12)) {
                list.retain(|other| *other != index);
                if list.is_empty() {
                    self.by_page.remove(&(page >> 12));
                }
            }
        }
        self.free.push(index);
        core.code_generation = core.code_generation.wrapping_add(1);
    }

    /// Drops all blocks.
    pub(crate) fn clear(&mut self, core: &mut Core) {
        self.blocks.clear();
        self.free.clear();
        self.by_key.clear();
        self.by_page.clear();
        core.code.clear();
        // The lookaside names its generation, so that this alone empties it.
        core.code_generation = core.code_generation.wrapping_add(1);
    }
}

#[inline(always)]
fn slot(rip: u64) -> usize {
    (rip ^ (rip >> 12)) as usize & (LOOKASIDE - 1)
}

/// Mode and privilege: code that a user may fetch is checked apart from code that the supervisor may.
#[inline(always)]
fn mode_tag(core: &Core) -> u16 {
    core.mode as u16 | (core.user as u16) << 8
}
