//! Memory accesses: the effective address, and the look into the TLB that makes a host address of it.

use iced_x86::{Code, ConditionCode, EncodingKind, Instruction, MemoryOperand, Mnemonic, Register};

use super::asm::{NotEncodable, field};
use super::frame;
use super::inline_tlb::{INDEX_MASK, SHIFT};
use super::lowering::{Emit, Lowering, Reason, table};
use super::registers::{ADDRESS, RAX, guest_number};

/// An access to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// Bytes: 1 to 32.
    pub(super) size: u32,
    pub(super) write: bool,
    /// The address must be a multiple of the size.
    pub(super) aligned: bool,
}

/// Whether the memory operand of a vector instruction must be aligned (Intel SDM volume 1, 4.1.1 and 14.9).
pub(super) fn must_be_aligned(instruction: &Instruction, size: u32) -> bool {
    use Mnemonic as M;
    if instruction.encoding() == EncodingKind::Legacy {
        let exempt = matches!(
            instruction.mnemonic(),
            M::Movups | M::Movupd | M::Movdqu | M::Lddqu | M::Pcmpestri | M::Pcmpestrm | M::Pcmpistri | M::Pcmpistrm
        );
        return size == 16 && !exempt;
    }
    matches!(
        instruction.mnemonic(),
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa
    )
}

impl Lowering<'_> {
    /// Puts the host address of the memory operand of `instruction` into ADDRESS, or leaves for want of it. Spoils RAX and
    /// the host's flags.
    pub(super) fn check(&mut self, instruction: &Instruction, access: Access) -> Emit {
        self.check_at(access, |lowering| lowering.linear_address(instruction))
    }

    /// As [`Self::check`], for `[base + displacement]` of a guest register in a host register.
    pub(super) fn check_base(&mut self, base: Register, displacement: i32, access: Access) -> Emit {
        self.check_at(access, |lowering| {
            let displacement = i64::from(displacement) + lowering.bias as i64;
            lowering.asm.rm(Code::Lea_r64_m, ADDRESS, MemoryOperand::with_base_displ(base, displacement))
        })
    }

    fn check_at(&mut self, access: Access, address: impl FnOnce(&mut Self) -> Emit) -> Emit {
        self.spoil_flags()?;
        self.account()?;
        let resume = self.asm.position();
        address(self)?;
        let entries = if access.write { frame::WRITES } else { frame::READS };
        self.asm.rr(Code::Mov_r32_rm32, Register::EAX, Register::R11D)?;
        self.asm.ri(Code::Shr_rm32_imm8, Register::EAX, SHIFT)?;
        self.asm.ri(Code::And_rm32_imm32, Register::EAX, INDEX_MASK)?;
        self.asm.rm(Code::Sub_r64_rm64, ADDRESS, table(RAX, entries))?;
        let miss = self.stub(Reason::Miss { access, resume }, self.rip, 0);
        if access.aligned {
            self.asm.ri(Code::Test_rm32_imm32, Register::R11D, access.size as i32 - 1)?;
            self.asm.jump_if(ConditionCode::ne, miss);
        }
        self.asm.ri(Code::Cmp_rm64_imm32, ADDRESS, 0x1000 - access.size as i32)?;
        self.asm.jump_if(ConditionCode::a, miss);
        self.asm.rm(Code::Add_r64_rm64, ADDRESS, table(RAX, entries + 8))
    }

    /// Puts the biased linear address of a memory operand into ADDRESS. Keeps the flags but for a segment base.
    fn linear_address(&mut self, instruction: &Instruction) -> Emit {
        let bias = self.bias as i64;
        let segment = match instruction.memory_segment() {
            Register::FS => Some(frame::FS_BASE),
            Register::GS => Some(frame::GS_BASE),
            _ => None,
        };
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let narrow = [base, index].iter().any(|register| register.size() == 4)
            || base == Register::None && index == Register::None && instruction.memory_displ_size() == 4;
        if !narrow || bias == 0 {
            self.effective_address(instruction, ADDRESS, bias)?;
        } else {
            self.effective_address(instruction, ADDRESS, 0)?;
            self.asm.rm(Code::Lea_r64_m, ADDRESS, MemoryOperand::with_base_displ(ADDRESS, bias))?;
        }
        match segment {
            Some(base) => self.asm.rm(Code::Add_r64_rm64, ADDRESS, field(base)),
            None => Ok(()),
        }
    }

    /// Computes what LEA would, plus `more`, into a 64-bit host register. Keeps the flags; spoils the scratch registers.
    pub(super) fn effective_address(&mut self, instruction: &Instruction, into: Register, more: i64) -> Emit {
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64();
        if base == Register::RIP || base == Register::None && index == Register::None {
            return self.asm.constant(into, displacement.wrapping_add(more as u64));
        }
        if base == Register::EIP || !base.is_gpr() && base != Register::None || base.size() == 2 || index.size() == 2 {
            return Err(NotEncodable);
        }
        let displacement = i64::from(displacement as i32) + more;
        if i32::try_from(displacement).is_err() {
            return Err(NotEncodable);
        }
        let part = |lowering: &mut Self, register: Register, scratch: Register| {
            if register == Register::None {
                return Ok(Register::None);
            }
            lowering.in_register(guest_number(register), scratch)
        };
        let host_base = part(self, base, ADDRESS)?;
        let host_index = part(self, index, RAX)?;
        let narrow = base.size() == 4 || index.size() == 4;
        let scale = instruction.memory_index_scale();
        let size = match displacement {
            0 if host_base != Register::None => 0,
            -128..=127 if host_base != Register::None => 1,
            _ => 8,
        };
        let memory = MemoryOperand::new(host_base, host_index, scale, displacement, size, false, Register::None);
        if narrow {
            return self.asm.rm(Code::Lea_r32_m, into.full_register32(), memory);
        }
        if host_index == Register::None && displacement == 0 {
            return if host_base == into { Ok(()) } else { self.asm.rr(Code::Mov_r64_rm64, into, host_base) };
        }
        self.asm.rm(Code::Lea_r64_m, into, memory)
    }
}
