//! A checked view of an ELF64 executable for x86-64: header and segments, every offset inside the file.
//!
//! linux-loader copies kernels into guest memory; this view says beforehand, in words a user understands, why a file
//! cannot be one.

use linux_loader::elf::{Elf64_Ehdr, Elf64_Phdr};
use vm_memory::ByteValued;

/// The segment is loaded into memory (gABI, chapter 5).
pub(crate) const PT_LOAD: u32 = 1;
/// The file names a dynamic linker.
pub(crate) const PT_INTERP: u32 = 3;
/// The segment holds notes.
pub(crate) const PT_NOTE: u32 = 4;

/// An executable with fixed addresses (gABI, chapter 4).
pub(crate) const ET_EXEC: u16 = 2;
/// A shared object, or a position-independent executable.
pub(crate) const ET_DYN: u16 = 3;

const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const EM_X86_64: u16 = 62;

/// Why bytes are not an ELF64 executable for x86-64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The magic number is missing.
    #[error("not an ELF file: it does not begin with the bytes 7f 45 4c 46")]
    NotElf,
    /// ELFCLASS32 or an unknown class.
    #[error("not a 64-bit ELF file (class {class}, 64-bit is 2); build it for x86_64")]
    NotElf64 {
        /// `e_ident[EI_CLASS]`.
        class: u8,
    },
    /// Another processor or byte order.
    #[error("not a program for x86-64 (ELF machine {machine}, x86-64 is 62); build it for x86_64")]
    NotX86 {
        /// `e_machine`.
        machine: u16,
    },
    /// A header or a segment lies beyond the end of the file.
    #[error("the ELF file is truncated: {what} needs {needs} bytes, the file has {len}")]
    Truncated {
        /// What does not fit.
        what: &'static str,
        /// Length the file must have at least, bytes.
        needs: u64,
        /// Length it has, bytes.
        len: u64,
    },
    /// A field contradicts the format.
    #[error("the ELF file is malformed: {0}")]
    Malformed(&'static str),
}

/// A parsed header and its program headers.
#[derive(Debug)]
pub(crate) struct ElfView {
    pub(crate) kind: u16,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Elf64_Phdr>,
}

impl ElfView {
    /// Reads the headers of `bytes`; every segment with bytes in the file lies inside it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let len = bytes.len() as u64;
        if !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let header: Elf64_Ehdr = read_at(bytes, 0, "the ELF header")?;
        if header.e_ident[4] != ELFCLASS64 {
            return Err(ElfError::NotElf64 { class: header.e_ident[4] });
        }
        if header.e_ident[5] != ELFDATA2LSB || header.e_machine != EM_X86_64 {
            return Err(ElfError::NotX86 { machine: header.e_machine });
        }
        if usize::from(header.e_phentsize) != size_of::<Elf64_Phdr>() {
            return Err(ElfError::Malformed("its program headers do not have 56 bytes each"));
        }
        // linux-loader asks for the same; nothing but the ELF header can precede the table.
        if header.e_phoff < size_of::<Elf64_Ehdr>() as u64 {
            return Err(ElfError::Malformed("its program headers overlap the ELF header"));
        }
        let mut segments = Vec::with_capacity(usize::from(header.e_phnum));
        for index in 0..u64::from(header.e_phnum) {
            let at = header.e_phoff.checked_add(index * size_of::<Elf64_Phdr>() as u64);
            let at = at.ok_or(ElfError::Malformed("the offset of its program headers overflows"))?;
            let segment: Elf64_Phdr = read_at(bytes, at, "the table of program headers")?;
            let end = segment.p_offset.checked_add(segment.p_filesz);
            let needs = end.ok_or(ElfError::Malformed("the size of a segment overflows"))?;
            if matches!(segment.p_type, PT_LOAD | PT_NOTE) && needs > len {
                return Err(ElfError::Truncated { what: "a segment", needs, len });
            }
            if segment.p_type == PT_LOAD && segment.p_filesz > segment.p_memsz {
                return Err(ElfError::Malformed("a segment is larger in the file than in memory"));
            }
            segments.push(segment);
        }
        Ok(Self { kind: header.e_type, entry: header.e_entry, segments })
    }

    /// The segments that occupy memory.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &Elf64_Phdr> {
        self.segments.iter().filter(|s| s.p_type == PT_LOAD && s.p_memsz > 0)
    }
}

fn read_at<T: ByteValued + Default>(bytes: &[u8], at: u64, what: &'static str) -> Result<T, ElfError> {
    let len = bytes.len() as u64;
    let needs = at.saturating_add(size_of::<T>() as u64);
    let mut value = T::default();
    // `needs <= len` bounds both ends by the slice's length, which is a usize.
    if needs > len {
        return Err(ElfError::Truncated { what, needs, len });
    }
    value.as_mut_slice().copy_from_slice(&bytes[at as usize..needs as usize]);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_image::{image, load};

    #[test]
    fn says_what_is_wrong() {
        let good = image(ET_EXEC, 0x1000, &[load(0x1000, b"code", 0)]);
        assert!(ElfView::parse(&good).is_ok());
        assert_eq!(ElfView::parse(b"#!/bin/sh\n").unwrap_err(), ElfError::NotElf);
        assert_eq!(ElfView::parse(b"").unwrap_err(), ElfError::NotElf);
        let truncated = ElfView::parse(&good[..40]).unwrap_err();
        assert_eq!(truncated, ElfError::Truncated { what: "the ELF header", needs: 64, len: 40 });
        let truncated = ElfView::parse(&good[..4098]).unwrap_err();
        assert_eq!(truncated, ElfError::Truncated { what: "a segment", needs: 4100, len: 4098 });

        let mut elf32 = good.clone();
        elf32[4] = 1;
        assert_eq!(ElfView::parse(&elf32).unwrap_err(), ElfError::NotElf64 { class: 1 });
        let mut arm = good.clone();
        arm[18] = 183;
        assert_eq!(ElfView::parse(&arm).unwrap_err(), ElfError::NotX86 { machine: 183 });
        let mut huge = good;
        huge[64 + 32..64 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(ElfView::parse(&huge).unwrap_err(), ElfError::Malformed(_)));
    }
}
