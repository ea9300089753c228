//! The processor's registers in the layout that execution wants, and how they map to [`State`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock::Clock;
use crate::code::CodeMap;
use crate::counters::Flushes;
use crate::debug::Debug;
use crate::exit::Exit;
use crate::features::Features;
use crate::flags::{self, Flags};
use crate::host_code::HostCode;
use crate::link::{Open, Targets};
use crate::mechanisms::{Mechanisms, Mmu};
use crate::mmio::MmioLog;
use crate::model::Model;
use crate::op::{SEG_BASES, Trap};
use crate::ram::GuestRam;
use crate::rings::RingAccount;
use crate::simd::{self, Simd};
use crate::sse::Sse;
use crate::state::{Msrs, Segment, State, Table};
use crate::tlb::Tlb;
use crate::x87::X87;

/// Index of a segment register in [`Core::seg`], in the order of the encoding.
pub(crate) const ES: usize = 0;
pub(crate) const CS: usize = 1;
pub(crate) const SS: usize = 2;
pub(crate) const DS: usize = 3;
pub(crate) const FS: usize = 4;
pub(crate) const GS: usize = 5;

/// Index of a general register in [`Core::r`].
pub(crate) const RAX: usize = 0;
pub(crate) const RCX: usize = 1;
pub(crate) const RDX: usize = 2;
pub(crate) const RBX: usize = 3;
pub(crate) const RSP: usize = 4;
pub(crate) const RBP: usize = 5;
pub(crate) const RSI: usize = 6;
pub(crate) const RDI: usize = 7;
pub(crate) const R11: usize = 11;

pub(crate) const CR0_PE: u64 = 1;
pub(crate) const CR0_MP: u64 = 1 << 1;
pub(crate) const CR0_EM: u64 = 1 << 2;
pub(crate) const CR0_TS: u64 = 1 << 3;
pub(crate) const CR0_ET: u64 = 1 << 4;
pub(crate) const CR0_NE: u64 = 1 << 5;
pub(crate) const CR0_WP: u64 = 1 << 16;
pub(crate) const CR0_AM: u64 = 1 << 18;
pub(crate) const CR0_NW: u64 = 1 << 29;
pub(crate) const CR0_CD: u64 = 1 << 30;
pub(crate) const CR0_PG: u64 = 1 << 31;
pub(crate) const CR4_TSD: u64 = 1 << 2;
pub(crate) const CR4_DE: u64 = 1 << 3;
pub(crate) const CR4_PAE: u64 = 1 << 5;
pub(crate) const CR4_PGE: u64 = 1 << 7;
pub(crate) const CR4_PCE: u64 = 1 << 8;
pub(crate) const CR4_OSFXSR: u64 = 1 << 9;
pub(crate) const CR4_OSXMMEXCPT: u64 = 1 << 10;
pub(crate) const CR4_UMIP: u64 = 1 << 11;
pub(crate) const CR4_FSGSBASE: u64 = 1 << 16;
pub(crate) const CR4_PCIDE: u64 = 1 << 17;
pub(crate) const CR4_OSXSAVE: u64 = 1 << 18;
pub(crate) const CR4_SMEP: u64 = 1 << 20;
pub(crate) const CR4_SMAP: u64 = 1 << 21;
pub(crate) const EFER_SCE: u64 = 1;
pub(crate) const EFER_LME: u64 = 1 << 8;
pub(crate) const EFER_LMA: u64 = 1 << 10;
pub(crate) const EFER_NXE: u64 = 1 << 11;

/// How code is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Mode {
    Bits16 = 16,
    Bits32 = 32,
    Bits64 = 64,
}

/// What an operation that returned [`Trap`] wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    /// An exception at the instruction.
    Fault { vector: u8, error: Option<u32> },
    /// A software interrupt: `int n`, `int3`, `into`; the instruction is complete.
    Soft { vector: u8 },
    /// INT1, which is complete: a debug trap.
    Int1,
    /// An exit with RIP at the instruction, which is executed again.
    Again(Exit),
    /// An exit after the instruction, which is complete.
    Done(Exit),
}

/// How a port or memory read that left the CPU is to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Nothing,
    /// `in`: the value goes to AL, AX or EAX.
    Accumulator {
        size: u8,
    },
    /// `ins`: the value goes to memory at ES:(E/R)DI and the string registers advance.
    String {
        size: u8,
        rep: bool,
        addr_bits: u32,
        next_rip: u64,
    },
    /// A load from outside RAM.
    Mmio {
        gpa: u64,
        size: u8,
    },
}

/// Everything a handler may touch.
pub(crate) struct Core {
    /// General registers, a zero and the segment bases in effect; see [`crate::op`]. The rest is never used: it makes every
    /// byte a valid index, so that none has to be masked.
    pub(crate) r: [u64; 256],
    pub(crate) flags: Flags,
    pub(crate) rip: u64,
    /// Instructions retired, up to date at block boundaries.
    pub(crate) icount: u64,
    /// The run loop looks around when `icount` has reached this.
    pub(crate) deadline: u64,
    /// Value of `icount` at which the budget is used up; all ones without one.
    pub(crate) budget_end: u64,
    /// Data accesses so far, but for those in `tally`.
    pub(crate) accesses: u64,
    /// Data accesses and transitions between blocks since the run loop last looked around: see [`crate::link`].
    pub(crate) tally: u64,
    /// All that blocks were looked up under: mode, privilege, and a generation that changes when anything else does.
    pub(crate) context: u64,
    pub(crate) targets: Targets,
    /// The link by which the last block would have gone on, had it been set.
    pub(crate) open: Option<Open>,
    /// Rights of data accesses at the current privilege level: see [`crate::rights`].
    pub(crate) user: u64,
    /// The flags, where they are computed eagerly.
    pub(crate) eager_flags: u64,
    /// Bits of RSP in use as stack pointer.
    pub(crate) sp_mask: u64,
    /// A store changed decoded code: the block must end.
    pub(crate) leave_block: bool,
    pub(crate) mode: Mode,
    pub(crate) tlb: Tlb,
    /// Whether repeated string instructions may do many elements at once.
    pub(crate) bulk: bool,
    /// Whether translations may be kept.
    pub(crate) tlb_enabled: bool,
    pub(crate) ram: GuestRam,
    pub(crate) model: Model,
    /// Extensions that the CPU has.
    pub(crate) features: Features,
    /// Options of the decoder that follow from them.
    pub(crate) decoder_options: u32,
    pub(crate) sse: Sse,
    /// Boxed, for it would come first, and move away what is used all the time.
    pub(crate) simd: Box<Simd>,

    /// RFLAGS but for the arithmetic flags.
    pub(crate) system_flags: u64,
    pub(crate) seg: [Segment; 6],
    pub(crate) ldtr: Segment,
    pub(crate) tr: Segment,
    pub(crate) gdtr: Table,
    pub(crate) idtr: Table,
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) cr8: u64,
    pub(crate) xcr0: u64,
    pub(crate) efer: u64,
    pub(crate) dr: [u64; 6],
    pub(crate) msrs: Msrs,
    pub(crate) fpu: X87,
    pub(crate) clock: Clock,
    pub(crate) tsc_offset: u64,
    /// Elements until a repetition that starts again looks around.
    pub(crate) until_look: Option<u64>,
    /// Value of `icount` until which interrupts are held off.
    pub(crate) shadow_until: u64,
    /// Value of `icount` at which RF lapses; `u64::MAX` if the instruction that ends it must be executed by itself.
    pub(crate) resume_until: u64,
    /// The shadow is that of MOV SS or POP SS: it holds off NMIs and debug traps too.
    pub(crate) stack_shadow: bool,
    /// An NMI was delivered and no IRET followed.
    pub(crate) nmi_blocked: bool,
    pub(crate) debug: Debug,

    pub(crate) pending: Pending,
    /// What is pending is the fault of a non-canonical address, which is #SS(0) for the stack segment.
    pub(crate) not_canonical: bool,
    /// Length of the instruction that trapped.
    pub(crate) trap_len: u8,
    pub(crate) awaited: Awaited,
    pub(crate) mmio: MmioLog,
    pub(crate) code: CodeMap,
    /// Translations or modes changed: what was looked up by RIP is stale.
    pub(crate) code_generation: u64,
    pub(crate) stop: Arc<AtomicBool>,

    pub(crate) rings: RingAccount,
    pub(crate) transitions: u64,
    /// Elements of string instructions that were done in bulk.
    pub(crate) bulk_elements: u64,
    /// Why translations were dropped, and how often.
    pub(crate) flushes: Flushes,
    pub(crate) tlb_misses: u64,
    pub(crate) page_walks: u64,
    pub(crate) exceptions: [u64; 32],
    pub(crate) interrupts: u64,
    pub(crate) device_io: u64,
    pub(crate) device_mmio: u64,
    pub(crate) undefined: BTreeMap<String, u64>,
    #[cfg(debug_assertions)]
    pub(crate) planted: Option<crate::planted::Planted>,
    #[cfg(any(debug_assertions, feature = "planted"))]
    pub(crate) dawdle: Option<crate::planted::Dawdle>,
}

impl Core {
    pub(crate) fn new(ram: GuestRam, mechanisms: Mechanisms, model: Model) -> Self {
        let pages = ram.len().div_ceil(4096);
        let simd = Box::new(Simd::new(HostCode::new(simd::CAPACITY).ok()));
        let features = model.features();
        let mut core = Self {
            r: [0; 256],
            flags: Flags::default(),
            rip: 0,
            icount: 0,
            until_look: None,
            deadline: 0,
            budget_end: u64::MAX,
            accesses: 0,
            tally: 0,
            context: 0,
            targets: Targets::new(),
            open: None,
            user: 0,
            eager_flags: 0,
            sp_mask: 0,
            leave_block: false,
            mode: Mode::Bits32,
            tlb: Tlb::new(),
            bulk: mechanisms.bulk,
            tlb_enabled: mechanisms.mmu == Mmu::Tlb,
            ram,
            model,
            features: if simd.is_available() { features } else { features.without_simd() },
            decoder_options: crate::decode::options(model),
            sse: Sse::default(),
            simd,
            system_flags: 2,
            seg: [Segment::default(); 6],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: Table::default(),
            idtr: Table::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            xcr0: 0,
            efer: 0,
            dr: [0; 6],
            msrs: Msrs::default(),
            fpu: X87::default(),
            clock: Clock::Host,
            tsc_offset: 0,
            shadow_until: 0,
            resume_until: 0,
            stack_shadow: false,
            nmi_blocked: false,
            debug: Debug::default(),
            pending: Pending::Fault { vector: 6, error: None },
            not_canonical: false,
            trap_len: 0,
            awaited: Awaited::Nothing,
            mmio: MmioLog::default(),
            code: CodeMap::new(pages),
            code_generation: 0,
            rings: RingAccount::new(),
            transitions: 0,
            bulk_elements: 0,
            flushes: Flushes::default(),
            stop: Arc::new(AtomicBool::new(false)),
            tlb_misses: 0,
            page_walks: 0,
            exceptions: [0; 32],
            interrupts: 0,
            device_io: 0,
            device_mmio: 0,
            undefined: BTreeMap::new(),
            #[cfg(debug_assertions)]
            planted: None,
            #[cfg(any(debug_assertions, feature = "planted"))]
            dawdle: None,
        };
        core.set_state(&State::reset());
        core
    }

    pub(crate) fn state(&self) -> State {
        let mut gprs = [0; 16];
        gprs.copy_from_slice(&self.r[..16]);
        State {
            gprs,
            rip: self.rip,
            rflags: self.rflags(),
            cs: self.seg[CS],
            ds: self.seg[DS],
            es: self.seg[ES],
            ss: self.seg[SS],
            fs: self.seg[FS],
            gs: self.seg[GS],
            ldtr: self.ldtr,
            tr: self.tr,
            gdtr: self.gdtr,
            idtr: self.idtr,
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            cr8: self.cr8,
            efer: self.efer,
            dr: self.dr,
            msrs: self.msrs,
            xmm: self.sse.xmm,
            ymm_high: self.sse.ymm_high,
            xcr0: self.xcr0,
            mxcsr: self.sse.mxcsr(),
            fpu: self.fpu.state(),
            tsc_offset: self.tsc_offset,
            interrupt_shadow: self.in_shadow(),
            stack_shadow: self.in_stack_shadow(),
            nmi_blocked: self.nmi_blocked,
        }
    }

    pub(crate) fn set_state(&mut self, state: &State) {
        self.r[..16].copy_from_slice(&state.gprs);
        self.rip = state.rip;
        self.set_rflags(state.rflags);
        self.seg = [state.es, state.cs, state.ss, state.ds, state.fs, state.gs];
        self.ldtr = state.ldtr;
        self.tr = state.tr;
        self.gdtr = state.gdtr;
        self.idtr = state.idtr;
        self.cr0 = state.cr0;
        self.cr2 = state.cr2;
        self.cr3 = state.cr3;
        self.cr4 = state.cr4;
        self.cr8 = state.cr8 & 15;
        self.efer = state.efer;
        self.dr = state.dr;
        self.msrs = state.msrs;
        self.sse.xmm = state.xmm;
        self.sse.ymm_high = state.ymm_high;
        self.xcr0 = state.xcr0;
        self.sse.set_mxcsr(state.mxcsr);
        self.fpu = X87::from_state(&state.fpu);
        self.tsc_offset = state.tsc_offset;
        self.shadow_until = if state.interrupt_shadow || state.stack_shadow { self.icount + 1 } else { 0 };
        self.stack_shadow = state.stack_shadow;
        self.nmi_blocked = state.nmi_blocked;
        self.debug = Debug::default();
        self.arm_breakpoints();
        self.awaited = Awaited::Nothing;
        self.mmio.clear();
        self.update_mode();
        self.flush_tlb();
    }

    pub(crate) fn rflags(&self) -> u64 {
        let lapsed = if self.icount >= self.resume_until { flags::RF } else { 0 };
        self.system_flags & !lapsed | self.flags.to_rflags() | 2
    }

    pub(crate) fn set_rflags(&mut self, rflags: u64) {
        let enables = rflags & !self.system_flags & flags::IF != 0;
        self.flags = Flags::from_rflags(rflags);
        self.system_flags = rflags & !flags::STATUS & 0x003f_7fd7 | 2;
        self.resume_until = u64::MAX;
        self.update_user();
        if enables || rflags & (flags::TF | flags::RF) != 0 {
            self.look_around();
        }
    }

    /// Current privilege level.
    #[inline(always)]
    pub(crate) fn cpl(&self) -> u8 {
        (self.seg[CS].selector & 3) as u8
    }

    /// Long mode, be it 64-bit or compatibility mode.
    #[inline(always)]
    pub(crate) fn long_mode(&self) -> bool {
        self.efer & EFER_LMA != 0
    }

    /// Recomputes what depends on the segment registers and EFER. Call after any change of them.
    pub(crate) fn update_mode(&mut self) {
        let cs = &self.seg[CS];
        self.mode = match (self.long_mode() && cs.long(), cs.big()) {
            (true, _) => Mode::Bits64,
            (false, true) => Mode::Bits32,
            (false, false) => Mode::Bits16,
        };
        self.update_user();
        self.update_sse();
        self.sp_mask = match self.mode {
            Mode::Bits64 => u64::MAX,
            _ if self.seg[SS].big() => 0xffff_ffff,
            _ => 0xffff,
        };
        for (i, seg) in self.seg.iter().enumerate() {
            let used = self.mode != Mode::Bits64 || i == FS || i == GS;
            self.r[SEG_BASES as usize + i] = if used { seg.base } else { 0 };
        }
    }

    /// Makes the run loop look for interrupts, stops and single-stepping after this block.
    #[inline(always)]
    pub(crate) fn look_around(&mut self) {
        self.deadline = 0;
    }

    /// Raises an exception without an error code.
    #[cold]
    pub(crate) fn fault(&mut self, vector: u8) -> Trap {
        self.not_canonical = false;
        self.pending = Pending::Fault { vector, error: None };
        Trap
    }

    /// Raises an exception with an error code.
    #[cold]
    pub(crate) fn fault_code(&mut self, vector: u8, error: u32) -> Trap {
        self.not_canonical = false;
        self.pending = Pending::Fault { vector, error: Some(error) };
        Trap
    }

    /// #GP(0).
    #[cold]
    pub(crate) fn gp(&mut self) -> Trap {
        self.fault_code(crate::exception::GP, 0)
    }

    /// The fault of a non-canonical address: #GP(0), unless [`Self::in_stack_segment`] is called.
    #[cold]
    pub(crate) fn not_canonical(&mut self) -> Trap {
        let trap = self.gp();
        self.not_canonical = true;
        trap
    }

    /// The access that failed was one to the stack segment: a non-canonical address there is #SS(0) (Intel SDM volume
    /// 3, 6.15, interrupt 12).
    #[cold]
    pub(crate) fn in_stack_segment(&mut self) -> Trap {
        if self.not_canonical {
            return self.fault_code(crate::exception::SS, 0);
        }
        Trap
    }

    /// Leaves the CPU with this instruction complete.
    pub(crate) fn exit_after(&mut self, exit: Exit) -> Trap {
        self.pending = Pending::Done(exit);
        Trap
    }

    /// Leaves the CPU with RIP at this instruction.
    pub(crate) fn exit_again(&mut self, exit: Exit) -> Trap {
        self.pending = Pending::Again(exit);
        Trap
    }

    /// Drops every cached translation.
    pub(crate) fn flush_tlb(&mut self) {
        self.flushes.full += 1;
        self.tlb.flush();
        self.forget_lookups();
    }
}
