//! The guest-physical memory in which an emulated or virtual CPU executes a snippet: page tables, descriptor tables as
//! Linux lays them out, and a handler stub for every vector, which is a single `hlt`.
//!
//! All of it lies in supervisor pages of the kernel's half of the address space, so ring 3 sees what it sees on Linux.

use super::end::{Exception, error_code_pushed};
use super::memory::{Access, PAGE, Region};
use super::snippet::{DATA_SELECTOR, Mode};

/// Linear address of guest-physical address 0, supervisor only.
pub(crate) const SYSTEM: u64 = 0xffff_ffff_8000_0000;
const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const STUBS: u64 = 0x4000;
/// Where `syscall` leads: a `hlt` of its own, for nothing is pushed.
const CALL_STUB: u64 = 0x5000;
const STACK_TOP: u64 = 0x6000;
const FAULT_STACK_TOP: u64 = 0x7000;
/// Guest-physical address of the top page table.
pub(crate) const PML4: u64 = 0x7000;
const FIRST_TABLE: u64 = 0x8000;
/// The last page of the lower half, which no program has.
const LAST_PAGE: u64 = 0x7fff_ffff_f000;
/// Bytes of a stub.
const STUB: u64 = 16;

/// GDT as Linux has it on x86-64 (arch/x86/include/asm/segment.h): ring-3 code can tell by LAR and by loading selectors.
const DESCRIPTORS: [u64; 16] = [
    0,
    0x00cf_9b00_0000_ffff, // 0x08 kernel, 32-bit code
    0x00af_9b00_0000_ffff, // 0x10 kernel code
    0x00cf_9300_0000_ffff, // 0x18 kernel data
    0x00cf_fb00_0000_ffff, // 0x20 user, 32-bit code
    0x00cf_f300_0000_ffff, // 0x28 user data
    0x00af_fb00_0000_ffff, // 0x30 user code
    0,
    0, // 0x40 task state, filled in
    0,
    0, // 0x50 local descriptor table: none
    0,
    0, // 0x60 to 0x70 thread-local segments: none
    0,
    0,
    0x0040_f500_0000_0000, // 0x78 number of the processor, in the limit
];

pub(crate) const KERNEL_CODE: u16 = 0x10;
pub(crate) const TASK: u16 = 0x40;
/// Limit of the task state: no I/O permission map, so ring 3 has no ports.
pub(crate) const TASK_LIMIT: u16 = 0x67;

/// Page-table bits.
const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const ACCESSED_DIRTY: u64 = 3 << 5;
const LARGE: u64 = 1 << 7;
const NX: u64 = 1 << 63;

/// Vectors that ring 3 may raise by `int n` on Linux: breakpoint, overflow and the 32-bit system call.
const USER_GATES: [usize; 3] = [3, 4, SYSTEM_CALL as usize];
/// The vector of 32-bit system calls.
pub(crate) const SYSTEM_CALL: u8 = 0x80;

/// IA32_STAR, and IA32_LSTAR and IA32_CSTAR: where `syscall` leads.
pub(crate) const STAR: u64 = (KERNEL_CODE as u64) << 32;
pub(crate) const SYSCALL_ENTRY: u64 = SYSTEM + CALL_STUB;

/// The memory of one layout of regions.
#[derive(Debug)]
pub(crate) struct Image {
    /// Bytes from guest-physical address 0: tables and stubs.
    pub(crate) system: Vec<u8>,
    /// Guest-physical address of each region.
    pub(crate) regions: Vec<u64>,
    /// Bytes of RAM that are needed.
    pub(crate) size: u64,
}

/// What ring 3 can reach of the kernel's half of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelHalf {
    /// All of it is mapped: a fault there says "protection", as Linux reports every fault there.
    Mapped,
    /// Only what the image needs is mapped.
    Sparse,
}

/// A description of regions that is equal if one image fits both.
pub(crate) type Layout = Vec<(u64, usize, Access)>;

/// The layout of `regions`.
pub(crate) fn layout(regions: &[Region]) -> Layout {
    regions.iter().map(|region| (region.address, region.bytes.len(), region.access)).collect()
}

impl Image {
    /// Builds the image for a layout whose regions are whole pages that do not overlap.
    pub(crate) fn build(layout: &Layout, kernel_half: KernelHalf) -> Self {
        let mut tables = Tables { bytes: vec![0; (FIRST_TABLE) as usize] };
        put_descriptors(&mut tables.bytes);
        put_gates(&mut tables.bytes);
        tables.map_system(kernel_half);
        // The tables must be complete before the address of the first region is known: map with offsets first.
        for &(address, len, access) in layout {
            for page in (0..len as u64).step_by(PAGE as usize) {
                tables.leaf(address + page, access);
            }
        }
        let mut next = (tables.bytes.len() as u64).next_multiple_of(0x1_0000);
        let mut regions = Vec::with_capacity(layout.len());
        for &(address, len, access) in layout {
            regions.push(next);
            for page in (0..len as u64).step_by(PAGE as usize) {
                let (slot, flags) = tables.leaf(address + page, access);
                tables.put(slot, (next + page) | flags);
            }
            next += len as u64;
        }
        Self { system: tables.bytes, regions, size: next }
    }
}

/// Page tables under construction.
struct Tables {
    bytes: Vec<u8>,
}

impl Tables {
    fn get(&self, at: u64) -> u64 {
        let at = at as usize;
        self.bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    fn put(&mut self, at: u64, value: u64) {
        if let Some(place) = self.bytes.get_mut(at as usize..at as usize + 8) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn new_table(&mut self) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.resize(self.bytes.len() + PAGE as usize, 0);
        at
    }

    /// The table that the entry at `slot` points to, made if there is none.
    fn descend(&mut self, slot: u64, user: u64) -> u64 {
        let entry = self.get(slot);
        if entry & P != 0 {
            return entry & !0xfff;
        }
        let table = self.new_table();
        self.put(slot, table | P | RW | user | ACCESSED_DIRTY & (1 << 5));
        table
    }

    /// Where the leaf entry of a user page is, and its flags.
    fn leaf(&mut self, address: u64, access: Access) -> (u64, u64) {
        let mut table = PML4;
        for shift in [39, 30, 21] {
            table = self.descend(table + (address >> shift & 511) * 8, US);
        }
        let write = if access.write { RW } else { 0 };
        let no_execute = if access.execute { 0 } else { NX };
        (table + (address >> 12 & 511) * 8, P | US | write | no_execute | ACCESSED_DIRTY)
    }

    /// Maps guest-physical `[0, 2 MiB)` at [`SYSTEM`], and the rest of the kernel's half as asked.
    fn map_system(&mut self, kernel_half: KernelHalf) {
        let upper = self.descend(PML4 + 511 * 8, 0);
        if kernel_half == KernelHalf::Mapped {
            let everything = self.new_table();
            for i in 0..512 {
                self.put(everything + i * 8, P | RW | LARGE | NX | ACCESSED_DIRTY);
                self.put(upper + i * 8, P | RW | LARGE | NX | ACCESSED_DIRTY);
            }
            for i in 256..511 {
                self.put(PML4 + i * 8, everything | P | RW | 1 << 5);
            }
            self.put(upper + 510 * 8, 0);
            // So is the last page below the hole, which Linux keeps for itself (TASK_SIZE_MAX).
            let (slot, _) = self.leaf(LAST_PAGE, Access::R);
            self.put(slot, P | NX | ACCESSED_DIRTY);
        }
        let directory = self.descend(upper + 510 * 8, 0);
        if kernel_half == KernelHalf::Mapped {
            for i in 1..512 {
                self.put(directory + i * 8, P | RW | LARGE | NX | ACCESSED_DIRTY);
            }
        }
        self.put(directory, P | RW | LARGE | ACCESSED_DIRTY);
    }
}

fn put_descriptors(bytes: &mut [u8]) {
    let mut put = |at: u64, value: u64| bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
    for (i, descriptor) in DESCRIPTORS.into_iter().enumerate() {
        put(GDT + i as u64 * 8, descriptor);
    }
    // A busy 64-bit TSS (Intel SDM volume 3, figure 9-4).
    let base = SYSTEM + TSS;
    let low = u64::from(TASK_LIMIT) | (base & 0xff_ffff) << 16 | 0x8b << 40 | (base >> 24 & 0xff) << 56;
    put(GDT + u64::from(TASK), low);
    put(GDT + u64::from(TASK) + 8, base >> 32);
    put(TSS + 4, SYSTEM + STACK_TOP);
    put(TSS + 0x24, SYSTEM + FAULT_STACK_TOP);
    // Offset of the I/O permission map: past the limit.
    bytes[TSS as usize + 0x66..TSS as usize + 0x68].copy_from_slice(&(TASK_LIMIT + 1).to_le_bytes());
}

fn put_gates(bytes: &mut [u8]) {
    bytes[CALL_STUB as usize..][..3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
    for vector in 0..256_usize {
        let stub = SYSTEM + STUBS + vector as u64 * STUB;
        // hlt; jmp to it
        bytes[STUBS as usize + vector * 16..][..3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
        let dpl = if USER_GATES.contains(&vector) { 3 } else { 0 };
        let stack = u64::from(vector == 8);
        let low = stub & 0xffff
            | u64::from(KERNEL_CODE) << 16
            | stack << 32
            | (0x8e | dpl << 5) << 40
            | (stub >> 16 & 0xffff) << 48;
        let at = IDT as usize + vector * 16;
        bytes[at..at + 8].copy_from_slice(&low.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(stub >> 32).to_le_bytes());
    }
}

/// Linear base and limit of the GDT and of the IDT, and linear base of the TSS.
pub(crate) const fn system_tables() -> ((u64, u16), (u64, u16), u64) {
    ((SYSTEM + GDT, 0x7f), (SYSTEM + IDT, 0xfff), SYSTEM + TSS)
}

/// What the processor pushed when it entered a stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trapped {
    pub(crate) exception: Exception,
    pub(crate) rip: u64,
    pub(crate) cs: u16,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u16,
}

/// The system call that `syscall` made in `mode`, from the registers that it left.
pub(crate) fn called(gprs: &[u64; 16], mode: Mode) -> Trapped {
    Trapped {
        exception: Exception::new(SYSTEM_CALL, 0, 0),
        rip: gprs[1],
        cs: mode.code_selector(),
        rflags: gprs[11],
        rsp: gprs[4],
        ss: DATA_SELECTOR,
    }
}

/// The exception or system call whose stub halted with RIP past its `hlt`; `read` reads a quadword of guest-physical
/// memory.
pub(crate) fn trapped(
    rip: u64,
    gprs: &[u64; 16],
    cr2: u64,
    mode: Mode,
    read: impl Fn(u64) -> Option<u64>,
) -> Option<Trapped> {
    if rip == SYSCALL_ENTRY + 1 {
        return Some(called(gprs, mode));
    }
    let rsp = gprs[4];
    let offset = rip.wrapping_sub(SYSTEM + STUBS + 1);
    if !offset.is_multiple_of(STUB) || offset / STUB > 255 {
        return None;
    }
    let vector = (offset / STUB) as u8;
    let word = |i: u64| read(rsp.wrapping_sub(SYSTEM).wrapping_add(i * 8));
    let pushed = error_code_pushed(vector);
    let first = u64::from(pushed);
    let error = if pushed { word(0)? as u32 } else { 0 };
    Some(Trapped {
        exception: Exception::new(vector, error, cr2),
        rip: word(first)?,
        cs: word(first + 1)? as u16,
        rflags: word(first + 2)?,
        rsp: word(first + 3)?,
        ss: word(first + 4)? as u16,
    })
}

/// Selectors of SS, DS, ES, FS and GS at the start, and the descriptor behind them.
pub(crate) const DATA: (u16, u64) = (DATA_SELECTOR, DESCRIPTORS[5]);

/// The descriptor of a ring-3 code selector.
pub(crate) const fn code_descriptor(selector: u16) -> u64 {
    DESCRIPTORS[(selector >> 3) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(image: &Image, address: u64) -> Option<(u64, u64)> {
        let read = |at: u64| {
            let at = at as usize;
            u64::from_le_bytes(image.system[at..at + 8].try_into().unwrap())
        };
        let (mut table, mut rights) = (PML4, RW | US);
        for shift in [39, 30, 21, 12] {
            let entry = read(table + (address >> shift & 511) * 8);
            if entry & P == 0 {
                return None;
            }
            rights &= entry;
            let frame = entry & 0x000f_ffff_ffff_f000;
            if shift == 12 || entry & LARGE != 0 {
                let offset = address & ((1 << shift) - 1);
                return Some((frame + offset, rights | entry & NX));
            }
            table = frame;
        }
        None
    }

    #[test]
    fn user_pages_have_the_rights_of_their_region_and_the_kernel_half_is_closed() {
        let layout = vec![(0x40_0000, 0x2000, Access::RX), (0x7fff_ffff_e000, 0x1000, Access::RW)];
        let image = Image::build(&layout, KernelHalf::Mapped);
        assert_eq!(walk(&image, 0x40_1008), Some((image.regions[0] + 0x1008, US)));
        assert_eq!(walk(&image, 0x7fff_ffff_e000), Some((image.regions[1], US | RW | NX)));
        assert_eq!(walk(&image, 0x40_2000), None);
        assert_eq!(walk(&image, SYSTEM + STUBS), Some((STUBS, RW)));
        for high in [LAST_PAGE, 0xffff_8000_0000_0000, 0xffff_ffff_a000_0000, 0xffff_ffff_c000_0000, u64::MAX] {
            let (_, rights) = walk(&image, high).unwrap();
            assert_eq!(rights & US, 0);
        }
        let sparse = Image::build(&layout, KernelHalf::Sparse);
        assert_eq!(walk(&sparse, 0xffff_8000_0000_0000), None);
        assert!(image.size >= image.regions[1] + 0x1000);
        assert!(image.system.len() as u64 <= image.regions[0]);
    }

    #[test]
    fn a_stub_tells_its_vector_and_what_was_pushed() {
        let stack = [6, 0x1234, 0x33, 0x1_0202, 0x7000, 0x2b];
        let rsp = SYSTEM + 0x100;
        let read = |at: u64| stack.get((at - 0x100) as usize / 8).copied();
        let mut gprs = [0; 16];
        gprs[4] = rsp;
        let trapped = |rip, cr2| trapped(rip, &gprs, cr2, Mode::Bits64, read);
        let page_fault = trapped(SYSTEM + STUBS + 14 * STUB + 1, 0x99).unwrap();
        assert_eq!(page_fault.exception, Exception::new(14, 6, 0x99));
        assert_eq!((page_fault.rip, page_fault.cs, page_fault.rsp), (0x1234, 0x33, 0x7000));
        let divide = trapped(SYSTEM + STUBS + 1, 0).unwrap();
        assert_eq!((divide.exception.vector, divide.rip), (0, 6));
        assert_eq!(trapped(0x1000, 0), None);
        let call = trapped(SYSCALL_ENTRY + 1, 0).unwrap();
        assert_eq!((call.exception.vector, call.rsp, call.cs), (SYSTEM_CALL, rsp, 0x33));
    }
}
