//! Is a file a program of the guest contract? Asked before any engine runs it.

use crate::elf::{ET_DYN, ET_EXEC, ElfError, ElfView, PT_INTERP};

/// Lowest address that a segment may occupy (contract, "Programs").
pub const PROGRAM_LOW: u64 = 0x1000;
/// First address above every segment (contract, "Programs").
pub const PROGRAM_HIGH: u64 = 0x7fff_0000_0000;

const PAGE: u64 = 4096;

/// Facts about a program that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Virtual address of its first instruction.
    pub entry: u64,
    /// Lowest virtual address of its segments.
    pub low: u64,
    /// First virtual address above its segments.
    pub high: u64,
    /// Memory its segments occupy, whole pages, bytes.
    pub memory: u64,
}

/// Why a file is not a program of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Not a sound ELF64 file for x86-64.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A shared object or a position-independent executable.
    #[error("the program is position-independent or shared (ELF type 3); link it with -static -no-pie")]
    PositionIndependent,
    /// It names a dynamic linker.
    #[error("the program needs a dynamic linker; link it with -static -no-pie")]
    Dynamic,
    /// An object file, a core dump, or something else that is no executable.
    #[error("the ELF file is no executable (type {kind}, an executable is 2); link it with -static -no-pie")]
    NotExecutable {
        /// `e_type`.
        kind: u16,
    },
    /// It has no segment to load.
    #[error("the program has no loadable segment, so there is nothing to run")]
    Empty,
    /// A segment lies outside the addresses of the contract.
    #[error(
        "a segment occupies {low:#x}..{high:#x}, outside the addresses of a program \
         ({PROGRAM_LOW:#x}..{PROGRAM_HIGH:#x}); choose another link address"
    )]
    OutOfRange {
        /// First address of the segment.
        low: u64,
        /// First address above it.
        high: u64,
    },
    /// Its segments do not fit into guest RAM.
    #[error("the program occupies {need_mib} MiB, more than the {ram_mib} MiB of guest RAM; raise --ram")]
    LargerThanRam {
        /// Memory of its segments or length of its file, MiB, rounded up.
        need_mib: u64,
        /// Guest RAM, MiB.
        ram_mib: u32,
    },
}

/// Checks that `bytes` is a static, non-PIE ELF64 for x86-64 that fits into `ram_mib` MiB of guest RAM.
///
/// # Errors
/// A [`ProgramError`] whose text names the fault and the fix.
pub fn check_program(bytes: &[u8], ram_mib: u32) -> Result<ProgramInfo, ProgramError> {
    let elf = ElfView::parse(bytes)?;
    match elf.kind {
        ET_EXEC => {}
        ET_DYN => return Err(ProgramError::PositionIndependent),
        kind => return Err(ProgramError::NotExecutable { kind }),
    }
    if elf.segments.iter().any(|s| s.p_type == PT_INTERP) {
        return Err(ProgramError::Dynamic);
    }
    let mut info = ProgramInfo { entry: elf.entry, low: u64::MAX, high: 0, memory: 0 };
    for segment in elf.loads() {
        let low = segment.p_vaddr;
        let high = low.saturating_add(segment.p_memsz);
        if low < PROGRAM_LOW || high > PROGRAM_HIGH {
            return Err(ProgramError::OutOfRange { low, high });
        }
        if segment.p_offset % PAGE != low % PAGE {
            let text = "a segment's file offset and its address differ within a page, so it cannot be mapped";
            return Err(ElfError::Malformed(text).into());
        }
        info.low = info.low.min(low);
        info.high = info.high.max(high);
        // Both ends are below 2^47, so neither rounding nor the sum of 65,535 segments overflows.
        info.memory += high.next_multiple_of(PAGE) - low / PAGE * PAGE;
    }
    if info.high == 0 {
        return Err(ProgramError::Empty);
    }
    let need = info.memory.max(bytes.len() as u64);
    if need > u64::from(ram_mib) << 20 {
        return Err(ProgramError::LargerThanRam { need_mib: need.div_ceil(1 << 20), ram_mib });
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_image::{Segment, image, load};

    #[test]
    fn accepts_a_static_program() {
        let file = image(ET_EXEC, 0x40_0000, &[load(0x40_0000, b"\xf4", 0), load(0x60_0000, b"data", 64 << 20)]);
        let info = check_program(&file, 256).unwrap();
        let memory = 4096 + (64 << 20);
        assert_eq!(info, ProgramInfo { entry: 0x40_0000, low: 0x40_0000, high: 0x60_0000 + (64 << 20), memory });
    }

    #[test]
    fn refuses_with_the_reason() {
        let refuse = |kind, segments: &[Segment]| check_program(&image(kind, 0x40_0000, segments), 16).unwrap_err();
        assert_eq!(refuse(ET_DYN, &[load(0x1000, b"x", 0)]), ProgramError::PositionIndependent);
        assert_eq!(refuse(1, &[load(0x1000, b"x", 0)]), ProgramError::NotExecutable { kind: 1 });
        assert_eq!(refuse(ET_EXEC, &[]), ProgramError::Empty);
        let interpreter = Segment { kind: PT_INTERP, addr: 0x1000, bytes: b"/lib/ld.so\0".to_vec(), memsz: 0 };
        assert_eq!(refuse(ET_EXEC, &[interpreter]), ProgramError::Dynamic);
        assert_eq!(refuse(ET_EXEC, &[load(0, b"x", 16)]), ProgramError::OutOfRange { low: 0, high: 16 },);
        let kernel_half = refuse(ET_EXEC, &[load(0xffff_8000_0000_0000, b"x", u64::MAX)]);
        assert_eq!(kernel_half, ProgramError::OutOfRange { low: 0xffff_8000_0000_0000, high: u64::MAX });
        let large = refuse(ET_EXEC, &[load(0x40_0000, b"x", 17 << 20)]);
        assert_eq!(large, ProgramError::LargerThanRam { need_mib: 17, ram_mib: 16 });
        assert_eq!(check_program(b"hello", 16).unwrap_err(), ProgramError::Elf(ElfError::NotElf));
    }
}
