//! Decoded blocks, found by RIP through the table of targets (see [`crate::link`]) and by guest-physical address behind
//! it.
//!
//! A block ends at a branch, at an operation that changes how code is fetched or decoded, at the end of its page, or
//! after [`MAX_OPS`]. Only a block of a single instruction may cross into a second page.

use std::collections::HashMap;

use crate::code;
use crate::core::{Core, Mode};
use crate::decode::{decode_one, linear_rip};
use crate::fast;
use crate::link::{Links, LinksRef};
use crate::mechanisms::Mechanisms;
use crate::op::{Op, OpRef, R};
use crate::rights::USER;

/// Most instructions in a block.
pub(crate) const MAX_OPS: usize = 64;
/// Blocks and operations kept before all are dropped: some 25 MB.
const MAX_BLOCKS: usize = 1 << 15;
const MAX_OPERATIONS: usize = 200_000;

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
    /// What the last operation refers to, if it does.
    _links: Option<Box<Links>>,
    /// Bytes of code in the first page, and the second page's address if the instruction crosses into it.
    len: u64,
    second: Option<u64>,
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

/// All decoded blocks.
pub(crate) struct BlockCache {
    blocks: Vec<Option<Block>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
    by_page: HashMap<u64, Vec<u32>>,
    /// Operations of all blocks.
    operations: usize,
    mechanisms: Mechanisms,
    /// The operations of the block that is being decoded.
    scratch: Vec<Op>,
    pub(crate) decoded: u64,
    /// Blocks that the run loop looked up.
    pub(crate) found: u64,
    pub(crate) invalidated: u64,
}

impl BlockCache {
    pub(crate) fn new(mechanisms: Mechanisms) -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_page: HashMap::new(),
            operations: 0,
            mechanisms,
            scratch: Vec::new(),
            decoded: 0,
            found: 0,
            invalidated: 0,
        }
    }

    /// The first operation of the block at RIP, decoding it if need be; raises the faults of its fetch.
    #[inline(always)]
    pub(crate) fn find(&mut self, core: &mut Core) -> R<OpRef<'_>> {
        self.found += 1;
        match core.targets.find(core.rip, core.context) {
            // SAFETY: the table names live blocks only, for dropping a block changes the context; and none is dropped
            // while `self` is borrowed.
            Some(first) => Ok(unsafe { OpRef::from_ptr(first) }),
            None => self.find_slow(core),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_slow(&mut self, core: &mut Core) -> R<OpRef<'_>> {
        let gpa = core.fetch_address(linear_rip(core, core.rip))?;
        let key = Key { gpa, rip: core.rip, mode: core.mode };
        let mut found = self.by_key.get(&key).copied();
        if let Some(index) = found
            && let Some(second) = self.blocks.get(index as usize).and_then(|block| block.as_ref()?.second)
            && core.fetch_address((linear_rip(core, core.rip) | 0xfff).wrapping_add(1))? != second
        {
            self.drop_block(core, index);
            found = None;
        }
        let index = match found {
            Some(index) => index,
            None => self.decode(core, key)?,
        };
        let Some(Some(block)) = self.blocks.get(index as usize) else { return Err(core.gp()) };
        let first = OpRef::first(&block.ops);
        core.targets.insert(key.rip, core.context, first);
        Ok(first)
    }

    fn is_full(&self) -> bool {
        self.by_key.len() >= MAX_BLOCKS || self.operations >= MAX_OPERATIONS
    }

    fn decode(&mut self, core: &mut Core, key: Key) -> R<u32> {
        if self.is_full() {
            self.clear(core);
        }
        let start = core.rip;
        let in_page = 0x1000 - (key.gpa & 0xfff);
        let mut ops = std::mem::take(&mut self.scratch);
        ops.clear();
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
                Err(trap) if ops.is_empty() => {
                    self.scratch = ops;
                    return Err(trap);
                }
                Err(_) => break, // the fault will be raised when execution gets there
            };
            if len + u64::from(op.len) > in_page {
                if !ops.is_empty() {
                    break;
                }
                match core.fetch_address((linear_rip(core, start) | 0xfff).wrapping_add(1)) {
                    Ok(gpa) => second = Some(gpa),
                    Err(trap) => {
                        self.scratch = ops;
                        return Err(trap);
                    }
                }
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
            core.flushes.code += 1;
            core.tlb.flush_writes();
        }
        let links = (self.mechanisms.link && ops.last().is_some_and(fast::leads_on)).then(Links::new);
        if let (Some(links), Some(last)) = (&links, ops.last_mut()) {
            // SAFETY: the block owns the operations and the links, and drops them together.
            last.links = unsafe { LinksRef::new(links) };
        }
        fast::choose(&mut ops, core.mode, self.mechanisms);
        let block = Block { key, ops: Box::from(ops.as_slice()), _links: links, len, second, serial: self.decoded };
        self.scratch = ops;
        self.operations += block.ops.len();
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

    /// Decodes the block at `rip`, which is not where the guest is, if its code can be fetched and no block need be dropped.
    pub(crate) fn decode_ahead(&mut self, core: &mut Core, rip: u64) -> Option<BlockId> {
        if self.is_full() {
            return None;
        }
        let here = std::mem::replace(&mut core.rip, rip);
        let found = self.find_slow(core).is_ok();
        core.rip = here;
        if found { self.decoded_at(core, rip) } else { None }
    }

    /// Decodes `count` instructions from `rip` on, as a list of its own that runs into its end.
    pub(crate) fn decode_run(&self, core: &mut Core, rip: u64, count: u32) -> Option<Box<[Op]>> {
        let here = core.rip;
        core.rip = rip;
        let mut ops = Vec::new();
        let mut accesses = 0;
        for n in 0..count {
            let Ok((mut op, _)) = decode_one(core, accesses) else { break };
            op.n = n as u8;
            accesses = op.accesses;
            core.rip = op.next_rip();
            ops.push(op);
        }
        ops.push(Op::end_of_block(core.rip, count as u8, accesses));
        core.rip = here;
        if ops.len() <= count as usize {
            return None;
        }
        fast::choose(&mut ops, core.mode, self.mechanisms);
        Some(Box::from(ops))
    }

    /// Where the code of a block is, while it lives.
    pub(crate) fn extent(&self, id: BlockId) -> Option<Extent> {
        let block = self.blocks.get(id.index as usize)?.as_ref().filter(|block| block.serial == id.serial)?;
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

    /// Drops the blocks that hold code written since the last call.
    #[cold]
    #[inline(never)]
    pub(crate) fn drop_written(&mut self, core: &mut Core) {
        core.flushes.written += 1;
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
        self.operations -= block.ops.len();
        for page in [Some(block.key.gpa), block.second].into_iter().flatten() {
            if let Some(list) = self.by_page.get_mut(&(page >> 12)) {
                list.retain(|other| *other != index);
                if list.is_empty() {
                    self.by_page.remove(&(page >> 12));
                }
            }
        }
        self.free.push(index);
        core.forget_lookups();
    }

    /// Drops all blocks.
    pub(crate) fn clear(&mut self, core: &mut Core) {
        self.blocks.clear();
        self.free.clear();
        self.by_key.clear();
        self.by_page.clear();
        self.operations = 0;
        core.code.clear();
        // Links and the table of targets name their context, so that this alone empties them.
        core.forget_lookups();
    }
}
