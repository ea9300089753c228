//! Whether a file can be a guest program at all (`docs/guest-contract.md`, "Programs").
//!
//! The guest kernel checks again, since it trusts nobody; here the answer is a sentence instead of a dead guest, and the
//! same on every engine. Field offsets are those of the System V ABI's `Elf64_Ehdr` and `Elf64_Phdr`.

/// Lowest virtual address of a segment.
const LOWEST: u64 = 0x1000;
/// First virtual address past every segment.
const END: u64 = 0x7fff_0000_0000;
/// Size of `Elf64_Ehdr`.
const HEADER: usize = 64;
/// Size of `Elf64_Phdr`.
const PROGRAM_HEADER: usize = 56;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_EXEC: u16 = 2;
const TYPE_DYN: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_INTERP: u32 = 3;

/// Why a file cannot be a guest program. Each message continues a sentence that begins with the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// The magic number is missing.
    #[error("is not an ELF file; give a static x86-64 Linux executable")]
    NotElf,
    /// Another class, byte order or instruction set.
    #[error("is an ELF file, but not for x86-64; build it for x86_64-linux")]
    OtherMachine,
    /// Position-independent.
    #[error("is position-independent; link it with -static -no-pie")]
    Pie,
    /// It wants a dynamic loader.
    #[error("needs a dynamic loader; link it with -static -no-pie")]
    Dynamic,
    /// An object file, a core dump or the like.
    #[error("is an ELF file of type {0}, not an executable; link it")]
    NotExecutable(u16),
    /// The file ends before what its headers promise.
    #[error("is truncated: {needed} bytes are needed and the file has {have}; build or copy it again")]
    Truncated {
        /// Bytes that the headers promise.
        needed: u64,
        /// Bytes that there are.
        have: u64,
    },
    /// There is nothing to load.
    #[error("has no segment to load; link it as an executable")]
    NoSegment,
    /// A segment where the guest's address space does not reach, or smaller in memory than in the file.
    #[error("has a segment at {start:#x} that is not within {LOWEST:#x} to {END:#x}; link it at another address")]
    Segment {
        /// The segment's virtual address.
        start: u64,
    },
    /// It does not fit into guest RAM.
    #[error("is {mib} MiB large and does not fit into {ram_mib} MiB of guest RAM; raise --ram")]
    TooLarge {
        /// The file's size, MiB, rounded up.
        mib: u64,
        /// Guest RAM, MiB.
        ram_mib: u32,
    },
}

/// Checks that `elf` can be a program in a guest with `ram_mib` MiB of RAM.
pub(super) fn check(elf: &[u8], ram_mib: u32) -> Result<(), ProgramError> {
    if !elf.starts_with(b"\x7fELF") {
        return Err(ProgramError::NotElf);
    }
    let have = elf.len() as u64;
    let mib = have.div_ceil(1 << 20);
    if mib >= u64::from(ram_mib) {
        return Err(ProgramError::TooLarge { mib, ram_mib });
    }
    if elf.len() < HEADER {
        return Err(ProgramError::Truncated { needed: HEADER as u64, have });
    }
    if elf[4] != CLASS_64 || elf[5] != LITTLE_ENDIAN || u16_at(elf, 18) != MACHINE_X86_64 {
        return Err(ProgramError::OtherMachine);
    }
    match u16_at(elf, 16) {
        TYPE_EXEC => (),
        TYPE_DYN => return Err(ProgramError::Pie),
        other => return Err(ProgramError::NotExecutable(other)),
    }
    check_segments(elf)
}

/// Checks the program headers and that the file holds all bytes they promise.
fn check_segments(elf: &[u8]) -> Result<(), ProgramError> {
    let have = elf.len() as u64;
    let table = u64_at(elf, 32);
    let count = u64::from(u16_at(elf, 56));
    if count > 0 && usize::from(u16_at(elf, 54)) != PROGRAM_HEADER {
        return Err(ProgramError::OtherMachine);
    }
    let needed = table.saturating_add(count * PROGRAM_HEADER as u64);
    if needed > have {
        return Err(ProgramError::Truncated { needed, have });
    }
    let mut loaded = false;
    // The table lies within the file, so its offset fits a usize.
    for header in elf[table as usize..].chunks_exact(PROGRAM_HEADER).take(count as usize) {
        match u32_at(header, 0) {
            SEGMENT_INTERP => return Err(ProgramError::Dynamic),
            SEGMENT_LOAD => loaded = true,
            _ => continue,
        }
        let (offset, start) = (u64_at(header, 8), u64_at(header, 16));
        let (in_file, in_memory) = (u64_at(header, 32), u64_at(header, 40));
        let needed = offset.saturating_add(in_file);
        if needed > have {
            return Err(ProgramError::Truncated { needed, have });
        }
        let end = start.saturating_add(in_memory);
        if in_memory > 0 && (start < LOWEST || end > END) || in_file > in_memory {
            return Err(ProgramError::Segment { start });
        }
    }
    if loaded { Ok(()) } else { Err(ProgramError::NoSegment) }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engines::testing::executable;

    #[test]
    fn a_static_executable_is_accepted() {
        assert_eq!(check(&executable(&[0xc3]), 256), Ok(()));
    }

    #[test]
    fn each_defect_has_its_own_answer() {
        let good = executable(&[0xc3]);
        let broken = |at: usize, value: u8| {
            let mut elf = good.clone();
            elf[at] = value;
            check(&elf, 256)
        };
        assert_eq!(check(b"#!/bin/sh\n", 256), Err(ProgramError::NotElf));
        assert_eq!(check(&[], 256), Err(ProgramError::NotElf));
        assert_eq!(broken(4, 1), Err(ProgramError::OtherMachine));
        assert_eq!(broken(18, 183), Err(ProgramError::OtherMachine));
        assert_eq!(broken(16, 3), Err(ProgramError::Pie));
        assert_eq!(broken(16, 1), Err(ProgramError::NotExecutable(1)));
        assert_eq!(broken(HEADER, 3), Err(ProgramError::Dynamic));
        assert_eq!(broken(HEADER, 2), Err(ProgramError::NoSegment));
        assert_eq!(broken(HEADER + 16 + 6, 0x80), Err(ProgramError::Segment { start: 0x80_0000_0040_0000 }));
        let have = good.len() as u64;
        assert_eq!(check(&good[..good.len() - 1], 256), Err(ProgramError::Truncated { needed: have, have: have - 1 }));
        assert_eq!(check(&good[..40], 256), Err(ProgramError::Truncated { needed: 64, have: 40 }));
        let large = [good.as_slice(), &[0; 4 << 20]].concat();
        assert_eq!(check(&large, 4), Err(ProgramError::TooLarge { mib: 5, ram_mib: 4 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &tail].concat();
            let _ = check(&elf, 256);
        }

        #[test]
        fn no_mutation_makes_it_panic(edits in proptest::collection::vec((0usize..121, any::<u8>()), 1..8)) {
            let mut elf = executable(&[0xc3]);
            for (at, value) in edits {
                elf[at] = value;
            }
            let _ = check(&elf, 256);
        }
    }
}
