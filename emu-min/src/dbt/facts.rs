//! What the decoder's tables say of an instruction.

use iced_x86::{Instruction, InstructionInfoFactory, OpAccess};

use super::registers::guest_number;

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
