//! Bytes to the internal form: iced-x86 decodes, this module maps its instruction to an [`Op`] and picks the handler.

use iced_x86::{
    CpuidFeature, Decoder, DecoderError, DecoderOptions, EncodingKind, Instruction, Mnemonic, OpKind, Register,
};

use crate::core::{CS, Core, DS, ES, FS, GS, Mode, SS};
use crate::model::Model;
use crate::op::{
    ADDR16, ADDR32, Form, IMM3, LEGACY, LOCK, OTHER, Op, R, REG3, REP, REPNE, SEG_BASES, Selected, ZERO, end,
};
use crate::{
    alu, atomic, avx_gather, avx_mask, avx_mov, avx_zero, bcd, bits, bmi, control, control_register, crc32, debug,
    descriptor, exception, far, fpu, invalidate, io, mmx, mov, muldiv, shift, sse_mov, sse_ops, stack, string,
};
use crate::{simd_run, sse_convert, sse_shuffle, syscall, system, x87, xsave};

/// Longest instruction.
const MAX_LEN: usize = 15;

/// Linear address of an offset in the code segment.
#[inline(always)]
pub(crate) fn linear_rip(core: &Core, rip: u64) -> u64 {
    match core.mode {
        Mode::Bits64 => rip,
        _ => rip.wrapping_add(core.seg[CS].base) & 0xffff_ffff,
    }
}

/// Fetches and decodes the instruction at RIP; the flag says whether it ends a block. `accesses` counts the data
/// accesses of the operations before it. Raises the faults of the fetch; an instruction that is not implemented or not
/// valid decodes to an operation that raises #UD.
pub(crate) fn decode_one(core: &mut Core, accesses: u8) -> R<(Op, bool)> {
    if core.mode != Mode::Bits64 && core.rip > u64::from(core.seg[CS].limit) {
        return Err(core.gp());
    }
    let mut bytes = [0_u8; MAX_LEN];
    let linear = linear_rip(core, core.rip);
    let in_page = (0x1000 - (linear & 0xfff)) as usize;
    let gpa = core.fetch_address(linear)?;
    let mut have = in_page.min(MAX_LEN);
    read_code(core, gpa, &mut bytes, 0..have);
    let mut instruction = Instruction::default();
    let mut decoder = decode_bytes(core, &bytes[..have], &mut instruction);
    if decoder == DecoderError::NoMoreBytes && have < MAX_LEN {
        let gpa = core.fetch_address(linear.wrapping_add(in_page as u64))?;
        read_code(core, gpa, &mut bytes, have..MAX_LEN);
        have = MAX_LEN;
        decoder = decode_bytes(core, &bytes[..have], &mut instruction);
    }
    if decoder == DecoderError::NoMoreBytes || decoder != DecoderError::None && is_too_long(core, &bytes[..have]) {
        return Err(core.gp());
    }
    if is_exchange_with_r8(core.mode, &bytes, &instruction) {
        // The decoder takes it for PAUSE; a segment prefix means nothing, so it takes F3's place.
        bytes.iter_mut().take(instruction.len()).filter(|byte| **byte == 0xf3).for_each(|byte| *byte = 0x3e);
        decoder = decode_bytes(core, &bytes[..have], &mut instruction);
    }
    let mut op = Op::end_of_block(core.rip, 0, accesses);
    op.len = instruction.len() as u8;
    let selected = if decoder == DecoderError::None && has(core, &instruction) {
        fill(core, &instruction, &mut op).or_else(|| x87::select(bytes.get(..instruction.len())?, &mut op))
    } else {
        None
    };
    // The handler that counts and raises #UD stands for everything unknown.
    let (handler, ends) = selected.or_else(|| end!(exception::undefined)).unwrap_or((op.handler, true));
    (op.handler, op.plain) = (handler, handler);
    op.mnemonic = instruction.mnemonic();
    op.len = op.len.max(1);
    Ok((op, ends))
}

/// Whether F3 90 has a REX.B and so is XCHG R8, rAX, as on processors.
fn is_exchange_with_r8(mode: Mode, bytes: &[u8; MAX_LEN], instruction: &Instruction) -> bool {
    const REX_B: u8 = 0x41;
    let before_opcode = instruction.len().checked_sub(2).and_then(|at| bytes.get(at));
    mode == Mode::Bits64
        && instruction.mnemonic() == Mnemonic::Pause
        && before_opcode.is_some_and(|byte| byte & 0xf1 == REX_B)
}

/// Whether an invalid instruction is invalid because it is longer than 15 bytes: without its first prefix it only lacks
/// bytes.
fn is_too_long(core: &Core, bytes: &[u8]) -> bool {
    let prefixed = match bytes.first() {
        Some(0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3) => true,
        Some(0x40..=0x4f) => core.mode == Mode::Bits64,
        _ => false,
    };
    let shorter = bytes.get(1..).filter(|_| prefixed && bytes.len() == MAX_LEN);
    shorter.is_some_and(|rest| decode_bytes(core, rest, &mut Instruction::default()) == DecoderError::NoMoreBytes)
}

/// Reads code; where there is no RAM, it reads as all ones.
fn read_code(core: &Core, gpa: u64, bytes: &mut [u8; MAX_LEN], range: std::ops::Range<usize>) {
    if let Some(out) = bytes.get_mut(range)
        && !core.ram.read(gpa, out)
    {
        out.fill(0xff);
    }
}

/// How a CPU of this model decodes where extensions took encodings that had another meaning.
pub(crate) fn options(model: Model) -> u32 {
    let features = model.features();
    [
        (features.has(CpuidFeature::BMI1), DecoderOptions::NO_MPFX_0FBC),
        (features.has(CpuidFeature::LZCNT), DecoderOptions::NO_MPFX_0FBD),
        (features.has(CpuidFeature::WBNOINVD), DecoderOptions::NO_WBNOINVD),
        (model.has_lahf_in_64_bit_mode(), DecoderOptions::NO_LAHF_SAHF_64),
    ]
    .into_iter()
    .filter(|(has, _)| !has)
    .fold(DecoderOptions::NONE, |options, (_, option)| options | option)
}

/// Whether the CPU has this instruction. Hints are no-operations where they mean nothing.
fn has(core: &Core, instruction: &Instruction) -> bool {
    core.features.allow(instruction.code()) || mov::is_reserved_nop(instruction.mnemonic())
}

fn decode_bytes(core: &Core, bytes: &[u8], instruction: &mut Instruction) -> DecoderError {
    let mut decoder = Decoder::with_ip(core.mode as u32, bytes, core.rip, core.decoder_options);
    decoder.decode_out(instruction);
    decoder.last_error()
}

/// The number of a register within its class, with 32 added for AH, CH, DH, BH.
pub(crate) fn reg_number(register: Register) -> u8 {
    if matches!(register, Register::AH | Register::CH | Register::DH | Register::BH) {
        return register as u8 - Register::AH as u8 + 32;
    }
    register.full_register().number() as u8
}

/// Operands of an instruction, in the internal form.
fn fill(core: &mut Core, ins: &Instruction, op: &mut Op) -> Selected {
    op.mnemonic = ins.mnemonic();
    let count = ins.op_count();
    let mut kinds = [' '; 3];
    for i in 0..count.min(3) {
        let kind = ins.op_kind(i);
        let letter = match kind {
            OpKind::Register => {
                let register = ins.op_register(i);
                let number = reg_number(register);
                if !register.is_gpr() && !register.is_xmm() {
                    op.flags |= OTHER;
                }
                match i {
                    0 => op.dst = number,
                    1 => op.src = number,
                    _ => op.aux = number,
                }
                'R'
            }
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                op.imm = ins.near_branch_target();
                'I'
            }
            OpKind::FarBranch16 | OpKind::FarBranch32 => {
                op.imm = u64::from(ins.far_branch32());
                op.disp = u64::from(ins.far_branch_selector());
                op.flags |= OTHER;
                'I'
            }
            OpKind::Immediate8_2nd => {
                op.aux = ins.immediate8_2nd();
                'I'
            }
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => {
                op.imm = ins.immediate(i);
                'I'
            }
            // Explicit memory and the implicit operands of string instructions.
            _ => 'M',
        };
        if let Some(slot) = kinds.get_mut(i as usize) {
            *slot = letter;
        }
    }
    op.form = match (kinds[0], kinds[1]) {
        ('R', 'R') => Form::RR,
        ('R', 'M') => Form::RM,
        ('M', 'R') => Form::MR,
        ('R', 'I') => Form::RI,
        ('M', 'I') => Form::MI,
        ('R', _) => Form::R,
        ('M', _) => Form::M,
        ('I', _) => Form::I,
        _ => Form::None,
    };
    op.flags |= match kinds[2] {
        'I' => IMM3,
        'R' => REG3,
        _ => 0,
    };
    if ins.has_lock_prefix() {
        op.flags |= LOCK;
    }
    if ins.has_rep_prefix() {
        op.flags |= REP;
    }
    if ins.has_repne_prefix() {
        op.flags |= REPNE;
    }
    if core.mode != Mode::Bits64 {
        op.flags |= LEGACY;
    }
    fill_memory(core, ins, op);
    op.size = operand_size(core, ins);
    op.accesses = op.accesses.saturating_add(data_accesses(ins));
    let own = if ins.code().encoding() == EncodingKind::VEX { select_vex(ins, op) } else { select(ins, op) };
    own.or_else(|| simd_run::select(core, ins, op))
}

/// The memory operand, if any; the segment and address size also of string instructions.
fn fill_memory(core: &Core, ins: &Instruction, op: &mut Op) {
    let seg = match ins.memory_segment() {
        Register::ES => ES,
        Register::CS => CS,
        Register::SS => SS,
        Register::FS => FS,
        Register::GS => GS,
        _ => DS,
    };
    let ignored = core.mode == Mode::Bits64 && ins.has_segment_prefix() && seg != FS && seg != GS;
    let seg = match ins.memory_base().full_register() {
        // Only FS and GS override in 64-bit mode; the stack pointers then still mean the stack segment.
        Register::RSP | Register::RBP if ignored => SS,
        _ if ignored => DS,
        _ => seg,
    };
    op.seg = SEG_BASES + seg as u8;
    for i in 0..ins.op_count() {
        match ins.op_kind(i) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => op.flags |= ADDR16,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => op.flags |= ADDR32,
            OpKind::Memory => {
                let base = ins.memory_base();
                let index = ins.memory_index();
                let part = |register: Register| {
                    if register == Register::None || register.is_ip() { ZERO } else { register.number() as u8 }
                };
                op.base = part(base);
                op.index = part(index);
                op.scale = ins.memory_index_scale().trailing_zeros() as u8;
                op.disp = ins.memory_displacement64();
                let size = [base, index].into_iter().find(|r| *r != Register::None).map_or(
                    match ins.memory_displ_size() {
                        2 => 2,
                        4 => 4,
                        _ => 8,
                    },
                    |r| {
                        if r == Register::EIP {
                            4
                        } else if r == Register::RIP {
                            8
                        } else {
                            r.size()
                        }
                    },
                );
                op.flags |= match size {
                    2 => ADDR16,
                    4 => ADDR32,
                    _ => 0,
                };
            }
            _ => {}
        }
    }
}

/// Size of the data that the instruction works on: of its memory operand, else of its first general register.
fn operand_size(core: &Core, ins: &Instruction) -> u8 {
    for i in 0..ins.op_count() {
        if ins.op_kind(i) == OpKind::Register && ins.op_register(i).is_gpr() {
            // MOVZX and the like: the first operand's size; the source's is looked up by their own selection.
            return ins.op_register(i).size() as u8;
        }
        let kind = ins.op_kind(i);
        if !matches!(kind, OpKind::Register | OpKind::Immediate8) && ins.memory_size().size() > 0 {
            return ins.memory_size().size() as u8;
        }
    }
    let stack = ins.stack_pointer_increment().unsigned_abs() as u8;
    match (stack, core.mode) {
        (2 | 4 | 8, _) => stack,
        (_, Mode::Bits64) => 8,
        (_, Mode::Bits32) => 4,
        (_, Mode::Bits16) => 2,
    }
}

/// Data accesses of one execution; string instructions count their own.
fn data_accesses(ins: &Instruction) -> u8 {
    if ins.is_string_instruction() {
        return 0;
    }
    let explicit = (0..ins.op_count()).any(|i| ins.op_kind(i) == OpKind::Memory)
        && !matches!(ins.mnemonic(), Mnemonic::Lea | Mnemonic::Nop | Mnemonic::Invlpg);
    u8::from(explicit) + u8::from(ins.is_stack_instruction())
}

/// Asks each group in turn for a handler.
fn select(ins: &Instruction, op: &mut Op) -> Selected {
    alu::select(ins, op)
        .or_else(|| mov::select(ins, op))
        .or_else(|| control::select(ins, op))
        .or_else(|| stack::select(ins, op))
        .or_else(|| shift::select(op))
        .or_else(|| sse_mov::select(ins, op))
        .or_else(|| sse_ops::select(ins, op))
        .or_else(|| muldiv::select(op))
        .or_else(|| bits::select(op))
        .or_else(|| atomic::select(op))
        .or_else(|| string::select(ins, op))
        .or_else(|| sse_convert::select(ins, op))
        .or_else(|| sse_shuffle::select(ins, op))
        .or_else(|| far::select(ins, op))
        .or_else(|| syscall::select(op))
        .or_else(|| system::select(ins, op))
        .or_else(|| control_register::select(ins, op))
        .or_else(|| descriptor::select(op))
        .or_else(|| debug::select(ins, op))
        .or_else(|| invalidate::select(op))
        .or_else(|| io::select(ins, op))
        .or_else(|| mmx::select(ins, op))
        .or_else(|| fpu::select(op))
        .or_else(|| bcd::select(ins, op))
        .or_else(|| bmi::select(op))
        .or_else(|| xsave::select(op))
        .or_else(|| crc32::select(ins, op))
}

/// The same for instructions with a VEX prefix.
fn select_vex(ins: &Instruction, op: &mut Op) -> Selected {
    avx_mov::select(ins, op)
        .or_else(|| bmi::select(op))
        .or_else(|| avx_zero::select(op))
        .or_else(|| avx_mask::select(ins, op))
        .or_else(|| avx_gather::select(ins, op))
}
