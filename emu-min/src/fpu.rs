//! FXSAVE and FXRSTOR: the x87 and the SSE state together.

use iced_x86::Mnemonic;

use crate::core::{CR0_EM, CR0_TS, CR4_OSFXSR, Core, Mode};
use crate::exception::NM;
use crate::op::{Op, R, Selected, end, store};
use crate::state::Fpu;
use crate::x87::X87;

const FXSAVE_BYTES: u64 = 512;
/// XMM registers begin here in the FXSAVE image, the x87 registers at 32.
const XMM_OFFSET: u64 = 160;
const ST_OFFSET: u64 = 32;
/// MXCSR bits that may be set, as FXSAVE reports them.
pub(crate) const MXCSR_MASK: u32 = 0xffff;

fn available(core: &mut Core) -> R {
    if core.cr0 & (CR0_EM | CR0_TS) != 0 {
        return Err(core.fault(NM));
    }
    Ok(())
}

/// The address of an FXSAVE image, which must be aligned to 16 bytes.
fn image(core: &mut Core, op: &Op, write: bool) -> R<u64> {
    available(core)?;
    // The alignment comes before the segment's limit.
    let misaligned = core.linear_unchecked(op) & 15 != 0;
    if misaligned {
        return Err(core.gp());
    }
    core.linear(op, FXSAVE_BYTES, write)
}

/// XMM registers that the mode knows.
pub(crate) fn xmm_count(core: &Core) -> usize {
    if core.mode == Mode::Bits64 { 16 } else { 8 }
}

/// A pointer as the image holds it: 64 bits with REX.W, else 32 and a selector.
fn pointer(op: &Op, offset: u64, selector: u16) -> u64 {
    if is_64(op) { offset } else { (offset & 0xffff_ffff) | u64::from(selector) << 32 }
}

/// The offset and the selector of a pointer in the image.
fn split(op: &Op, pointer: u64) -> (u64, u16) {
    if is_64(op) { (pointer, 0) } else { (pointer & 0xffff_ffff, (pointer >> 32) as u16) }
}

fn is_64(op: &Op) -> bool {
    use Mnemonic as M;
    matches!(op.mnemonic, M::Fxsave64 | M::Fxrstor64 | M::Xsave64 | M::Xsaveopt64 | M::Xsavec64 | M::Xrstor64)
}

/// Stores the x87 registers: bytes 0-23 and 32-159 of the image.
pub(crate) fn store_x87(core: &mut Core, op: &Op, image: u64) -> R {
    let mut fpu = core.fpu.state();
    if !core.fpu.exception_pending() {
        // As on AMD processors (APM vol. 2, 11.4.4).
        fpu = Fpu { fop: 0, fip: 0, fcs: 0, fdp: 0, fds: 0, ..fpu };
    }
    let words = u64::from(fpu.fcw) | u64::from(fpu.fsw) << 16 | u64::from(fpu.ftw) << 32 | u64::from(fpu.fop) << 48;
    core.store::<u64>(image, words)?;
    core.store::<u64>(image.wrapping_add(8), pointer(op, fpu.fip, fpu.fcs))?;
    core.store::<u64>(image.wrapping_add(16), pointer(op, fpu.fdp, fpu.fds))?;
    for (i, value) in (0_u64..).zip(fpu.st) {
        core.store128(image.wrapping_add(ST_OFFSET + i * 16), value)?;
    }
    Ok(())
}

/// Loads what [`store_x87`] stores.
pub(crate) fn load_x87(core: &mut Core, op: &Op, image: u64) -> R<Fpu> {
    let words = core.load::<u64>(image)?;
    let (fip, fcs) = split(op, core.load::<u64>(image.wrapping_add(8))?);
    let (fdp, fds) = split(op, core.load::<u64>(image.wrapping_add(16))?);
    let mut st = [0; 8];
    for (i, slot) in (0_u64..).zip(&mut st) {
        *slot = core.load128(image.wrapping_add(ST_OFFSET + i * 16))? & ((1 << 80) - 1);
    }
    Ok(Fpu {
        fcw: words as u16,
        fsw: (words >> 16) as u16,
        ftw: (words >> 32) as u8,
        fop: (words >> 48) as u16 & 0x7ff,
        fip,
        fcs,
        fdp,
        fds,
        st,
    })
}

/// Stores MXCSR and its mask: bytes 24-31.
pub(crate) fn store_mxcsr(core: &mut Core, image: u64) -> R {
    let mxcsr = u64::from(core.sse.mxcsr()) | u64::from(MXCSR_MASK) << 32;
    core.store::<u64>(image.wrapping_add(24), mxcsr)
}

/// Loads MXCSR; whether its reserved bits are clear is for the caller to see.
pub(crate) fn load_mxcsr(core: &mut Core, image: u64) -> R<u32> {
    Ok(core.load::<u32>(image.wrapping_add(24))? as u32)
}

/// Stores the XMM registers: bytes 160-415, or 160-287 outside 64-bit mode.
pub(crate) fn store_xmm(core: &mut Core, image: u64) -> R {
    for i in 0..xmm_count(core) {
        let value = core.sse.xmm[i & 15];
        core.store128(image.wrapping_add(XMM_OFFSET + i as u64 * 16), value)?;
    }
    Ok(())
}

/// All XMM registers with those replaced that [`store_xmm`] stores.
pub(crate) fn load_xmm(core: &mut Core, image: u64) -> R<[u128; 16]> {
    let mut xmm = core.sse.xmm;
    let count = xmm_count(core);
    for (i, slot) in (0_u64..).zip(xmm.iter_mut().take(count)) {
        *slot = core.load128(image.wrapping_add(XMM_OFFSET + i * 16))?;
    }
    Ok(xmm)
}

fn fxsave(core: &mut Core, op: &Op) -> R {
    let address = image(core, op, true)?;
    core.check_write(address, FXSAVE_BYTES)?;
    store_x87(core, op, address)?;
    store_mxcsr(core, address)?;
    store_xmm(core, address)
}

fn fxrstor(core: &mut Core, op: &Op) -> R {
    let address = image(core, op, false)?;
    let fpu = load_x87(core, op, address)?;
    let mxcsr = load_mxcsr(core, address)?;
    let xmm = load_xmm(core, address)?;
    // Page faults come first.
    core.load::<u64>(address.wrapping_add(FXSAVE_BYTES - 8))?;
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(core.gp());
    }
    core.fpu = X87::from_state(&fpu);
    if core.cr4 & CR4_OSFXSR != 0 {
        core.sse.xmm = xmm;
        core.sse.set_mxcsr(mxcsr);
    }
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => store!(fxsave),
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => end!(fxrstor),
        _ => None,
    }
}
