//! Program files: the parts of ELF64 that a static executable needs (System V gABI, chapters 4 and 5).

use crate::region;

/// A program file in memory, its header checked.
#[derive(Clone, Copy)]
pub struct Elf {
    file: *const u8,
    size: u64,
}

/// A loadable segment. (Fields that are neighbours in the file are not neighbours here: see main.rs on SSE.)
#[derive(Clone, Copy)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes that come from the file.
    pub file_size: u64,
    /// First virtual address.
    pub start: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// READ, WRITABLE, EXECUTE.
    pub protection: u64,
}

const ENTRY: u64 = 24;
const PHOFF: u64 = 32;
const PHENTSIZE: u64 = 54;
const PHNUM: u64 = 56;
/// Size of a program header.
pub const HEADER_SIZE: u64 = 56;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
/// Programs live below this.
const TOP: u64 = 0x7fff_0000_0000;

impl Elf {
    /// Check the header.
    ///
    /// # Errors
    /// What is wrong with the file.
    ///
    /// # Safety
    /// `[file, file + size)` is readable.
    pub unsafe fn new(file: *const u8, size: u64) -> Result<Self, &'static str> {
        let elf = Self { file, size };
        if size < 64 || elf.u32_at(0) != 0x464c_457f {
            return Err("not an ELF file");
        }
        // Class, data encoding and version; then type EXEC and machine x86-64.
        if elf.u32_at(4) & 0x00ff_ffff != 0x0001_0102 || elf.u32_at(16) != 0x003e_0002 {
            return Err("not a static x86-64 executable");
        }
        let (table, count) = (elf.table_offset(), elf.header_count());
        if elf.u16_at(PHENTSIZE) != HEADER_SIZE || count == 0 || table > size || size - table < count * HEADER_SIZE {
            return Err("its program headers lie outside the file");
        }
        Ok(elf)
    }

    fn u16_at(&self, offset: u64) -> u64 {
        // SAFETY: offsets are below 64, and `new` checked the size; unaligned reads are fine.
        u64::from(unsafe { self.file.add(offset as usize).cast::<u16>().read_unaligned() })
    }

    fn u32_at(&self, offset: u64) -> u32 {
        // SAFETY: as above, or within the program headers, which `new` checked.
        unsafe { self.file.add(offset as usize).cast::<u32>().read_unaligned() }
    }

    fn u64_at(&self, offset: u64) -> u64 {
        // SAFETY: as above.
        unsafe { self.file.add(offset as usize).cast::<u64>().read_unaligned() }
    }

    /// Where execution begins.
    pub fn entry(&self) -> u64 {
        self.u64_at(ENTRY)
    }

    /// File offset of the program headers.
    pub fn table_offset(&self) -> u64 {
        self.u64_at(PHOFF)
    }

    /// How many program headers there are.
    pub fn header_count(&self) -> u64 {
        self.u16_at(PHNUM)
    }

    /// Program header `index`, if it is a segment to load.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn segment(&self, index: u64) -> Result<Option<Segment>, &'static str> {
        let at = self.table_offset() + index * HEADER_SIZE;
        match self.u32_at(at) {
            PT_INTERP => return Err("it is dynamically linked"),
            PT_LOAD => {}
            _ => return Ok(None),
        }
        let flags = self.u32_at(at + 4);
        let segment = Segment {
            protection: match flags & 4 {
                0 => 0,
                _ => region::READ,
            } | u64::from(flags & 2)
                | u64::from(flags & 1) << 2,
            offset: self.u64_at(at + 8),
            start: self.u64_at(at + 16),
            file_size: self.u64_at(at + 32),
            memory_size: self.u64_at(at + 40),
        };
        if segment.memory_size == 0 {
            return Ok(None);
        }
        if segment.offset > self.size || self.size - segment.offset < segment.file_size {
            return Err("a segment lies outside the file");
        }
        if segment.file_size > segment.memory_size {
            return Err("a segment is larger in the file than in memory");
        }
        if segment.start < 0x1000 || segment.start >= TOP || segment.memory_size > TOP - segment.start {
            return Err("a segment lies outside 0x1000-0x7fff00000000");
        }
        Ok(Some(segment))
    }
}
