//! Instructions on AH, CH, DH and BH, which can be encoded only where no operand needs a REX prefix.

use iced_x86::{Code, Instruction, Register};

use super::asm::NotEncodable;
use super::instruction::Operand;
use super::lowering::{Emit, Lowering};
use super::registers::{RAX, home, is_high_byte, sized};

/// Hosts' registers that need no REX prefix: RAX to RDI.
const LEGACY: usize = 8;

impl Lowering<'_> {
    /// Emits `host`, whose memory operand is in its place already, with a high byte among its register operands. Keeps the
    /// flags before it.
    pub(super) fn emit_with_high_byte(
        &mut self,
        mut host: Instruction,
        operands: &[Operand],
        memory: bool,
        implicit: bool,
    ) -> Emit {
        if memory {
            // The address needs the prefix.
            let [operand] = operands else { return Err(NotEncodable) };
            return if implicit { Err(NotEncodable) } else { self.high_byte_beside_memory(host, operand) };
        }
        // RCX, RDX and RBX are at home in themselves; parts of RAX are worked on in a copy.
        let accumulator = home(0).ok_or(NotEncodable)?;
        if implicit || operands.iter().any(|operand| operand.guest == 0) {
            self.asm.rr(Code::Mov_r64_rm64, RAX, accumulator)?;
        }
        for operand in operands.iter().filter(|operand| !is_high_byte(operand.register)) {
            let whole = if operand.guest == 0 { RAX } else { home(operand.guest).ok_or(NotEncodable)? };
            if whole.number() >= LEGACY {
                return Err(NotEncodable);
            }
            host.set_op_register(operand.number, sized(whole, operand.register));
        }
        self.asm.instruction(&host)?;
        if implicit || operands.iter().any(|operand| operand.guest == 0 && operand.written) {
            self.asm.rr(Code::Mov_r64_rm64, accumulator, RAX)?;
        }
        Ok(())
    }

    /// The high byte changes places with the low one, which a prefix does no harm.
    fn high_byte_beside_memory(&mut self, mut host: Instruction, operand: &Operand) -> Emit {
        let whole = home(operand.guest).ok_or(NotEncodable)?;
        self.asm.rr(Code::Mov_r64_rm64, RAX, whole)?;
        self.asm.rr(Code::Xchg_rm8_r8, Register::AL, Register::AH)?;
        host.set_op_register(operand.number, Register::AL);
        self.asm.instruction(&host)?;
        if operand.written {
            self.asm.rr(Code::Xchg_rm8_r8, Register::AL, Register::AH)?;
            self.asm.rr(Code::Mov_r64_rm64, whole, RAX)?;
        }
        Ok(())
    }
}
