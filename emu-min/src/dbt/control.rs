//! Instructions that branch or work on the stack, and the exits of a region.

use iced_x86::{Code, ConditionCode, FlowControl, Instruction, MemoryOperand, Mnemonic, OpKind, Register};

use super::access::Access;
use super::asm::{NotEncodable, field};
use super::frame;
use super::jump_table;
use super::lowering::{Emit, Exit, Link, Lowering, Reason, table};
use super::registers::{ADDRESS, RAX, guest_number, home};

/// The home of the guest's stack pointer, and its bit among the guest registers.
const STACK: Register = Register::R15;
const STACK_BIT: u16 = 1 << 4;
const RSP: usize = 4;

const PUSH: Access = Access { size: 8, write: true, aligned: false };
const POP: Access = Access { size: 8, write: false, aligned: false };

impl Lowering<'_> {
    /// Translates an instruction of the stack that does not branch; false if it is none.
    pub(super) fn stack(&mut self, instruction: &Instruction) -> Emit<bool> {
        match instruction.code() {
            Code::Push_r64 => self.push_register(guest_number(instruction.op0_register()))?,
            Code::Pushq_imm8 | Code::Pushq_imm32 => {
                self.stack_slot(-8, PUSH, STACK_BIT)?;
                let value = instruction.immediate(0) as i32;
                self.asm.mi(Code::Mov_rm64_imm32, MemoryOperand::with_base(ADDRESS), value)?;
                self.move_stack(-8)?;
            }
            Code::Pop_r64 if guest_number(instruction.op0_register()) != RSP => {
                let guest = guest_number(instruction.op0_register());
                self.stack_slot(0, POP, STACK_BIT | 1 << guest)?;
                let into = home(guest).unwrap_or(RAX);
                self.asm.rm(Code::Mov_r64_rm64, into, MemoryOperand::with_base(ADDRESS))?;
                self.set_guest(guest, into)?;
                self.move_stack(8)?;
                self.registers_written(1 << guest);
            }
            Code::Leaveq => {
                if self.would_lose_flags(STACK_BIT | 1 << 5) {
                    self.flags_to_frame()?;
                }
                self.check_base(Register::RBP, 0, POP)?;
                self.asm.rm(Code::Lea_r64_m, STACK, MemoryOperand::with_base_displ(Register::RBP, 8))?;
                self.asm.rm(Code::Mov_r64_rm64, Register::RBP, MemoryOperand::with_base(ADDRESS))?;
                self.registers_written(STACK_BIT | 1 << 5);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push_register(&mut self, guest: usize) -> Emit {
        self.stack_slot(-8, PUSH, STACK_BIT)?;
        let value = self.in_register(guest, RAX)?;
        self.asm.mr(Code::Mov_rm64_r64, MemoryOperand::with_base(ADDRESS), value)?;
        self.move_stack(-8)
    }

    /// Host address of `[rsp + displacement]` in ADDRESS; guest registers in `written` are going to change.
    fn stack_slot(&mut self, displacement: i32, access: Access, written: u16) -> Emit {
        if self.would_lose_flags(written) {
            self.flags_to_frame()?;
        }
        self.check_base(STACK, displacement, access)
    }

    fn move_stack(&mut self, by: i32) -> Emit {
        self.asm.rm(Code::Lea_r64_m, STACK, MemoryOperand::with_base_displ(STACK, i64::from(by)))?;
        self.registers_written(STACK_BIT);
        Ok(())
    }

    /// Translates a branch, which ends its block. `following` is the block whose code comes next, if any.
    pub(super) fn branch(&mut self, instruction: &Instruction, following: Option<u64>) -> Emit {
        let target = instruction.near_branch_target();
        let relative = matches!(instruction.op0_kind(), OpKind::NearBranch64);
        let next = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::UnconditionalBranch if relative => {
                self.account()?;
                self.goto(target, following)
            }
            FlowControl::ConditionalBranch if relative && instruction.is_jcc_short_or_near() => {
                self.account()?;
                self.flags_to_host()?;
                let condition = instruction.condition_code();
                match (self.inside.get(&target).copied(), self.inside.contains_key(&next)) {
                    (Some(label), _) => self.asm.jump_if(condition, label),
                    (None, true) | (None, false) => {
                        let stub = self.stub(Reason::Goto, target, 1);
                        self.asm.jump_if(condition, stub);
                    }
                }
                self.goto(next, following)
            }
            FlowControl::Call if relative => {
                self.flags_to_frame()?;
                self.check_base(STACK, -8, PUSH)?;
                self.push_return_address(next)?;
                self.goto(target, None)
            }
            FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => {
                self.flags_to_frame()?;
                self.branch_target(instruction)?;
                self.account()?;
                self.indirect(0)
            }
            FlowControl::IndirectCall if instruction.is_call_near_indirect() => {
                self.flags_to_frame()?;
                if instruction.op0_kind() == OpKind::Register {
                    if guest_number(instruction.op0_register()) == RSP {
                        return Err(NotEncodable);
                    }
                    self.check_base(STACK, -8, PUSH)?;
                    self.push_return_address(next)?;
                    self.branch_target(instruction)?;
                } else {
                    self.branch_target(instruction)?;
                    self.asm.mr(Code::Mov_rm64_r64, field(frame::TARGET), ADDRESS)?;
                    self.check_base(STACK, -8, PUSH)?;
                    self.push_return_address(next)?;
                    self.asm.rm(Code::Mov_r64_rm64, ADDRESS, field(frame::TARGET))?;
                }
                self.indirect(8)
            }
            FlowControl::Return if matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16) => {
                self.flags_to_frame()?;
                self.check_base(STACK, 0, POP)?;
                let drop = if instruction.op_count() == 1 { i32::from(instruction.immediate16()) } else { 0 } + 8;
                self.asm.rm(Code::Mov_r64_rm64, ADDRESS, MemoryOperand::with_base(ADDRESS))?;
                self.asm.rm(Code::Lea_r64_m, STACK, MemoryOperand::with_base_displ(STACK, i64::from(drop)))?;
                self.indirect(-i64::from(drop))
            }
            _ => Err(NotEncodable),
        }
    }

    /// Stores the return address at ADDRESS and moves the stack pointer.
    fn push_return_address(&mut self, next: u64) -> Emit {
        let slot = MemoryOperand::with_base(ADDRESS);
        match i32::try_from(next as i64) {
            Ok(short) => self.asm.mi(Code::Mov_rm64_imm32, slot, short)?,
            Err(_) => {
                self.asm.constant(RAX, next)?;
                self.asm.mr(Code::Mov_rm64_r64, slot, RAX)?;
            }
        }
        self.move_stack(-8)
    }

    /// Puts the target of an indirect branch into ADDRESS.
    fn branch_target(&mut self, instruction: &Instruction) -> Emit {
        if instruction.op0_kind() == OpKind::Register {
            if instruction.op0_register().size() != 8 {
                return Err(NotEncodable);
            }
            let register = self.in_register(guest_number(instruction.op0_register()), ADDRESS)?;
            return if register == ADDRESS { Ok(()) } else { self.asm.rr(Code::Mov_r64_rm64, ADDRESS, register) };
        }
        if instruction.memory_size().size() != 8
            || instruction.mnemonic() != Mnemonic::Jmp && instruction.mnemonic() != Mnemonic::Call
        {
            return Err(NotEncodable);
        }
        self.check(instruction, POP)?;
        self.asm.rm(Code::Mov_r64_rm64, ADDRESS, MemoryOperand::with_base(ADDRESS))
    }

    /// Goes to the address in ADDRESS; the frame's flags are good. `undo` takes back what the instruction did to RSP.
    fn indirect(&mut self, undo: i64) -> Emit {
        let stub = self.stub(Reason::Indirect { undo }, self.rip, 1);
        match self.jumps {
            Some(jumps) => {
                self.asm.rr(Code::Mov_r32_rm32, Register::EAX, Register::R11D)?;
                self.asm.ri(Code::Shl_rm32_imm8, Register::EAX, 4)?;
                self.asm.ri(Code::And_rm32_imm32, Register::EAX, jump_table::INDEX_MASK)?;
                self.asm.rm(Code::Cmp_r64_rm64, ADDRESS, table(RAX, jumps))?;
                self.asm.jump_if(ConditionCode::ne, stub);
                self.asm.instruction(&Instruction::with1(Code::Jmp_rm64, table(RAX, jumps + 8))?)
            }
            None => {
                self.asm.jump(stub);
                Ok(())
            }
        }
    }

    /// Goes on at a known address.
    pub(super) fn goto(&mut self, rip: u64, following: Option<u64>) -> Emit {
        match self.inside.get(&rip).copied() {
            Some(label) => {
                self.flags_to_host()?;
                if following != Some(rip) {
                    self.asm.jump(label);
                }
                Ok(())
            }
            None => {
                self.flags_to_frame()?;
                self.leave_for(rip, 0)
            }
        }
    }

    /// Ends a block that runs into the next.
    pub(super) fn run_on(&mut self, next: u64, following: Option<u64>) -> Emit {
        self.account()?;
        self.goto(next, following)
    }

    /// Ends a block before an instruction that the interpreter executes.
    pub(super) fn step(&mut self, rip: u64) -> Emit {
        let stub = self.stub(Reason::Step, rip, 0);
        self.asm.jump(stub);
        Ok(())
    }

    /// A jump to another region, made direct once that is there. The frame's flags are good.
    fn leave_for(&mut self, rip: u64, adjust: i32) -> Emit {
        if !self.chain {
            return self.leave(Exit { reason: Reason::Goto, rip, adjust, link: None });
        }
        let unlinked = self.asm.label();
        self.asm.mi(Code::Cmp_rm32_imm32, field(frame::GENERATION), 0x7fff_ffff)?;
        let generation = self.asm.position() - 4;
        // No generation has the number 0.
        self.asm.patch32(generation, 0);
        self.asm.jump_if(ConditionCode::ne, unlinked);
        let displacement = self.asm.jump_somewhere();
        self.asm.bind(unlinked);
        let at = |position: usize| self.asm.in_area(position) as u32;
        let link = Link { generation: at(generation), displacement: at(displacement) };
        self.leave(Exit { reason: Reason::Goto, rip, adjust, link: Some(link) })
    }

    fn leave(&mut self, exit: Exit) -> Emit {
        self.asm.mi(Code::Mov_rm32_imm32, field(frame::EXIT), self.exits.len() as i32)?;
        self.exits.push(exit);
        self.asm.jump_to(self.leave);
        Ok(())
    }

    /// Emits the exits that were put off.
    pub(super) fn emit_stubs(&mut self) -> Emit {
        for stub in std::mem::take(&mut self.stubs) {
            self.asm.bind(stub.label);
            self.flags = stub.flags;
            match stub.reason {
                Reason::Goto => {
                    self.flags_to_frame()?;
                    self.leave_for(stub.rip, stub.adjust)?;
                    continue;
                }
                Reason::Miss { access, .. } => {
                    let entries = if access.write { frame::WRITES } else { frame::READS };
                    self.asm.rm(Code::Add_r64_rm64, ADDRESS, table(RAX, entries))?;
                    self.asm.mr(Code::Mov_rm64_r64, field(frame::MISSED), ADDRESS)?;
                }
                Reason::Indirect { .. } => self.asm.mr(Code::Mov_rm64_r64, field(frame::MISSED), ADDRESS)?,
                Reason::Step => {}
            }
            self.flags_to_frame()?;
            let reason = match stub.reason {
                Reason::Miss { access, resume } => Reason::Miss { access, resume: self.asm.in_area(resume) },
                other => other,
            };
            self.leave(Exit { reason, rip: stub.rip, adjust: stub.adjust, link: None })?;
        }
        Ok(())
    }
}
