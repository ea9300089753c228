//! Memory accesses: the effective address, and the look into the TLB that makes a host address of it.

use iced_x86::{
    Code, ConditionCode, EncodingKind, Instruction, InstructionInfoFactory, MemoryOperand, Mnemonic, OpAccess, Register,
};

use super::asm::{NotEncodable, field};
use super::facts::{is_nothing, memory_operand, uses_vectors};
use super::frame;
use super::lowering::{Emit, Lowering, Reason};
use super::registers::{ADDRESS, RAX, RBP, RSP, guest_number, home};
use super::windows::{Part, Place};

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

/// Most bytes of an access.
const MAX_ACCESS: usize = 32;

/// The access by the memory operand of an instruction, if there is one that is translated.
pub(super) fn operand_access(instruction: &Instruction, infos: &mut InstructionInfoFactory) -> Option<Access> {
    let number = memory_operand(instruction)?;
    let size = instruction.memory_size().size();
    if size == 0 || size > MAX_ACCESS || instruction.mnemonic() == Mnemonic::Lea || is_nothing(instruction) {
        return None;
    }
    let write = match infos.info(instruction).op_access(number) {
        OpAccess::Read => false,
        OpAccess::Write | OpAccess::ReadWrite | OpAccess::ReadCondWrite => true,
        // Whether memory is touched depends on data.
        _ => return None,
    };
    let size = size as u32;
    Some(Access { size, write, aligned: must_be_aligned(instruction, size) && uses_vectors(instruction) })
}

/// The access to the stack by an instruction that is translated: the guest register that it is relative to, the
/// displacement, and the access.
pub(super) fn stack_access(instruction: &Instruction) -> Option<(usize, i32, Access)> {
    const PUSH: Access = Access { size: 8, write: true, aligned: false };
    const POP: Access = Access { size: 8, write: false, aligned: false };
    match instruction.code() {
        Code::Push_r64 | Code::Pushq_imm8 | Code::Pushq_imm32 => Some((RSP, -8, PUSH)),
        Code::Pop_r64 | Code::Retnq | Code::Retnq_imm16 => Some((RSP, 0, POP)),
        Code::Leaveq => Some((RBP, 0, POP)),
        Code::Call_rel32_64 | Code::Call_rm64 => Some((RSP, -8, PUSH)),
        _ => None,
    }
}

impl Lowering<'_> {
    /// The host's memory that the memory operand of `instruction` stands for, relative to ADDRESS; or leaves for want of
    /// its page. Unless that was looked up before, spoils RAX and the host's flags.
    pub(super) fn check(&mut self, instruction: &Instruction, access: Access) -> Emit<MemoryOperand> {
        self.check_at(access, Part::Operand, |lowering, more| lowering.linear_address(instruction, more))
    }

    /// As [`Self::check`], for what the instruction does to the stack.
    pub(super) fn check_stack(&mut self, instruction: &Instruction) -> Emit<MemoryOperand> {
        let (base, displacement, access) = stack_access(instruction).ok_or(NotEncodable)?;
        let base = home(base).ok_or(NotEncodable)?;
        self.check_at(access, Part::Stack, |lowering, more| {
            let displacement = i64::from(displacement) + more;
            lowering.asm.rm(Code::Lea_r64_m, ADDRESS, MemoryOperand::with_base_displ(base, displacement))
        })
    }

    /// Whether the access was covered by an earlier look into the TLB, so that it neither leaves nor spoils flags.
    pub(super) fn is_covered(&self, part: Part) -> bool {
        self.windows.place(self.number, part).is_some_and(|place| !place.leads)
    }

    fn check_at(
        &mut self,
        access: Access,
        part: Part,
        address: impl FnOnce(&mut Self, i64) -> Emit,
    ) -> Emit<MemoryOperand> {
        match self.windows.place(self.number, part) {
            Some(Place { window, leads: false, offset, .. }) => {
                if self.ready >> window & 1 == 0 {
                    return Err(NotEncodable);
                }
                if self.asm.address_holds() != Some(window) {
                    self.asm.rm(Code::Mov_r64_rm64, ADDRESS, field(frame::WINDOWS + window * 8))?;
                    self.asm.set_address_holds(window);
                }
                Ok(near(offset))
            }
            Some(Place { window, offset, size, .. }) => {
                let whole = Access { size, ..access };
                self.look_up(whole, access.size, |lowering| address(lowering, -i64::from(offset)))?;
                self.asm.mr(Code::Mov_rm64_r64, field(frame::WINDOWS + window * 8), ADDRESS)?;
                self.asm.set_address_holds(window);
                self.ready |= 1 << window;
                Ok(near(offset))
            }
            None => {
                self.look_up(access, access.size, |lowering| address(lowering, 0))?;
                Ok(near(0))
            }
        }
    }

    /// Puts the host address of `access` into ADDRESS, the first of whose accesses is of `first` bytes.
    pub(super) fn look_up(&mut self, access: Access, first: u32, address: impl FnOnce(&mut Self) -> Emit) -> Emit {
        self.spoil_flags()?;
        self.account()?;
        let resume = self.asm.position() as u32;
        address(self)?;
        let lookup = self.snippets.lookup(access.write, self.table);
        self.asm.snippet(&lookup.offset);
        let alignment = if access.aligned { first } else { 1 };
        let miss = self.stub(Reason::Miss { access, alignment, resume, window: access.size != first }, self.rip, 0);
        if access.aligned {
            self.asm.ri(Code::Test_rm32_imm32, Register::R11D, alignment as i32 - 1)?;
            self.asm.jump_if(ConditionCode::ne, miss);
        }
        self.asm.ri(Code::Cmp_rm64_imm32, ADDRESS, 0x1000 - access.size as i32)?;
        self.asm.jump_if(ConditionCode::a, miss);
        self.asm.snippet(&lookup.host);
        Ok(())
    }

    /// Puts the linear address of a memory operand, plus `more`, into ADDRESS. Keeps the flags but for a segment base.
    fn linear_address(&mut self, instruction: &Instruction, more: i64) -> Emit {
        let segment = match instruction.memory_segment() {
            Register::FS => Some(frame::FS_BASE),
            Register::GS => Some(frame::GS_BASE),
            _ => None,
        };
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let narrow = [base, index].iter().any(|register| register.size() == 4)
            || base == Register::None && index == Register::None && instruction.memory_displ_size() == 4;
        if !narrow || more == 0 {
            self.effective_address(instruction, ADDRESS, more)?;
        } else {
            self.effective_address(instruction, ADDRESS, 0)?;
            self.asm.rm(Code::Lea_r64_m, ADDRESS, MemoryOperand::with_base_displ(ADDRESS, more))?;
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

/// `[ADDRESS + offset]`.
fn near(offset: u32) -> MemoryOperand {
    let size = match offset {
        0 => 0,
        1..0x80 => 1,
        _ => 8,
    };
    MemoryOperand::with_base_displ_size(ADDRESS, offset.into(), size)
}
