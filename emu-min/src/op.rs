//! The internal form: one pre-decoded instruction, [`Op`], and the rules by which handlers run one after another.
//!
//! An `Op` is plain enumerable data (mnemonic, form, size, operands), enough to execute or to translate the instruction
//! without its bytes; `handler` is merely the interpreter's answer to that data, resolved when it was decoded.

use iced_x86::Mnemonic;

use crate::core::Core;
use crate::link::LinksRef;

/// The value of an operand that failed: an exception or an exit is pending in [`Core::pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap;

/// Result of anything that may raise an exception.
pub(crate) type R<T = ()> = Result<T, Trap>;

/// How a run of handlers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The block is done; RIP is that of the next instruction.
    Next,
    /// The instruction at RIP raised what is pending; registers are those before it.
    Trap,
}

/// Executes one operation and then, in tail position, those after it in its block.
pub(crate) type Handler = for<'a> fn(&mut Core, OpRef<'a>) -> Flow;

/// Where the operands are: letters for register, memory and immediate, destination first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    None,
    R,
    M,
    I,
    RR,
    RM,
    MR,
    RI,
    MI,
}

/// The operation is atomic (no meaning on one CPU, kept for a translator).
pub(crate) const LOCK: u16 = 1;
/// `rep` or `repe`.
pub(crate) const REP: u16 = 2;
/// `repne`.
pub(crate) const REPNE: u16 = 4;
/// Address size 32.
pub(crate) const ADDR32: u16 = 8;
/// Address size 16.
pub(crate) const ADDR16: u16 = 16;
/// Segment limits and types apply (not 64-bit mode).
pub(crate) const LEGACY: u16 = 32;
/// A third operand is an immediate.
pub(crate) const IMM3: u16 = 64;
/// A third operand is the register `aux`.
pub(crate) const REG3: u16 = 128;
/// A register operand is neither a general nor an XMM register, or the operand is a far pointer.
pub(crate) const OTHER: u16 = 256;

/// The slot of the register file that always holds zero.
pub(crate) const ZERO: u8 = 16;
/// First of the six slots that hold the segment bases in effect, in the order ES, CS, SS, DS, FS, GS.
pub(crate) const SEG_BASES: u8 = 17;

/// One pre-decoded instruction.
///
/// Register operands are slots of the register file: 0-15 general registers, plus 32 for AH, CH, DH, BH, whose slots
/// are 0-3; or the number of an XMM, segment, control or debug register, as the mnemonic implies.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Op {
    /// What executes it: in a cached block perhaps a faster handler than `plain`, perhaps for the next operation too.
    pub(crate) handler: Handler,
    /// Executes it alone in every case that there is.
    pub(crate) plain: Handler,
    /// Immediate, sign-extended as the instruction says, or the target of a direct branch.
    pub(crate) imm: u64,
    /// Displacement; RIP-relative addresses are resolved into it.
    pub(crate) disp: u64,
    /// Address of the instruction (offset in CS).
    pub(crate) rip: u64,
    /// Successors of the block, at the operation that ends it.
    pub(crate) links: LinksRef,
    pub(crate) mnemonic: Mnemonic,
    /// [`LOCK`] and the others.
    pub(crate) flags: u16,
    /// Operand size in bytes; for SSE, that of the memory operand.
    pub(crate) size: u8,
    pub(crate) form: Form,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) aux: u8,
    pub(crate) base: u8,
    pub(crate) index: u8,
    /// Shift of the index: 0-3.
    pub(crate) scale: u8,
    /// Slot that holds the segment base.
    pub(crate) seg: u8,
    /// Length in bytes.
    pub(crate) len: u8,
    /// Operations before it in the block.
    pub(crate) n: u8,
    /// Data accesses by this and the operations before it in the block.
    pub(crate) accesses: u8,
}

impl Op {
    /// Address of the next instruction, before wrapping to the code size.
    #[inline(always)]
    pub(crate) fn next_rip(&self) -> u64 {
        self.rip.wrapping_add(u64::from(self.len))
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The operation that ends a list which runs into its end: it only retires the block.
    pub(crate) fn end_of_block(rip: u64, n: u8, accesses: u8) -> Self {
        let handler: Handler = |core, op| op.follow(core, 0, |op| op.rip, |links| &links.through);
        Self {
            handler,
            plain: handler,
            imm: 0,
            disp: 0,
            rip,
            links: LinksRef::none(),
            mnemonic: Mnemonic::INVALID,
            accesses,
            size: 0,
            form: Form::None,
            dst: 0,
            src: 0,
            aux: 0,
            base: ZERO,
            index: ZERO,
            scale: 0,
            seg: ZERO,
            len: 0,
            n,
            flags: 0,
        }
    }
}

/// A position in a block's operations.
#[derive(Clone, Copy)]
pub(crate) struct OpRef<'a> {
    ptr: *const Op,
    _block: std::marker::PhantomData<&'a [Op]>,
}

impl<'a> OpRef<'a> {
    /// The first operation of a block. The last must be one that does not continue: see [`Self::next`].
    #[inline(always)]
    pub(crate) fn first(ops: &'a [Op]) -> Self {
        debug_assert!(!ops.is_empty());
        Self { ptr: ops.as_ptr(), _block: std::marker::PhantomData }
    }

    /// # Safety
    /// `ptr` must lead to the first operation of a block that lives for 'a.
    #[inline(always)]
    pub(crate) unsafe fn from_ptr(ptr: *const Op) -> Self {
        Self { ptr, _block: std::marker::PhantomData }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(self) -> *const Op {
        self.ptr
    }

    #[inline(always)]
    pub(crate) fn get(self) -> &'a Op {
        // SAFETY: `ptr` points into the block borrowed for 'a: `first` starts in it and `next` stays in it.
        unsafe { &*self.ptr }
    }

    /// The operation after this one, which must not be one that ends its block.
    #[inline(always)]
    pub(crate) fn successor(self) -> Self {
        // SAFETY: every block ends with an operation whose handlers retire instead of asking for a successor (`block.rs`
        // and `Op::end_of_block`), so an operation that asks has one in its block.
        Self { ptr: unsafe { self.ptr.add(1) }, ..self }
    }

    /// Runs the operation after this one, as a tail call.
    #[inline(always)]
    pub(crate) fn next(self, core: &mut Core) -> Flow {
        let next = self.successor();
        (next.get().handler)(core, next)
    }

    /// Ends the block after the operations before this one and `executed` (0 or 1) of its own.
    #[inline(always)]
    pub(crate) fn retire(self, core: &mut Core, executed: u64) -> Flow {
        let op = self.get();
        core.icount = core.icount.wrapping_add(u64::from(op.n) + executed);
        core.accesses += u64::from(op.accesses);
        Flow::Next
    }

    /// Ends the block after this operation, though it is not the last.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave(self, core: &mut Core) -> Flow {
        core.leave_block = false;
        core.rip = self.get().next_rip();
        self.retire(core, 1)
    }

    /// Ends the block before this operation: it raised what is pending.
    #[cold]
    #[inline(never)]
    pub(crate) fn trap(self, core: &mut Core) -> Flow {
        let op = self.get();
        core.leave_block = false;
        if core.not_canonical && op.seg == SEG_BASES + crate::core::SS as u8 {
            core.in_stack_segment();
        }
        core.rip = op.rip;
        core.trap_len = op.len;
        core.icount += u64::from(op.n);
        core.accesses += u64::from(op.accesses);
        Flow::Trap
    }
}

/// A handler and whether it ends its block.
pub(crate) type Selected = Option<(Handler, bool)>;

/// A handler for an operation that neither branches nor writes memory: `$f(core, op) -> R`.
macro_rules! seq {
    ($f:expr) => {{
        let handler: $crate::op::Handler = |core, op| match $f(core, op.get()) {
            Ok(()) => op.next(core),
            Err($crate::op::Trap) => op.trap(core),
        };
        Some((handler, false))
    }};
}
pub(crate) use seq;

/// A handler for an operation that may write memory, and so may have to leave a block whose code it changed.
macro_rules! store {
    ($f:expr) => {{
        let handler: $crate::op::Handler = |core, op| match $f(core, op.get()) {
            Ok(()) if core.leave_block => op.leave(core),
            Ok(()) => op.next(core),
            Err($crate::op::Trap) => op.trap(core),
        };
        Some((handler, false))
    }};
}
pub(crate) use store;

/// A handler for an operation that ends its block: RIP is the next instruction's unless `$f` sets it.
macro_rules! end {
    ($f:expr) => {{
        let handler: $crate::op::Handler = |core, op| {
            core.rip = op.get().next_rip();
            let user = core.is_in_user_ring();
            match $f(core, op.get()) {
                Ok(()) => {
                    core.leave_block = false;
                    if core.is_in_user_ring() != user {
                        core.moved_ring(user, u64::from(op.get().n) + 1);
                    }
                    op.retire(core, 1)
                }
                Err($crate::op::Trap) => op.trap(core),
            }
        };
        Some((handler, true))
    }};
}
pub(crate) use end;
