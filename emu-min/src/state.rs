//! The architectural state as plain data: what [`crate::Cpu::state`] returns and [`crate::Cpu::set_state`] takes.

/// Index of a general register in [`State::gprs`], in the order of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the registers.
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// A segment register with its hidden part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit in bytes, already scaled by the granularity bit.
    pub limit: u32,
    /// Access rights as in bits 40-47 and 52-55 of a descriptor: type, S, DPL, P in bits 0-7; AVL, L, D/B, G in 12-15.
    pub attributes: u16,
}

impl Segment {
    /// A flat 32-bit code segment of privilege level 0.
    pub const fn flat_code32(selector: u16) -> Self {
        Self { selector, base: 0, limit: u32::MAX, attributes: 0xc09b }
    }

    /// A flat data segment of privilege level 0.
    pub const fn flat_data(selector: u16) -> Self {
        Self { selector, base: 0, limit: u32::MAX, attributes: 0xc093 }
    }

    /// The type field: bits 0-3 of the access byte.
    pub const fn kind(&self) -> u8 {
        (self.attributes & 15) as u8
    }

    /// Descriptor privilege level.
    pub const fn dpl(&self) -> u8 {
        (self.attributes >> 5 & 3) as u8
    }

    /// Present.
    pub const fn present(&self) -> bool {
        self.attributes & 0x80 != 0
    }

    /// Code or data, rather than a system segment.
    pub const fn is_code_or_data(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// 64-bit code.
    pub const fn long(&self) -> bool {
        self.attributes & 0x2000 != 0
    }

    /// D/B: 32-bit default operand size or stack.
    pub const fn big(&self) -> bool {
        self.attributes & 0x4000 != 0
    }
}

/// Base and limit of a descriptor table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Table {
    /// Linear address.
    pub base: u64,
    /// Last valid offset.
    pub limit: u16,
}

/// x87 state. Setting it makes the control word's reserved bits and the status word's summary bits what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fpu {
    /// Control word.
    pub fcw: u16,
    /// Status word.
    pub fsw: u16,
    /// Abridged tag byte, as FXSAVE stores it: bit set = register in use.
    pub ftw: u8,
    /// Last opcode: the low three bits of its first byte and all of its second.
    pub fop: u16,
    /// Last instruction pointer.
    pub fip: u64,
    /// Selector of the code segment that it belongs to.
    pub fcs: u16,
    /// Last data pointer.
    pub fdp: u64,
    /// Selector of the segment that it belongs to.
    pub fds: u16,
    /// ST0-ST7, the low 80 bits each.
    pub st: [u128; 8],
}

impl Default for Fpu {
    fn default() -> Self {
        Self { fcw: 0x37f, fsw: 0, ftw: 0, fop: 0, fip: 0, fcs: 0, fdp: 0, fds: 0, st: [0; 8] }
    }
}

/// Model-specific registers that hold plain state. EFER and the segment bases are fields of [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msrs {
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// IA32_SYSENTER_CS, _ESP, _EIP.
    pub sysenter: [u64; 3],
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            apic_base: 0xfee0_0900,
            pat: 0x0007_0406_0007_0406,
            misc_enable: 1,
            tsc_aux: 0,
            sysenter: [0; 3],
        }
    }
}

/// All architectural registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// General registers, indexed by [`Gpr`].
    pub gprs: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS; bit 1 is always set.
    pub rflags: u64,
    /// Code segment; its selector's RPL is the current privilege level.
    pub cs: Segment,
    /// Data segment.
    pub ds: Segment,
    /// Extra segment.
    pub es: Segment,
    /// Stack segment.
    pub ss: Segment,
    /// FS; its base is IA32_FS_BASE.
    pub fs: Segment,
    /// GS; its base is IA32_GS_BASE.
    pub gs: Segment,
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: Table,
    /// Interrupt descriptor table.
    pub idtr: Table,
    /// Control register 0.
    pub cr0: u64,
    /// Page-fault linear address.
    pub cr2: u64,
    /// Page-table base.
    pub cr3: u64,
    /// Control register 4.
    pub cr4: u64,
    /// Task priority (bits 0-3).
    pub cr8: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// Debug registers DR0-DR3, DR6, DR7.
    pub dr: [u64; 6],
    /// Other MSRs.
    pub msrs: Msrs,
    /// XMM0-XMM15: bits 0-127 of YMM0-YMM15.
    pub xmm: [u128; 16],
    /// Bits 128-255 of YMM0-YMM15.
    pub ymm_high: [u128; 16],
    /// Extended control register 0: the state components that XSAVE manages.
    pub xcr0: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87.
    pub fpu: Fpu,
    /// What RDTSC adds to the host's time-stamp counter (wrapping).
    pub tsc_offset: u64,
    /// Interrupts are held off for one instruction (after STI, MOV SS or POP SS).
    pub interrupt_shadow: bool,
    /// The shadow is that of MOV SS or POP SS, which holds off NMIs and debug traps too.
    pub stack_shadow: bool,
    /// NMIs are held off until IRET.
    pub nmi_blocked: bool,
}

impl State {
    /// A quiescent protected-mode state: flat 32-bit segments, paging off, everything else as after INIT.
    ///
    /// Real mode is not modelled, so this is not the architectural reset state.
    pub fn reset() -> Self {
        Self {
            gprs: [0; 16],
            rip: 0,
            rflags: 2,
            cs: Segment::flat_code32(0x10),
            ds: Segment::flat_data(0x18),
            es: Segment::flat_data(0x18),
            ss: Segment::flat_data(0x18),
            fs: Segment::flat_data(0x18),
            gs: Segment::flat_data(0x18),
            ldtr: Segment { limit: 0xffff, attributes: 0x82, ..Segment::default() },
            tr: Segment { limit: 0x67, attributes: 0x8b, ..Segment::default() },
            gdtr: Table::default(),
            idtr: Table::default(),
            cr0: 0x11, // PE | ET
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            efer: 0,
            dr: [0, 0, 0, 0, 0xffff_0ff0, 0x400],
            msrs: Msrs::default(),
            xmm: [0; 16],
            ymm_high: [0; 16],
            xcr0: 1,
            mxcsr: 0x1f80,
            fpu: Fpu::default(),
            tsc_offset: 0,
            interrupt_shadow: false,
            stack_shadow: false,
            nmi_blocked: false,
        }
    }

    /// The state at a PVH entry point: [`Self::reset`] with EIP = `entry` and EBX = address of `hvm_start_info`
    /// (Xen, "x86/HVM direct boot ABI").
    pub fn pvh(entry: u64, start_info: u64) -> Self {
        let mut state = Self::reset();
        state.rip = entry & 0xffff_ffff;
        state.gprs[Gpr::Rbx as usize] = start_info & 0xffff_ffff;
        state
    }

    /// A flat 64-bit state at privilege level `cpl` (0 or 3) with the page tables at `cr3`; SSE is on.
    pub fn long_mode(rip: u64, rsp: u64, cr3: u64, cpl: u8) -> Self {
        let mut state = Self::reset();
        let dpl = u16::from(cpl & 3) << 5;
        state.cs = Segment { selector: 0x10 | u16::from(cpl & 3), base: 0, limit: u32::MAX, attributes: 0xa09b | dpl };
        state.ss = Segment { selector: 0x18 | u16::from(cpl & 3), base: 0, limit: u32::MAX, attributes: 0xc093 | dpl };
        (state.ds, state.es, state.fs, state.gs) = (state.ss, state.ss, state.ss, state.ss);
        state.rip = rip;
        state.gprs[Gpr::Rsp as usize] = rsp;
        state.cr0 = 0x8001_0013; // PG | WP | ET | MP | PE
        state.cr3 = cr3;
        state.cr4 = 0x620; // OSXMMEXCPT | OSFXSR | PAE
        state.efer = 0xd01; // NXE | LMA | LME | SCE
        state
    }
}
