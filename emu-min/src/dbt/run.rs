//! The run loop with translated code: hot blocks are translated, the rest is interpreted.

use super::inline_tlb;
use super::lowering::{Link, Reason};
use super::region::Extent;
use super::translator::Translator;
use crate::block::BlockCache;
use crate::core::{Core, Mode};
use crate::cpu::Cpu;
use crate::exit;
use crate::flags::{DF, Flags};
use crate::op::{Flow, OpRef};
use crate::paging::canonical;
use crate::rights::USER_ALIGNED;

/// What to do behind translated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// See whether there is code for where the guest is now.
    LookAgain,
    /// Interpret the block at RIP.
    Interpret,
    /// The same, but translate it first with accesses apart.
    TakeApart,
    /// Serve what an instruction raised.
    Serve,
}

/// What an exit of translated code leads to.
enum Next {
    /// More of it.
    Run(*const u8),
    /// Instructions that the interpreter executes, by number, and more code, by its place, behind them.
    Alone {
        number: u32,
        resume: u32,
    },
    Leave(Then),
}

impl Cpu {
    /// Runs the guest until the machine around it must act.
    pub(crate) fn run_translated(&mut self) -> exit::Exit {
        loop {
            if self.core.icount >= self.core.deadline
                && let Some(exit) = self.attend()
            {
                return exit;
            }
            let then = if may_translate(&self.core) { self.run_hot() } else { Then::Interpret };
            let flow = match then {
                Then::LookAgain => Flow::Next,
                Then::Interpret => self.run_block(),
                Then::TakeApart => {
                    self.take_apart();
                    self.run_block()
                }
                Then::Serve => Flow::Trap,
            };
            if flow == Flow::Trap
                && let Some(exit) = self.serve_trap()
            {
                return exit;
            }
        }
    }

    /// Runs translated code at RIP, if there is some or can be.
    fn run_hot(&mut self) -> Then {
        let Some(translator) = self.translator.as_deref_mut() else { return Then::Interpret };
        let core = &mut *self.core;
        translator.agree(core);
        let host = match translator.known(core) {
            Some(host) => Some(host),
            None => hot_code(translator, core, &mut self.blocks),
        };
        let Some(mut host) = host else { return Then::Interpret };
        load(translator, core);
        translator.statistics.entries += 1;
        loop {
            let before = core.icount;
            // SAFETY: `host` was found since `agree`, and an exit behind which that does not hold is left for good; `load`
            // put the state into the frame.
            unsafe { translator.enter(host) };
            let next = leave(translator, core, &self.blocks);
            translator.statistics.instructions += core.icount.wrapping_sub(before);
            match next {
                Next::Run(code) => host = code,
                Next::Leave(then) => {
                    store(translator, core);
                    return then;
                }
                Next::Alone { number, resume } => {
                    store(translator, core);
                    if let Err(then) = interpret(translator, core, &mut self.blocks, number) {
                        return then;
                    }
                    load(translator, core);
                    host = translator.address(resume as usize);
                }
            }
        }
    }

    /// Translates the block at RIP for accesses that lie in several pages, though they are near to one another.
    fn take_apart(&mut self) {
        let Some(translator) = self.translator.as_deref_mut() else { return };
        // Decoding it may begin a new generation.
        if self.blocks.find(&mut self.core).is_ok() {
            translator.agree(&self.core);
            if !translator.is_known(&self.core, Extent::Apart) {
                translator.translate(&mut self.core, &mut self.blocks, Extent::Apart);
            }
        }
    }
}

/// Lets the interpreter execute instructions amid translated code; whether that code goes on behind them.
fn interpret(translator: &mut Translator, core: &mut Core, blocks: &mut BlockCache, number: u32) -> Result<(), Then> {
    let (generation, rights) = (translator.generation(), core.user);
    let Some(run) = translator.alone.get(number as usize) else { return Err(Then::Interpret) };
    let behind = run.last().map(|end| end.rip);
    let first = OpRef::first(run);
    let flow = (first.get().handler)(core, first);
    if flow == Flow::Trap {
        return Err(Then::Serve);
    }
    if !core.code.written.is_empty() {
        blocks.drop_written(core);
    }
    // It may have changed anything: where the guest is, its rights, its state, its translations, the code itself.
    let plain = may_translate(core) && core.icount < core.deadline && behind == Some(core.rip);
    translator.agree(core);
    let holds = core.user == rights && translator.generation() == generation;
    if plain && holds { Ok(()) } else { Err(Then::LookAgain) }
}

/// Whether the CPU is in a state that translated code is made for.
fn may_translate(core: &Core) -> bool {
    core.mode == Mode::Bits64 && core.sse.plain && core.sse.enabled && core.user != USER_ALIGNED
}

/// Host code for the block at RIP, if it is hot and can be translated.
fn hot_code(translator: &mut Translator, core: &mut Core, blocks: &mut BlockCache) -> Option<*const u8> {
    if !translator.warm(core.rip) {
        return None;
    }
    // It must be decoded; the interpreter will raise the faults of its fetch.
    blocks.find(core).ok()?;
    // Decoding may have begun a new generation.
    translator.agree(core);
    match translator.find(core, blocks) {
        None if !translator.is_known(core, Extent::Region) && translator.translate(core, blocks, Extent::Region) => {
            translator.find(core, blocks)
        }
        found => found,
    }
}

/// Puts the guest's state into the frame.
fn load(translator: &mut Translator, core: &Core) {
    let frame = translator.frame.get();
    frame.gprs.copy_from_slice(&core.r[..16]);
    frame.xmm = core.sse.xmm;
    frame.ymm_high = core.sse.ymm_high;
    frame.flags = pack(core.flags.to_rflags());
    frame.direction = core.system_flags & DF;
    frame.fs_base = core.seg[crate::core::FS].base;
    frame.gs_base = core.seg[crate::core::GS].base;
    frame.left = left(core);
}

/// Takes the guest's state out of the frame.
fn store(translator: &mut Translator, core: &mut Core) {
    let frame = translator.frame.get();
    core.r[..16].copy_from_slice(&frame.gprs);
    core.sse.xmm = frame.xmm;
    core.sse.ymm_high = frame.ymm_high;
    core.flags = Flags::from_rflags(unpack(frame.flags));
}

fn left(core: &Core) -> i64 {
    core.deadline as i64 - core.icount as i64
}

/// Flags as LAHF and SETO leave them in AX.
fn pack(rflags: u64) -> u64 {
    (rflags & 0xd5 | 2) << 8 | rflags >> 11 & 1
}

fn unpack(flags: u64) -> u64 {
    flags >> 8 & 0xd5 | (flags & 1) << 11
}

/// Acts on the exit that was taken: sets RIP and the count of instructions.
fn leave(translator: &mut Translator, core: &mut Core, blocks: &BlockCache) -> Next {
    let frame = translator.frame.get();
    let (number, address) = (frame.exit as u32, frame.address);
    let counted = left(core) - frame.left;
    let Some(&exit) = translator.exits.get(number as usize) else { return Next::Leave(Then::Interpret) };
    core.icount = core.icount.wrapping_add_signed(counted + i64::from(exit.adjust));
    core.rip = exit.rip;
    match exit.reason {
        Reason::Step => {
            translator.statistics.steps += 1;
            Next::Leave(Then::Interpret)
        }
        Reason::Alone { number, resume } => {
            translator.statistics.steps += 1;
            Next::Alone { number, resume }
        }
        Reason::Miss { access, alignment, resume, .. } => {
            translator.statistics.tlb_misses += 1;
            let linear = address;
            let size = u64::from(access.size);
            let misaligned = linear & u64::from(alignment - 1) != 0;
            let page = if misaligned { None } else { core.page_for_code(linear, size, access.write) };
            let Some(page) = page else { return Next::Leave(Then::Interpret) };
            // The walk may have dropped translations or changed code.
            if translator.tlb_version != core.tlb.version() || !core.code.written.is_empty() {
                return Next::Leave(Then::Interpret);
            }
            let frame = translator.frame.get();
            let tables = if access.write { &mut frame.writes } else { &mut frame.reads };
            tables[inline_tlb::table(core.user)].insert(linear, page);
            frame.left = left(core) + i64::from(exit.adjust);
            Next::Run(translator.address(resume as usize))
        }
        Reason::Indirect { undo } if !canonical(address) => {
            // The interpreter raises the fault of the branch itself.
            let frame = translator.frame.get();
            core.icount -= 1;
            let rsp = &mut frame.gprs[crate::core::RSP];
            *rsp = rsp.wrapping_add_signed(undo.into());
            Next::Leave(Then::Interpret)
        }
        Reason::Indirect { .. } => {
            translator.statistics.indirect_misses += 1;
            core.rip = address;
            go_on(translator, core, blocks, None)
        }
        Reason::Goto => go_on(translator, core, blocks, exit.link),
        Reason::Crossed => match translator.look_up(core, blocks, Extent::Apart) {
            Some(host) => run(translator, core, host, exit.link),
            None => Next::Leave(Then::TakeApart),
        },
    }
}

/// Goes on with the code for RIP, which a direct jump is to lead to.
fn go_on(translator: &mut Translator, core: &mut Core, blocks: &BlockCache, link: Option<Link>) -> Next {
    match translator.find(core, blocks) {
        Some(host) => run(translator, core, host, link),
        None => Next::Leave(Then::LookAgain),
    }
}

/// Runs code that was found for RIP, to which a direct jump is to lead.
fn run(translator: &mut Translator, core: &Core, host: *const u8, link: Option<Link>) -> Next {
    if let Some(link) = link {
        translator.link(link, host);
    }
    if core.icount >= core.deadline {
        return Next::Leave(Then::LookAgain);
    }
    translator.frame.get().left = left(core);
    Next::Run(host)
}
