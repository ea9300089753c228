//! Host code for one SIMD instruction on fixed registers: a stub.
//!
//! A stub is a function of one argument, the address of an [`Operands`]: it loads what the instruction reads, executes
//! it, and stores what it wrote. The explicit operands 0 to 3 are XMM1 to XMM4 or RAX there, whatever they are in the
//! guest; a memory operand is a register too, which the handler fills before or stores after. So a stub depends on the
//! instruction and its immediate alone, and reaches no memory but its operands.

use core::mem::offset_of;

use iced_x86::{
    Code, CpuidFeature as F, Encoder, EncodingKind, Instruction, InstructionInfoFactory, MemoryOperand, Mnemonic,
    OpAccess, OpCodeOperandKind as K, OpKind, Register,
};

/// The extensions whose instructions are executed by stubs.
pub(crate) const EXTENSIONS: [F; 11] =
    [F::SSE3, F::SSSE3, F::SSE4_1, F::SSE4_2, F::AVX, F::AVX2, F::FMA, F::F16C, F::AES, F::PCLMULQDQ, F::SHA];

/// No operand.
pub(crate) const NONE: u8 = 0xff;

/// What a stub works on.
#[repr(C, align(32))]
#[derive(Default)]
pub(crate) struct Operands {
    /// XMM0, where an instruction implies it, then the explicit operands 0 to 3, each as its two halves.
    pub(crate) vector: [[u128; 2]; 5],
    /// RAX, RCX and RDX.
    pub(crate) general: [u64; 3],
    /// RFLAGS after the instruction, if it writes flags.
    pub(crate) rflags: u64,
    /// MXCSR for the instruction, and after it, where it runs under controls of its own.
    pub(crate) mxcsr: u32,
    /// The host's MXCSR meanwhile.
    pub(crate) host_mxcsr: u32,
}

/// What is to be known of a stub to call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stub {
    /// Where the code area holds it.
    pub(crate) offset: u32,
    /// Elements of [`Operands::vector`] that it loads and stores, as bits.
    pub(crate) reads: u8,
    pub(crate) writes: u8,
    /// The same of [`Operands::general`].
    pub(crate) general_reads: u8,
    pub(crate) general_writes: u8,
    /// The explicit operand in RAX.
    pub(crate) general_operand: u8,
    /// The explicit operand that may be in memory, and its size in bytes.
    pub(crate) memory_operand: u8,
    pub(crate) memory_bytes: u8,
    pub(crate) immediate: u8,
    /// It writes flags.
    pub(crate) flags: bool,
    /// VEX-encoded: bits 128-255 of the destination are written.
    pub(crate) vex: bool,
    /// Operands have 256 bits.
    pub(crate) wide: bool,
    /// MXCSR controls it and tells of its exceptions.
    pub(crate) rounds: bool,
    /// A memory operand must be aligned to its size.
    pub(crate) aligned: bool,
}

/// Whether the instruction belongs to what stubs execute.
pub(crate) fn is_of_extensions(code: Code) -> bool {
    code.cpuid_features().iter().all(|feature| EXTENSIONS.contains(feature))
}

/// Starts of the names of instructions that neither round nor raise floating-point exceptions.
const EXACT: [&str; 18] = [
    "p",
    "aes",
    "sha",
    "mov",
    "and",
    "or",
    "xor",
    "blend",
    "shuf",
    "unpck",
    "insert",
    "extract",
    "broadcast",
    "test",
    "rcp",
    "rsqrt",
    "mpsadbw",
    "lddqu",
];

/// The name of an instruction without the V of its VEX form.
pub(crate) fn base_name(mnemonic: Mnemonic) -> String {
    let name = format!("{mnemonic:?}").to_ascii_lowercase();
    name.strip_prefix('v').map(str::to_owned).unwrap_or(name)
}

fn rounds(mnemonic: Mnemonic) -> bool {
    let name = base_name(mnemonic);
    !EXACT.iter().any(|start| name.starts_with(start))
}

/// Strings may lie anywhere in memory.
fn is_string_comparison(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(mnemonic, M::Pcmpestri | M::Pcmpestrm | M::Pcmpistri | M::Pcmpistrm | M::Pcmpestri64 | M::Pcmpestrm64)
}

/// The immediate that the stub of an instruction has.
pub(crate) fn immediate(ins: &Instruction) -> u8 {
    let has = (0..ins.op_count()).any(|i| ins.op_kind(i) == OpKind::Immediate8);
    let in_memory = (0..ins.op_count()).any(|i| ins.op_kind(i) == OpKind::Memory);
    match ins.mnemonic() {
        _ if !has => 0,
        // From memory there is one element: which of four is not asked.
        Mnemonic::Insertps | Mnemonic::Vinsertps if in_memory => ins.immediate8() & 0x3f,
        _ => ins.immediate8(),
    }
}

/// The instruction on the registers of a stub; `None` if it has operands of another kind.
fn on_fixed_registers(ins: &Instruction) -> Option<Instruction> {
    let code = ins.code();
    let info = code.op_code();
    let mut fixed = Instruction::new();
    fixed.set_code(code);
    for i in 0..info.op_count() {
        let vector = |first: Register| Register::try_from(first as usize + 1 + i as usize).ok();
        let register = match info.op_kind(i) {
            K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 | K::xmm_or_mem => vector(Register::XMM0)?,
            K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 | K::ymm_or_mem => vector(Register::YMM0)?,
            K::r32_reg | K::r32_rm | K::r32_or_mem => Register::EAX,
            K::r64_reg | K::r64_rm | K::r64_or_mem => Register::RAX,
            K::imm8 => {
                fixed.set_op_kind(i, OpKind::Immediate8);
                fixed.set_immediate8(immediate(ins));
                continue;
            }
            _ => return None,
        };
        fixed.set_op_kind(i, OpKind::Register);
        fixed.set_op_register(i, register);
    }
    Some(fixed)
}

/// Index in [`Operands::general`].
fn general_index(register: Register) -> Option<u8> {
    match register.full_register() {
        Register::RAX => Some(0),
        Register::RCX => Some(1),
        Register::RDX => Some(2),
        _ => None,
    }
}

const GENERAL: [Register; 3] = [Register::RAX, Register::RCX, Register::RDX];

/// The stub for an instruction and its code; `None` unless it works on registers that are known here, and on nothing
/// else.
pub(crate) fn assemble(ins: &Instruction) -> Option<(Stub, Vec<u8>)> {
    if !is_of_extensions(ins.code()) {
        return None;
    }
    let fixed = on_fixed_registers(ins)?;
    let code = fixed.code();
    let vex = code.encoding() == EncodingKind::VEX;
    let memory_bytes = ins.memory_size().size() as u8;
    let operands = || (0..code.op_code().op_count()).map(|i| (i as u8, code.op_code().op_kind(i)));
    let memory = operands()
        .find(|(_, kind)| matches!(kind, K::xmm_or_mem | K::ymm_or_mem | K::r32_or_mem | K::r64_or_mem))
        .map_or(NONE, |(i, _)| i);
    let registers = || (0..fixed.op_count()).map(|i| (i as u8, fixed.op_register(i)));
    let mut stub = Stub {
        offset: 0,
        reads: 0,
        writes: 0,
        general_reads: 0,
        general_writes: 0,
        general_operand: registers().find(|(_, register)| register.is_gpr()).map_or(NONE, |(i, _)| i),
        memory_operand: memory,
        memory_bytes,
        immediate: immediate(ins),
        flags: fixed.rflags_modified() != 0,
        vex,
        wide: registers().any(|(_, register)| register.is_ymm()),
        rounds: rounds(ins.mnemonic()),
        aligned: !vex && memory_bytes == 16 && !is_string_comparison(ins.mnemonic()),
    };
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(&fixed);
    if !info.used_memory().is_empty() {
        return None;
    }
    for used in info.used_registers() {
        let (reads, writes, bit) = if used.register().is_vector_register() {
            (&mut stub.reads, &mut stub.writes, u8::try_from(used.register().number()).ok().filter(|n| *n < 5)?)
        } else {
            (&mut stub.general_reads, &mut stub.general_writes, general_index(used.register())?)
        };
        match used.access() {
            OpAccess::Read => *reads |= 1 << bit,
            OpAccess::Write => *writes |= 1 << bit,
            OpAccess::ReadWrite => {
                *reads |= 1 << bit;
                *writes |= 1 << bit;
            }
            _ => return None,
        }
    }
    let code = Assembler::new().function(&stub, &fixed)?;
    Some((stub, code))
}

/// Writes the code of one stub.
struct Assembler {
    encoder: Encoder,
}

impl Assembler {
    fn new() -> Self {
        Self { encoder: Encoder::new(64) }
    }

    fn push(&mut self, instruction: &Instruction) -> Option<()> {
        self.encoder.encode(instruction, 0).ok().map(|_| ())
    }

    /// `code register, [operands + offset]`.
    fn load(&mut self, code: Code, register: Register, offset: usize) -> Option<()> {
        let memory = MemoryOperand::with_base_displ(Register::RDI, offset as i64);
        self.push(&Instruction::with2(code, register, memory).ok()?)
    }

    /// `code [operands + offset], register`.
    fn store(&mut self, code: Code, offset: usize, register: Register) -> Option<()> {
        let memory = MemoryOperand::with_base_displ(Register::RDI, offset as i64);
        self.push(&Instruction::with2(code, memory, register).ok()?)
    }

    fn function(mut self, stub: &Stub, instruction: &Instruction) -> Option<Vec<u8>> {
        let xmm = |i: usize| Register::try_from(Register::XMM0 as usize + i).ok();
        let ymm = |i: usize| Register::try_from(Register::YMM0 as usize + i).ok();
        let place = |i: usize| offset_of!(Operands, vector) + i * 32;
        for i in (0..5).filter(|i| stub.reads >> i & 1 != 0) {
            let code = if stub.vex { Code::VEX_Vmovups_xmm_xmmm128 } else { Code::Movups_xmm_xmmm128 };
            self.load(code, xmm(i)?, place(i))?;
            if stub.wide {
                // In halves, as they were stored: so they are forwarded from the store buffer.
                let memory = MemoryOperand::with_base_displ(Register::RDI, place(i) as i64 + 16);
                let code = Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8;
                self.push(&Instruction::with4(code, ymm(i)?, ymm(i)?, memory, 1).ok()?)?;
            }
        }
        for (i, register) in GENERAL.into_iter().enumerate().filter(|(i, _)| stub.general_reads >> i & 1 != 0) {
            self.load(Code::Mov_r64_rm64, register, offset_of!(Operands, general) + i * 8)?;
        }
        self.push(instruction)?;
        if stub.flags {
            self.push(&Instruction::with(Code::Pushfq))?;
            self.push(&Instruction::with1(Code::Pop_r64, Register::R8).ok()?)?;
            self.store(Code::Mov_rm64_r64, offset_of!(Operands, rflags), Register::R8)?;
        }
        for i in (0..5).filter(|i| stub.writes >> i & 1 != 0) {
            let code = if stub.vex { Code::VEX_Vmovups_xmmm128_xmm } else { Code::Movups_xmmm128_xmm };
            self.store(code, place(i), xmm(i)?)?;
            if stub.wide {
                let memory = MemoryOperand::with_base_displ(Register::RDI, place(i) as i64 + 16);
                let code = Code::VEX_Vextractf128_xmmm128_ymm_imm8;
                self.push(&Instruction::with3(code, memory, ymm(i)?, 1).ok()?)?;
            }
        }
        for (i, register) in GENERAL.into_iter().enumerate().filter(|(i, _)| stub.general_writes >> i & 1 != 0) {
            self.store(Code::Mov_rm64_r64, offset_of!(Operands, general) + i * 8, register)?;
        }
        if stub.vex {
            // Compiled code expects clean upper halves, else its SSE instructions are slow.
            self.push(&Instruction::with(Code::VEX_Vzeroupper))?;
        }
        self.push(&Instruction::with(Code::Retnq))?;
        Some(self.encoder.take_buffer())
    }
}
