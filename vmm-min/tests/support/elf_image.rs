//! Builds ELF files out of bytes, for tests and benches.

const PAGE: usize = 4096;

/// A segment for [`image`].
pub(crate) struct Segment {
    /// `p_type`: 1 is PT_LOAD, 4 is PT_NOTE.
    pub(crate) kind: u32,
    /// Virtual and physical address.
    pub(crate) addr: u64,
    /// Its bytes in the file.
    pub(crate) bytes: Vec<u8>,
    /// Its size in memory, if larger than in the file.
    pub(crate) memsz: u64,
}

/// A loadable segment at `addr`.
pub(crate) fn load(addr: u64, bytes: &[u8], memsz: u64) -> Segment {
    Segment { kind: 1, addr, bytes: bytes.to_vec(), memsz }
}

/// An ELF note that names `entry` as the PVH entry point.
pub(crate) fn pvh_note(entry: u32) -> Segment {
    let words = [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), entry];
    Segment { kind: 4, addr: 0, bytes: words.iter().flat_map(|w| w.to_le_bytes()).collect(), memsz: 0 }
}

/// A bootable kernel with 32-bit `code` at 1 MiB, its entry.
pub(crate) fn kernel(code: &[u8]) -> Vec<u8> {
    image(2, 0x10_0000, &[load(0x10_0000, code, 0), pvh_note(0x10_0000)])
}

/// An ELF64 file for x86-64 of type `kind`: headers, then the segments' bytes, each page-aligned.
pub(crate) fn image(kind: u16, entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&kind.to_le_bytes());
    file.extend_from_slice(&62u16.to_le_bytes()); // EM_X86_64
    file.extend_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(&entry.to_le_bytes());
    file.extend_from_slice(&64u64.to_le_bytes()); // e_phoff
    file.extend_from_slice(&0u64.to_le_bytes());
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    let mut offset = PAGE;
    for s in segments {
        let size = s.bytes.len() as u64;
        file.extend_from_slice(&s.kind.to_le_bytes());
        file.extend_from_slice(&7u32.to_le_bytes());
        for field in [offset as u64, s.addr, s.addr, size, s.memsz.max(size), PAGE as u64] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        offset += s.bytes.len().next_multiple_of(PAGE);
    }
    for s in segments {
        file.resize(file.len().next_multiple_of(PAGE), 0);
        file.extend_from_slice(&s.bytes);
    }
    file
}
