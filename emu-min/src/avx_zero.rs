//! VZEROUPPER and VZEROALL.

use iced_x86::Mnemonic;

use crate::core::{Core, Mode};
use crate::op::{Op, R, Selected, seq};

/// Registers that the mode knows: the others keep their values.
fn registers(core: &Core) -> usize {
    if core.mode == Mode::Bits64 { 16 } else { 8 }
}

fn vzeroupper(core: &mut Core, _: &Op) -> R {
    core.avx_ready()?;
    let count = registers(core);
    core.sse.ymm_high[..count].fill(0);
    Ok(())
}

fn vzeroall(core: &mut Core, op: &Op) -> R {
    vzeroupper(core, op)?;
    let count = registers(core);
    core.sse.xmm[..count].fill(0);
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Vzeroupper => seq!(vzeroupper),
        Mnemonic::Vzeroall => seq!(vzeroall),
        _ => None,
    }
}
