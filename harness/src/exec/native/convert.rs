//! Registers to and from the layout of the shared memory.

use super::shared::{RegisterBlock, XSAVE_BYTES, XSTATE_BV, YMM_HIGH};
use crate::exec::registers::{Registers, X87};
use crate::exec::snippet::{DATA_SELECTOR, Mode};

/// Offsets in the legacy region (Intel SDM volume 1, table 10-2).
const FCW: usize = 0;
const FSW: usize = 2;
const FTW: usize = 4;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;

fn put(area: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = area.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn get<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
    area.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
}

/// The vector and x87 registers as an XSAVE area in the standard format.
pub(crate) fn to_xsave(registers: &Registers) -> [u8; XSAVE_BYTES] {
    let mut xsave = [0; XSAVE_BYTES];
    let x87 = &registers.x87;
    put(&mut xsave, FCW, &x87.fcw.to_le_bytes());
    put(&mut xsave, FSW, &x87.fsw.to_le_bytes());
    put(&mut xsave, FTW, &[x87.ftw]);
    put(&mut xsave, MXCSR, &registers.mxcsr.to_le_bytes());
    for (i, st) in x87.st.iter().enumerate() {
        put(&mut xsave, ST + i * 16, &st.to_le_bytes()[..10]);
    }
    for (i, [low, high]) in registers.ymm.iter().enumerate() {
        put(&mut xsave, XMM + i * 16, &low.to_le_bytes());
        put(&mut xsave, YMM_HIGH + i * 16, &high.to_le_bytes());
    }
    // x87, SSE and, where there is something in it, AVX.
    let avx = registers.ymm.iter().any(|ymm| ymm[1] != 0);
    put(&mut xsave, XSTATE_BV, &[if avx { 7 } else { 3 }]);
    xsave
}

/// The block that loads `registers` in `mode`.
pub(super) fn to_block(registers: &Registers, mode: Mode) -> RegisterBlock {
    let (data, code) = (DATA_SELECTOR, mode.code_selector());
    RegisterBlock {
        xsave: to_xsave(registers),
        gprs: registers.gprs,
        rip: registers.rip,
        rflags: registers.rflags,
        fs_base: registers.fs_base,
        gs_base: registers.gs_base,
        selectors: [data, code, data, data, data, data],
    }
}

/// The vector and x87 registers in an XSAVE area, the rest as after reset. A component that XSTATE_BV calls initial has
/// its initial value.
pub(crate) fn from_xsave(area: &[u8; XSAVE_BYTES]) -> Registers {
    let present = u64::from_le_bytes(get(area, XSTATE_BV));
    let mut registers = Registers { mxcsr: u32::from_le_bytes(get(area, MXCSR)), ..Registers::default() };
    if present & 1 != 0 {
        registers.x87 = X87 {
            fcw: u16::from_le_bytes(get(area, FCW)),
            fsw: u16::from_le_bytes(get(area, FSW)),
            ftw: area[FTW],
            st: std::array::from_fn(|i| u128::from_le_bytes(get(area, ST + i * 16)) & ((1 << 80) - 1)),
        };
    }
    for (i, [low, high]) in registers.ymm.iter_mut().enumerate() {
        if present & 2 != 0 {
            *low = u128::from_le_bytes(get(area, XMM + i * 16));
        }
        if present & 4 != 0 {
            *high = u128::from_le_bytes(get(area, YMM_HIGH + i * 16));
        }
    }
    registers
}

/// The registers in a block that the child stored.
pub(super) fn from_block(block: &RegisterBlock) -> Registers {
    Registers {
        gprs: block.gprs,
        rip: block.rip,
        rflags: block.rflags,
        selectors: block.selectors,
        fs_base: block.fs_base,
        gs_base: block.gs_base,
        ..from_xsave(&block.xsave)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_survive_the_round_trip() {
        let mut registers = Registers {
            gprs: std::array::from_fn(|i| i as u64 * 7),
            rip: 1,
            rflags: 0x203,
            selectors: [0x2b, 0x33, 0x2b, 0x2b, 0x2b, 0x2b],
            fs_base: 5,
            gs_base: 6,
            ymm: std::array::from_fn(|i| [i as u128, u128::MAX - i as u128]),
            mxcsr: 0x1fbf,
            x87: X87 { fcw: 0x27f, fsw: 0x3800, ftw: 0x81, st: std::array::from_fn(|i| (i as u128) << 64 | 9) },
        };
        let mut block = to_block(&registers, Mode::Bits64);
        assert_eq!(from_block(&block), registers);
        block.xsave[XSTATE_BV] = 2;
        registers.x87 = X87::default();
        registers.ymm.iter_mut().for_each(|ymm| ymm[1] = 0);
        assert_eq!(from_block(&block), registers);
    }
}
