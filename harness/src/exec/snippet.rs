//! What is executed: code, registers and memory.

use super::error::ExecError;
use super::memory::{PAGE, Region};
use super::registers::Registers;

/// How the code is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 64-bit mode.
    Bits64,
    /// Compatibility mode with 32-bit code and stack segments.
    Bits32,
}

impl Mode {
    /// 64 or 32.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Bits64 => 64,
            Self::Bits32 => 32,
        }
    }

    /// Selector of the ring-3 code segment, as Linux numbers it (`__USER_CS`, `__USER32_CS`).
    #[must_use]
    pub const fn code_selector(self) -> u16 {
        match self {
            Self::Bits64 => 0x33,
            Self::Bits32 => 0x23,
        }
    }
}

/// Selector of the ring-3 data segment, as Linux numbers it (`__USER_DS`): SS, DS, ES, FS and GS hold it.
pub(crate) const DATA_SELECTOR: u16 = 0x2b;

/// One thing to execute in ring 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// How the code is decoded.
    pub mode: Mode,
    /// Registers at the start; RIP is the entry.
    pub registers: Registers,
    /// Memory, code included; ranges do not overlap.
    pub regions: Vec<Region>,
    /// Instructions after which execution ends with [`super::End::Budget`].
    pub budget: u64,
}

/// Largest sum of the sizes of all regions, bytes.
pub(crate) const MAX_MEMORY: u64 = 64 << 20;
/// Most regions of a snippet.
pub(crate) const MAX_REGIONS: usize = 32;
/// End of the addresses that a Linux program may map (`TASK_SIZE_MAX` with four-level paging).
const USER_END: u64 = 0x7fff_ffff_f000;

impl Snippet {
    /// Checks what every engine relies on: page alignment, no overlap, addresses of ring 3, registers that load.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), ExecError> {
        let end = if self.mode == Mode::Bits64 { USER_END } else { 1 << 32 };
        let mut total = 0_u64;
        let mut spans = Vec::with_capacity(self.regions.len());
        for region in &self.regions {
            let size = region.bytes.len() as u64;
            let bad = |rule| ExecError::Region { address: region.address, size, rule };
            if !region.address.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || size == 0 {
                return Err(bad("address and size must be multiples of 0x1000, the size not 0"));
            }
            let last = region.address.checked_add(size).filter(|&last| last <= end);
            spans.push((region.address, last.ok_or(bad("it must end within the addresses of ring 3"))?));
            total += size;
        }
        if total > MAX_MEMORY || self.regions.len() > MAX_REGIONS {
            return Err(ExecError::TooMuchMemory { bytes: total, regions: self.regions.len() });
        }
        spans.sort_unstable();
        if let Some([(_, _), (address, _)]) = spans.array_windows::<2>().find(|[a, b]| a.1 > b.0) {
            return Err(ExecError::Overlap { address: *address });
        }
        self.validate_registers(end)
    }

    fn validate_registers(&self, end: u64) -> Result<(), ExecError> {
        let r = &self.registers;
        let bad = |name, value, rule| Err(ExecError::Register { name, value, rule });
        if r.rflags & !(Registers::LOADABLE_FLAGS | Registers::FIXED_FLAGS) != 0 {
            return bad(
                "rflags",
                r.rflags,
                "ring 3 can set CF, PF, AF, ZF, SF, TF, DF, OF, NT, AC and ID: mask 0x244fd7",
            );
        }
        if r.mxcsr & !Registers::MXCSR_MASK != 0 {
            return bad("mxcsr", u64::from(r.mxcsr), "bits 16 to 31 are reserved");
        }
        if r.rip >= end {
            return bad("rip", r.rip, "it must lie within the addresses of ring 3");
        }
        for (name, base) in [("fs_base", r.fs_base), ("gs_base", r.gs_base)] {
            if base >= end {
                return bad(name, base, "it must lie within the addresses of ring 3");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Access;

    fn snippet(spans: &[(u64, usize)]) -> Snippet {
        let regions = spans
            .iter()
            .map(|&(address, size)| Region { address, bytes: vec![0; size], access: Access::RWX })
            .collect();
        Snippet { mode: Mode::Bits64, registers: Registers::default(), regions, budget: 1 }
    }

    #[test]
    fn regions_are_aligned_in_range_and_apart() {
        assert!(snippet(&[(0x1000, 0x1000), (0x2000, 0x1000)]).validate().is_ok());
        for bad in [&[(0x1001, 0x1000)][..], &[(0x1000, 1)], &[(0x1000, 0)], &[(USER_END, 0x1000)]] {
            assert!(matches!(snippet(bad).validate(), Err(ExecError::Region { .. })), "{bad:?}");
        }
        let overlap = snippet(&[(0x4000, 0x1000), (0x3000, 0x2000)]).validate();
        assert!(matches!(overlap, Err(ExecError::Overlap { address: 0x4000 })));
    }

    #[test]
    fn registers_that_no_ring_3_program_can_hold_are_refused() {
        let mut s = snippet(&[(0x1000, 0x1000)]);
        s.registers.rflags |= 3 << 12;
        assert!(matches!(s.validate(), Err(ExecError::Register { name: "rflags", .. })));
        s.registers = Registers { mxcsr: 1 << 17, ..Registers::default() };
        assert!(matches!(s.validate(), Err(ExecError::Register { name: "mxcsr", .. })));
        s.mode = Mode::Bits32;
        s.registers = Registers { rip: 1 << 32, ..Registers::default() };
        assert!(matches!(s.validate(), Err(ExecError::Register { name: "rip", .. })));
    }
}
