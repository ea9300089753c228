//! The architectural state that a dump shows, the same for every virtual CPU.

/// A segment register with its hidden part (Intel SDM, volume 3, 3.4.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit, bytes.
    pub limit: u32,
    /// Code segment: 64-bit mode.
    pub long: bool,
    /// Code segment: 32-bit operands.
    pub big: bool,
}

/// Registers of a virtual CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encodings.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS: the order of their encodings.
    pub segments: [Segment; 6],
    /// CR0.
    pub cr0: u64,
    /// CR2, the address of the last page fault.
    pub cr2: u64,
    /// CR3, the page table.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// Current privilege level, 0 to 3.
    pub cpl: u8,
}

/// CR0.PE: protected mode.
const CR0_PE: u64 = 1;
/// CR0.PG: paging.
const CR0_PG: u64 = 1 << 31;
/// IA32_EFER.LMA: IA-32e mode is active.
const EFER_LMA: u64 = 1 << 10;

impl Registers {
    /// The code segment.
    pub const fn cs(&self) -> &Segment {
        &self.segments[1]
    }

    /// Whether addresses are translated by page tables.
    pub const fn paging(&self) -> bool {
        self.cr0 & CR0_PG != 0
    }

    /// Whether IA-32e mode is active, so that page tables have four levels.
    pub const fn long_mode(&self) -> bool {
        self.efer & EFER_LMA != 0
    }

    /// The processor's mode in words.
    pub const fn mode(&self) -> &'static str {
        let cs = self.cs();
        match (self.long_mode(), self.cr0 & CR0_PE != 0) {
            (true, _) if cs.long => "64-bit mode",
            (true, _) => "compatibility mode",
            (false, true) if cs.big => "32-bit protected mode",
            (false, true) => "16-bit protected mode",
            (false, false) => "real mode",
        }
    }

    /// Linear address of the next instruction.
    pub const fn linear_rip(&self) -> u64 {
        if self.long_mode() && self.cs().long { self.rip } else { self.cs().base.wrapping_add(self.rip) & 0xffff_ffff }
    }
}
