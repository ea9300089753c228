//! How flags can be computed again: what lets translated code forget them, so that a look into the TLB, which spoils the
//! host's, need not save them first.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register, RflagsBits};

use super::registers::guest_number;

/// The six arithmetic flags, by the decoder's bits.
pub(super) const STATUS: u32 =
    RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;

/// Guest instructions on guest registers that leave the flags as an earlier instruction left them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recipe {
    /// A comparison or a test: again.
    Again(Instruction),
    /// A sum is in the first operand: take the second from a copy of it and add it again.
    Sum(Instruction),
    /// A difference is in the first operand: compare the minuend, which is their sum, with the second.
    Difference(Instruction),
    /// What the first operand was is in the frame: again, on a copy of that.
    Replay(Instruction),
    /// What the first operand was is in the frame, and its sum with the second, which is not known any more, in itself.
    LostSum(Instruction),
    /// As [`Recipe::LostSum`], for a difference.
    LostDifference(Instruction),
}

impl Recipe {
    /// How to get the flags of `instruction` after it, if its operands allow it.
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        if instruction.op0_kind() != OpKind::Register || instruction.has_lock_prefix() {
            return None;
        }
        let size = instruction.op0_register().size();
        let second = instruction.op1_kind();
        let simple = size >= 4
            && (second == OpKind::Register && instruction.op1_register().is_gpr() || is_immediate(second))
            && instruction.op_count() == 2;
        let apart = second != OpKind::Register
            || guest_number(instruction.op0_register()) != guest_number(instruction.op1_register());
        match instruction.mnemonic() {
            Mnemonic::Cmp | Mnemonic::Test if second != OpKind::Memory && lazy(instruction) => {
                Some(Self::Again(*instruction))
            }
            Mnemonic::And | Mnemonic::Or | Mnemonic::Xor if size >= 4 => test(instruction.op0_register()),
            Mnemonic::Add if simple && apart => Some(Self::Sum(*instruction)),
            Mnemonic::Sub if simple && apart => Some(Self::Difference(*instruction)),
            _ => None,
        }
    }

    /// How to get the flags of `instruction` after it with the help of what its first operand was before.
    pub(super) fn with_first_kept(instruction: &Instruction) -> Option<Self> {
        let first = instruction.op0_register();
        if instruction.op0_kind() != OpKind::Register || !first.is_gpr() || first.size() < 4 {
            return None;
        }
        let second = instruction.op1_kind();
        match instruction.mnemonic() {
            Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr | Mnemonic::Sar if is_immediate(second) => {
                Some(Self::Replay(*instruction))
            }
            Mnemonic::Add | Mnemonic::Sub if second == OpKind::Register => Some(Self::Replay(*instruction)),
            Mnemonic::Imul if instruction.op_count() == 2 && second == OpKind::Register => {
                Some(Self::Replay(*instruction))
            }
            Mnemonic::Neg => Some(Self::Replay(*instruction)),
            Mnemonic::Add if second == OpKind::Memory => Some(Self::LostSum(*instruction)),
            Mnemonic::Sub if second == OpKind::Memory => Some(Self::LostDifference(*instruction)),
            _ => None,
        }
    }

    /// The instruction that it is made of.
    pub(super) fn instruction(&self) -> &Instruction {
        match self {
            Self::Again(instruction)
            | Self::Sum(instruction)
            | Self::Difference(instruction)
            | Self::Replay(instruction)
            | Self::LostSum(instruction)
            | Self::LostDifference(instruction) => instruction,
        }
    }

    /// Guest registers that it reads, a bit each.
    pub(super) fn registers(&self) -> u16 {
        let instruction = self.instruction();
        let kept = match self {
            Self::Replay(_) => Some(guest_number(instruction.op0_register())),
            _ => None,
        };
        (0..instruction.op_count().min(2))
            .filter(|&i| instruction.op_kind(i) == OpKind::Register)
            .map(|i| guest_number(instruction.op_register(i)))
            .filter(|&guest| Some(guest) != kept)
            .fold(0, |mask, guest| mask | 1 << guest)
    }
}

/// Whether a comparison or test can be put off: its operands are registers and immediates, and no high bytes.
pub(super) fn lazy(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
        && (0..instruction.op_count()).all(|i| {
            let kind = instruction.op_kind(i);
            let high = super::registers::is_high_byte(instruction.op_register(i));
            kind == OpKind::Register && !high || is_immediate(kind)
        })
}

fn test(register: Register) -> Option<Recipe> {
    let code = if register.size() == 8 { Code::Test_rm64_r64 } else { Code::Test_rm32_r32 };
    Instruction::with2(code, register, register).ok().map(Recipe::Again)
}

pub(super) fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// What an instruction does to the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It leaves them alone.
    Keeps,
    /// It writes all six, whatever they were.
    Writes,
    /// It writes some and keeps others, or writes them only sometimes.
    Merges,
}

/// What `instruction` does to the flags.
pub(super) fn effect(instruction: &Instruction) -> Effect {
    let modified = instruction.rflags_modified() & STATUS;
    if is_shift(instruction.mnemonic()) {
        return shift_effect(instruction, modified);
    }
    match modified {
        0 => Effect::Keeps,
        STATUS => Effect::Writes,
        _ => Effect::Merges,
    }
}

pub(super) fn is_shift(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shld
            | Mnemonic::Shrd
    )
}

/// A shift by a count of 0 keeps the flags.
fn shift_effect(instruction: &Instruction, modified: u32) -> Effect {
    let last = instruction.op_count().saturating_sub(1);
    if !is_immediate(instruction.op_kind(last)) {
        return Effect::Merges;
    }
    let wide = instruction.op0_register().size() == 8 || instruction.memory_size().size() == 8;
    let count = instruction.immediate(last) & if wide { 63 } else { 31 };
    match (count, modified) {
        (0, _) => Effect::Keeps,
        (_, STATUS) => Effect::Writes,
        _ => Effect::Merges,
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn decode(bytes: &[u8]) -> Instruction {
        Decoder::new(64, bytes, DecoderOptions::NONE).decode()
    }

    #[test]
    fn recipes_name_the_registers_they_read() {
        let cmp = Recipe::of(&decode(&[0x48, 0x39, 0xd9])).unwrap(); // cmp rcx, rbx
        assert!(matches!(cmp, Recipe::Again(_)));
        assert_eq!(cmp.registers(), 1 << 1 | 1 << 3);
        let add = Recipe::of(&decode(&[0x48, 0x83, 0xc0, 0x01])).unwrap(); // add rax, 1
        assert!(matches!(add, Recipe::Sum(_)));
        assert_eq!(add.registers(), 1);
        let xor = Recipe::of(&decode(&[0x31, 0xc8])).unwrap(); // xor eax, ecx
        assert_eq!(xor.registers(), 1);
    }

    #[test]
    fn what_loses_an_operand_has_no_recipe() {
        for bytes in [
            &[0x48, 0x01, 0xc0][..],   // add rax, rax
            &[0x48, 0xff, 0xc0],       // inc rax: CF is of an earlier one
            &[0x48, 0x03, 0x07],       // add rax, [rdi]
            &[0x48, 0x3b, 0x07],       // cmp rax, [rdi]
            &[0x48, 0xc1, 0xe0, 0x03], // shl rax, 3
        ] {
            assert_eq!(Recipe::of(&decode(bytes)), None, "{bytes:x?}");
        }
    }

    #[test]
    fn effects_tell_writers_from_those_that_merge() {
        for (bytes, expected) in [
            (&[0x48, 0x01, 0xc8][..], Effect::Writes),
            (&[0x48, 0xff, 0xc0], Effect::Merges),      // inc
            (&[0x48, 0x89, 0xc8], Effect::Keeps),       // mov
            (&[0x48, 0xd3, 0xe0], Effect::Merges),      // shl rax, cl
            (&[0x48, 0xc1, 0xe0, 0x40], Effect::Keeps), // shl rax, 64
            (&[0x48, 0xc1, 0xe0, 0x03], Effect::Writes),
            (&[0x48, 0xc1, 0xc0, 0x03], Effect::Merges), // rol
        ] {
            assert_eq!(effect(&decode(bytes)), expected, "{bytes:x?}");
        }
    }
}
