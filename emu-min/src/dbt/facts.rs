//! What kinds of instructions there are: which are translated, which surely run through, what they write.

use iced_x86::{
    CpuidFeature, EncodingKind, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
};

use super::forms::has_plain_operands;
use super::recipe::is_shift;
use super::registers::{guest_number, is_high_byte};

/// The number of the operand in memory, if there is one.
pub(super) fn memory_operand(instruction: &Instruction) -> Option<u32> {
    (0..instruction.op_count()).find(|&i| instruction.op_kind(i) == OpKind::Memory)
}

/// General registers that an instruction may write, a bit each.
pub(super) fn written_registers(instruction: &Instruction, infos: &mut InstructionInfoFactory) -> u16 {
    infos
        .info(instruction)
        .used_registers()
        .iter()
        .filter(|used| used.register().is_gpr() && is_written(used.access()))
        .fold(0, |mask, used| mask | 1 << guest_number(used.register()))
}

fn is_written(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// Whether an instruction without a memory operand surely is translated, and to code that does not leave the region.
pub(super) fn never_leaves(instruction: &Instruction) -> bool {
    let divides = matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
    let sure = (0..instruction.op_count()).all(|i| {
        let register = instruction.op_register(i);
        instruction.op_kind(i) != OpKind::Register || register.is_gpr() && !is_high_byte(register)
    });
    is_computation(instruction) && !divides && sure && !implicit_accumulator(instruction)
}

/// Hints, and what does nothing on one processor. Not PAUSE: with a REX prefix its bytes exchange R8 and RAX, which the
/// decoder does not tell apart.
pub(super) fn is_nothing(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        instruction.mnemonic(),
        M::Nop
            | M::Endbr64
            | M::Endbr32
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchw
            | M::Sfence
            | M::Lfence
            | M::Mfence
    )
}

/// Whether RAX is an operand that the encoding does not name. RDX, where it is one, is at home in itself.
pub(super) fn implicit_accumulator(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Mul | M::Cbw | M::Cwde | M::Cdqe | M::Cwd | M::Cdq | M::Cqo | M::Cmpxchg => true,
        M::Imul => instruction.op_count() == 1,
        _ => false,
    }
}

pub(super) fn uses_vectors(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|i| {
        let register = instruction.op_register(i);
        register.is_xmm() || register.is_ymm()
    })
}

/// Whether `instruction` only computes on general and vector registers, flags and at most one place in memory.
pub(super) fn is_computation(instruction: &Instruction) -> bool {
    let next = instruction.flow_control() == FlowControl::Next;
    if !next || instruction.is_privileged() || instruction.is_string_instruction() || instruction.is_vsib() {
        return false;
    }
    let computes = is_general(instruction.mnemonic()) && !is_bit_string(instruction) || is_vector(instruction);
    is_nothing(instruction) || has_plain_operands(instruction) && host_has(instruction) && computes
}

/// Whether a bit test reaches memory beside its operand.
fn is_bit_string(instruction: &Instruction) -> bool {
    is_bit_test(instruction.mnemonic())
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
}

fn is_general(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let moves = matches!(
        mnemonic,
        M::Mov | M::Movzx | M::Movsx | M::Movsxd | M::Lea | M::Xchg | M::Bswap | M::Movbe | M::Movnti
    );
    let arithmetic = matches!(
        mnemonic,
        M::Add
            | M::Adc
            | M::Sub
            | M::Sbb
            | M::And
            | M::Or
            | M::Xor
            | M::Cmp
            | M::Test
            | M::Inc
            | M::Dec
            | M::Neg
            | M::Not
            | M::Imul
            | M::Mul
            | M::Div
            | M::Idiv
            | M::Xadd
            | M::Cmpxchg
    );
    let conversions = matches!(mnemonic, M::Cbw | M::Cwde | M::Cdqe | M::Cwd | M::Cdq | M::Cqo);
    let bits = matches!(
        mnemonic,
        M::Popcnt
            | M::Lzcnt
            | M::Tzcnt
            | M::Bsf
            | M::Bsr
            | M::Andn
            | M::Bextr
            | M::Blsi
            | M::Blsmsk
            | M::Blsr
            | M::Bzhi
            | M::Pdep
            | M::Pext
            | M::Rorx
            | M::Sarx
            | M::Shlx
            | M::Shrx
            | M::Crc32
            | M::Clc
            | M::Stc
            | M::Cmc
    );
    moves
        || arithmetic
        || is_shift(mnemonic)
        || conversions
        || bits
        || is_conditional(mnemonic)
        || is_bit_test(mnemonic)
}

fn is_conditional(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Seta
            | M::Setae
            | M::Setb
            | M::Setbe
            | M::Sete
            | M::Setg
            | M::Setge
            | M::Setl
            | M::Setle
            | M::Setne
            | M::Setno
            | M::Setnp
            | M::Setns
            | M::Seto
            | M::Setp
            | M::Sets
            | M::Cmova
            | M::Cmovae
            | M::Cmovb
            | M::Cmovbe
            | M::Cmove
            | M::Cmovg
            | M::Cmovge
            | M::Cmovl
            | M::Cmovle
            | M::Cmovne
            | M::Cmovno
            | M::Cmovnp
            | M::Cmovns
            | M::Cmovo
            | M::Cmovp
            | M::Cmovs
    )
}

fn is_bit_test(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Bt | Mnemonic::Btc | Mnemonic::Btr | Mnemonic::Bts)
}

/// Vector instructions but for those that touch memory by a mask, or the control register.
fn is_vector(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let by_mask = matches!(
        instruction.mnemonic(),
        M::Maskmovdqu | M::Vmaskmovdqu | M::Vmaskmovps | M::Vmaskmovpd | M::Vpmaskmovd | M::Vpmaskmovq
    );
    let clears = matches!(instruction.mnemonic(), M::Vzeroupper | M::Vzeroall);
    (uses_vectors(instruction) || clears) && !by_mask
}

/// Whether AVX must be turned on for it.
pub(super) fn needs_avx(instruction: &Instruction) -> bool {
    instruction.encoding() != EncodingKind::Legacy && is_vector(instruction)
}

/// Whether the host executes the instruction as the guest's processor does.
fn host_has(instruction: &Instruction) -> bool {
    use CpuidFeature as F;
    instruction.cpuid_features().iter().all(|feature| match feature {
        F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64 | F::MULTIBYTENOP => true,
        F::CMOV | F::SSE | F::SSE2 | F::CX8 | F::CET_IBT => true,
        F::SSE3 => is_x86_feature_detected!("sse3"),
        F::SSSE3 => is_x86_feature_detected!("ssse3"),
        F::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::AVX => is_x86_feature_detected!("avx"),
        F::AVX2 => is_x86_feature_detected!("avx2"),
        F::FMA => is_x86_feature_detected!("fma"),
        F::F16C => is_x86_feature_detected!("f16c"),
        F::AES => is_x86_feature_detected!("aes"),
        F::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        F::SHA => is_x86_feature_detected!("sha"),
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        _ => false,
    })
}
