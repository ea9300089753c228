//! The register file of a ring-3 program.

/// x87 state as FXSAVE stores it (Intel SDM volume 1, 10.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct X87 {
    /// Control word.
    pub fcw: u16,
    /// Status word; bits 11-13 are TOP.
    pub fsw: u16,
    /// Abridged tag byte by physical register: bit set = in use.
    pub ftw: u8,
    /// ST(0) to ST(7), the low 80 bits of each.
    pub st: [u128; 8],
}

impl Default for X87 {
    /// As after `fninit`.
    fn default() -> Self {
        Self { fcw: 0x37f, fsw: 0, ftw: 0, st: [0; 8] }
    }
}

/// Every register that ring-3 code reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encodings.
    pub gprs: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS: the order of their encodings. As an initial state they are fixed by the mode.
    pub selectors: [u16; 6],
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// YMM0 to YMM15: bits 0-127 (XMM), then bits 128-255.
    pub ymm: [[u128; 2]; 16],
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
}

impl Registers {
    /// RFLAGS bits that a ring-3 program can start with: CF, PF, AF, ZF, SF, TF, DF, OF, NT, AC, ID.
    pub const LOADABLE_FLAGS: u64 = 0x24_4dd5;
    /// RFLAGS bits that are always set in ring 3 here: bit 1 and IF.
    pub const FIXED_FLAGS: u64 = 0x202;
    /// MXCSR bits that may be set without a #GP (Intel SDM volume 1, 10.2.3).
    pub const MXCSR_MASK: u32 = 0xffff;
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            gprs: [0; 16],
            rip: 0,
            rflags: Self::FIXED_FLAGS,
            selectors: [0; 6],
            fs_base: 0,
            gs_base: 0,
            ymm: [[0; 2]; 16],
            mxcsr: 0x1f80,
            x87: X87::default(),
        }
    }
}
