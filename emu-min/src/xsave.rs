//! Extended control register 0 (Intel SDM volume 1, 13.3).

use iced_x86::CpuidFeature;

use crate::core::Core;

/// State components: x87, SSE (XMM registers and MXCSR), AVX (bits 128-255 of the YMM registers).
pub(crate) const X87: u64 = 1;
pub(crate) const SSE: u64 = 1 << 1;
pub(crate) const AVX: u64 = 1 << 2;

impl Core {
    /// The bits of XCR0 that exist: none without XSAVE.
    pub(crate) fn xcr0_supported(&self) -> u64 {
        match (self.features.has(CpuidFeature::XSAVE), self.features.has(CpuidFeature::AVX)) {
            (false, _) => 0,
            (true, false) => X87 | SSE,
            (true, true) => X87 | SSE | AVX,
        }
    }
}
