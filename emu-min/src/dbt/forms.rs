//! Short encodings that imply the accumulator, in the general form: its register is another on the host.

use iced_x86::{Code, Instruction, OpKind};

/// Gives `instruction` a code that takes any register.
pub(super) fn generalize(instruction: &mut Instruction) {
    use Code as C;
    let code = match instruction.code() {
        C::Add_AL_imm8 => C::Add_rm8_imm8,
        C::Add_AX_imm16 => C::Add_rm16_imm16,
        C::Add_EAX_imm32 => C::Add_rm32_imm32,
        C::Add_RAX_imm32 => C::Add_rm64_imm32,
        C::Or_AL_imm8 => C::Or_rm8_imm8,
        C::Or_AX_imm16 => C::Or_rm16_imm16,
        C::Or_EAX_imm32 => C::Or_rm32_imm32,
        C::Or_RAX_imm32 => C::Or_rm64_imm32,
        C::Adc_AL_imm8 => C::Adc_rm8_imm8,
        C::Adc_AX_imm16 => C::Adc_rm16_imm16,
        C::Adc_EAX_imm32 => C::Adc_rm32_imm32,
        C::Adc_RAX_imm32 => C::Adc_rm64_imm32,
        C::Sbb_AL_imm8 => C::Sbb_rm8_imm8,
        C::Sbb_AX_imm16 => C::Sbb_rm16_imm16,
        C::Sbb_EAX_imm32 => C::Sbb_rm32_imm32,
        C::Sbb_RAX_imm32 => C::Sbb_rm64_imm32,
        C::And_AL_imm8 => C::And_rm8_imm8,
        C::And_AX_imm16 => C::And_rm16_imm16,
        C::And_EAX_imm32 => C::And_rm32_imm32,
        C::And_RAX_imm32 => C::And_rm64_imm32,
        C::Sub_AL_imm8 => C::Sub_rm8_imm8,
        C::Sub_AX_imm16 => C::Sub_rm16_imm16,
        C::Sub_EAX_imm32 => C::Sub_rm32_imm32,
        C::Sub_RAX_imm32 => C::Sub_rm64_imm32,
        C::Xor_AL_imm8 => C::Xor_rm8_imm8,
        C::Xor_AX_imm16 => C::Xor_rm16_imm16,
        C::Xor_EAX_imm32 => C::Xor_rm32_imm32,
        C::Xor_RAX_imm32 => C::Xor_rm64_imm32,
        C::Cmp_AL_imm8 => C::Cmp_rm8_imm8,
        C::Cmp_AX_imm16 => C::Cmp_rm16_imm16,
        C::Cmp_EAX_imm32 => C::Cmp_rm32_imm32,
        C::Cmp_RAX_imm32 => C::Cmp_rm64_imm32,
        C::Test_AL_imm8 => C::Test_rm8_imm8,
        C::Test_AX_imm16 => C::Test_rm16_imm16,
        C::Test_EAX_imm32 => C::Test_rm32_imm32,
        C::Test_RAX_imm32 => C::Test_rm64_imm32,
        C::Xchg_r16_AX => C::Xchg_rm16_r16,
        C::Xchg_r32_EAX => C::Xchg_rm32_r32,
        C::Xchg_r64_RAX => C::Xchg_rm64_r64,
        _ => return,
    };
    instruction.set_code(code);
}

/// Whether all operands are of the kinds that can be put into other registers.
pub(super) fn has_plain_operands(instruction: &Instruction) -> bool {
    let plain = |kind| kind == OpKind::Register || kind == OpKind::Memory || super::recipe::is_immediate(kind);
    let memories = (0..instruction.op_count()).filter(|&i| instruction.op_kind(i) == OpKind::Memory).count();
    let plain_registers = (0..instruction.op_count())
        .filter(|&i| instruction.op_kind(i) == OpKind::Register)
        .map(|i| instruction.op_register(i))
        .all(|register| register.is_gpr() || register.is_xmm() || register.is_ymm());
    memories <= 1 && plain_registers && (0..instruction.op_count()).all(|i| plain(instruction.op_kind(i)))
}
