//! Handlers for what programs do most, chosen when a block is decoded.
//!
//! A fast handler covers the common case of its operation alone: the address has no segment or size peculiarity, the TLB
//! has the page, SSE is on. Anything else it leaves, with nothing changed, to the operation's plain handler, which covers
//! every case; so no fault or exit is raised here, and no fast handler says anew what an instruction means.

mod address;
mod alu;
mod branch;
mod eager;
mod liveness;
mod mov;
mod pair;
mod shift;
mod shuffle;
mod sse;
mod stack;

use iced_x86::Mnemonic;

use crate::control::condition_of;
use crate::core::{Core, Mode};
use crate::mechanisms::{FlagEvaluation, Mechanisms};
use crate::op::{Flow, Form, Handler, Op, OpRef};

pub(crate) use eager::{materialised, writes_flags};

/// What a fast handler does for its operation.
trait Body: 'static {
    /// Executes the operation, or returns `false` with nothing changed.
    fn run(core: &mut Core, op: &Op) -> bool;
}

/// The handler of one operation that does not end its block.
fn one<B: Body>(core: &mut Core, op: OpRef<'_>) -> Flow {
    if B::run(core, op.get()) { op.next(core) } else { (op.get().plain)(core, op) }
}

/// The handler of a body.
macro_rules! body {
    ($body:ty) => {{
        let handler: $crate::op::Handler = |core, op| $crate::fast::one::<$body>(core, op);
        Some(handler)
    }};
}
use body;

/// Chooses the handlers of a whole block, whose last operation ends it.
pub(crate) fn choose(ops: &mut Vec<Op>, mode: Mode, mechanisms: Mechanisms) {
    let lazy = mechanisms.flags == FlagEvaluation::Lazy;
    let mut live = true;
    for i in (0..ops.len()).rev() {
        let Some(op) = ops.get(i).copied() else { continue };
        let after = live;
        live = liveness::before(&op, live) || !lazy;
        let mut handler = alone(&op, after, mode, mechanisms.link);
        // With eager flags another operation stands between one that writes flags and one that reads them.
        if mechanisms.fuse
            && (lazy || !writes_flags(&op))
            && let Some(next) = ops.get(i + 1)
            && let Some(fused) = pair::select(&op, next, mode)
        {
            handler = Some(fused);
        }
        if let (Some(handler), Some(op)) = (handler, ops.get_mut(i)) {
            op.handler = handler;
        }
    }
    if !lazy {
        eager::insert(ops);
    }
}

/// Whether an operation that ends its block can go along links: a direct branch, or none.
pub(crate) fn leads_on(op: &Op) -> bool {
    let direct = matches!(op.mnemonic, Mnemonic::Jmp | Mnemonic::Call) && op.form == Form::I;
    direct || op.mnemonic == Mnemonic::INVALID || condition_of(op.mnemonic).is_some()
}

/// The fast handler of one operation; `live` says whether anything may read the flags that it leaves.
fn alone(op: &Op, live: bool, mode: Mode, link: bool) -> Option<Handler> {
    alu::select(op, live)
        .or_else(|| mov::select(op))
        .or_else(|| shift::select(op, live))
        .or_else(|| if mode == Mode::Bits64 { stack::select(op, link) } else { None })
        .or_else(|| if link { branch::select(op, mode) } else { None })
        .or_else(|| sse::select(op))
}
