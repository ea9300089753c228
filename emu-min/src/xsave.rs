//! XSAVE and its kin, and extended control register 0 (Intel SDM volume 1, chapter 13).
//!
//! The area is the FXSAVE image of 512 bytes, a header of 64, and the upper halves of the YMM registers. As no component
//! comes after these, the compacted format has the same layout as the standard one.

use iced_x86::{CpuidFeature, Mnemonic};

use crate::core::{CR0_TS, CR4_OSXSAVE, Core, RAX, RCX, RDX};
use crate::exception::{NM, UD};
use crate::fpu::{self, MXCSR_MASK};
use crate::int::Int;
use crate::op::{Op, R, Selected, end, seq, store};
use crate::state::Fpu;

/// State components: x87, SSE (XMM registers and MXCSR), AVX (bits 128-255 of the YMM registers).
pub(crate) const X87: u64 = 1;
pub(crate) const SSE: u64 = 1 << 1;
pub(crate) const AVX: u64 = 1 << 2;

/// Offsets in the header, which begins at 512.
const XSTATE_BV: u64 = 512;
const XCOMP_BV: u64 = 520;
/// Set in XCOMP_BV: the area is in compacted format.
const COMPACTED: u64 = 1 << 63;
/// Size of the FXSAVE image and the header.
pub(crate) const HEADER_END: u64 = 576;
/// Where the upper halves of the YMM registers begin, and how many bytes they take.
pub(crate) const AVX_OFFSET: u64 = HEADER_END;
pub(crate) const AVX_BYTES: u64 = 256;
/// MXCSR in its initial configuration.
const MXCSR_INITIAL: u32 = 0x1f80;

/// Bytes that an area with these components takes.
pub(crate) fn area_bytes(components: u64) -> u64 {
    if components & AVX == 0 { HEADER_END } else { AVX_OFFSET + AVX_BYTES }
}

/// Which components XSAVE and its variants leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// None: XSAVE.
    Full,
    /// Those in their initial configuration: XSAVEOPT. Whether they were modified since XRSTOR is not tracked.
    Optimised,
    /// The same, in compacted format: XSAVEC.
    Compacted,
}

impl Core {
    /// The bits of XCR0 that exist: none without XSAVE.
    pub(crate) fn xcr0_supported(&self) -> u64 {
        match (self.features.has(CpuidFeature::XSAVE), self.features.has(CpuidFeature::AVX)) {
            (false, _) => 0,
            (true, false) => X87 | SSE,
            (true, true) => X87 | SSE | AVX,
        }
    }

    /// The components that are not in their initial configuration (XINUSE; Intel SDM volume 1, 13.6).
    fn in_use(&self) -> u64 {
        let count = fpu::xmm_count(self);
        let any = |registers: &[u128]| registers.iter().any(|value| *value != 0);
        let x87 = if self.fpu.state() == Fpu::default() { 0 } else { X87 };
        let sse = if any(&self.sse.xmm[..count]) { SSE } else { 0 };
        let avx = if any(&self.sse.ymm_high[..count]) { AVX } else { 0 };
        x87 | sse | avx
    }

    /// What a bit mask in EDX:EAX and XCR0 have in common.
    fn requested_components(&self) -> u64 {
        (self.r[RAX] & 0xffff_ffff | self.r[RDX] << 32) & self.xcr0
    }
}

/// The address of an XSAVE area with these components, which must be aligned to 64 bytes.
fn area(core: &mut Core, op: &Op, components: u64, write: bool) -> R<u64> {
    if core.cr4 & CR4_OSXSAVE == 0 {
        return Err(core.fault(UD));
    }
    if core.cr0 & CR0_TS != 0 {
        return Err(core.fault(NM));
    }
    // The alignment comes before the segment's limit.
    if core.linear_unchecked(op) & 63 != 0 {
        return Err(core.gp());
    }
    core.linear(op, area_bytes(components), write)
}

fn save(core: &mut Core, op: &Op, variant: Variant) -> R {
    let requested = core.requested_components();
    let area = area(core, op, requested, true)?;
    core.check_write(area, area_bytes(requested))?;
    let mut in_use = core.in_use();
    if variant == Variant::Compacted && core.sse.mxcsr() != MXCSR_INITIAL {
        in_use |= SSE;
    }
    let written = requested & if variant == Variant::Full { u64::MAX } else { in_use };
    if written & X87 != 0 {
        fpu::store_x87(core, op, area)?;
    }
    // MXCSR belongs to AVX too, and whether it has its initial value does not count; in compacted format it is SSE's.
    let mxcsr = if variant == Variant::Compacted { written & SSE } else { requested & (SSE | AVX) };
    if mxcsr != 0 {
        fpu::store_mxcsr(core, area)?;
    }
    if written & SSE != 0 {
        fpu::store_xmm(core, area)?;
    }
    if written & AVX != 0 {
        for i in 0..fpu::xmm_count(core) {
            let value = core.sse.ymm_high[i & 15];
            core.store128(area.wrapping_add(AVX_OFFSET + i as u64 * 16), value)?;
        }
    }
    if variant == Variant::Compacted {
        core.store::<u64>(area.wrapping_add(XSTATE_BV), requested & in_use)?;
        return core.store::<u64>(area.wrapping_add(XCOMP_BV), requested | COMPACTED);
    }
    let old = core.load::<u64>(area.wrapping_add(XSTATE_BV))?;
    core.store::<u64>(area.wrapping_add(XSTATE_BV), old & !requested | requested & in_use)
}

/// Checks the header; returns XSTATE_BV and whether the format is compacted.
fn header(core: &mut Core, area: u64) -> R<(u64, bool)> {
    let mut words = [0; 8];
    for (i, word) in (0_u64..).zip(&mut words) {
        *word = core.load::<u64>(area.wrapping_add(XSTATE_BV + i * 8))?;
    }
    let [present, format, rest @ ..] = words;
    let compacted = format & COMPACTED != 0;
    let valid = if compacted {
        let listed = format & !COMPACTED;
        core.features.has(CpuidFeature::XSAVEC) && listed & !core.xcr0 == 0 && present & !listed == 0 && rest == [0; 6]
    } else {
        present & !core.xcr0 == 0 && format == 0 && rest[0] == 0
    };
    if valid { Ok((present, compacted)) } else { Err(core.gp()) }
}

fn xrstor(core: &mut Core, op: &Op) -> R {
    let requested = core.requested_components();
    let area = area(core, op, requested, false)?;
    let (present, compacted) = header(core, area)?;
    let loaded = requested & present;
    let x87 = if loaded & X87 != 0 { fpu::load_x87(core, op, area)? } else { Fpu::default() };
    // In standard format MXCSR is loaded even if no component that it belongs to is present.
    let takes_mxcsr = if compacted { loaded & SSE != 0 } else { requested & (SSE | AVX) != 0 };
    let mxcsr = if takes_mxcsr { fpu::load_mxcsr(core, area)? } else { MXCSR_INITIAL };
    let count = fpu::xmm_count(core);
    let (mut xmm, mut ymm_high) = (core.sse.xmm, core.sse.ymm_high);
    xmm[..count].fill(0);
    if loaded & SSE != 0 {
        xmm = fpu::load_xmm(core, area)?;
    }
    ymm_high[..count].fill(0);
    if loaded & AVX != 0 {
        for (i, slot) in (0_u64..).zip(ymm_high.iter_mut().take(count)) {
            *slot = core.load128(area.wrapping_add(AVX_OFFSET + i * 16))?;
        }
    }
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(core.gp());
    }
    if requested & X87 != 0 {
        core.fpu = crate::x87::X87::from_state(&x87);
    }
    if takes_mxcsr || requested & SSE != 0 {
        core.sse.set_mxcsr(mxcsr);
    }
    if requested & SSE != 0 {
        core.sse.xmm = xmm;
    }
    if requested & AVX != 0 {
        core.sse.ymm_high = ymm_high;
    }
    Ok(())
}

fn xgetbv(core: &mut Core, _: &Op) -> R {
    if core.cr4 & CR4_OSXSAVE == 0 {
        return Err(core.fault(UD));
    }
    if core.r[RCX] as u32 != 0 {
        return Err(core.gp());
    }
    let value = core.xcr0;
    u32::set(core, RAX as u8, value);
    u32::set(core, RDX as u8, value >> 32);
    Ok(())
}

fn xsetbv(core: &mut Core, _: &Op) -> R {
    if core.cr4 & CR4_OSXSAVE == 0 {
        return Err(core.fault(UD));
    }
    core.require_ring0()?;
    let value = core.r[RAX] & 0xffff_ffff | core.r[RDX] << 32;
    let avx_alone = value & (SSE | AVX) == AVX;
    if core.r[RCX] as u32 != 0 || value & !core.xcr0_supported() != 0 || value & X87 == 0 || avx_alone {
        return Err(core.gp());
    }
    core.xcr0 = value;
    core.update_sse();
    Ok(())
}

/// EAX, EBX, ECX, EDX of CPUID leaf 0DH (Intel SDM volume 1, 13.2).
pub(crate) fn leaf(core: &Core, subleaf: u32) -> [u32; 4] {
    let supported = core.xcr0_supported();
    let now = area_bytes(core.xcr0) as u32;
    match subleaf {
        _ if supported == 0 => [0; 4],
        0 => [supported as u32, now, area_bytes(supported) as u32, 0],
        1 => {
            let has = |feature, bit: u32| u32::from(core.features.has(feature)) << bit;
            [has(CpuidFeature::XSAVEOPT, 0) | has(CpuidFeature::XSAVEC, 1), now, 0, 0]
        }
        2 if supported & AVX != 0 => [AVX_BYTES as u32, AVX_OFFSET as u32, 0, 0],
        _ => [0; 4],
    }
}

pub(crate) fn select(op: &Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::Xsave | M::Xsave64 => store!(|core: &mut Core, op: &Op| -> R { save(core, op, Variant::Full) }),
        M::Xsaveopt | M::Xsaveopt64 => store!(|core: &mut Core, op: &Op| -> R { save(core, op, Variant::Optimised) }),
        M::Xsavec | M::Xsavec64 => store!(|core: &mut Core, op: &Op| -> R { save(core, op, Variant::Compacted) }),
        M::Xrstor | M::Xrstor64 => end!(xrstor),
        M::Xgetbv => seq!(xgetbv),
        M::Xsetbv => end!(xsetbv),
        _ => None,
    }
}
