//! Instructions that branch or work on the stack, and the exits of a region.

use iced_x86::{Code, ConditionCode, FlowControl, Instruction, MemoryOperand, Mnemonic, OpKind, Register};

use super::access::{Access, operand_access};
use super::asm::{Label, NotEncodable, field};
use super::frame;
use super::jump_table;
use super::lowering::{Alone, Emit, Exit, Link, Lowering, Reason, Stub, table};
use super::registers::{ADDRESS, RAX, RBP, RSP, guest_number, home};
use super::windows::Part;

/// The home of the guest's stack pointer, and its bit among the guest registers.
const STACK: Register = Register::R15;
const STACK_BIT: u16 = 1 << RSP;

impl Lowering<'_> {
    /// Translates an instruction of the stack that does not branch; false if it is none.
    pub(super) fn stack(&mut self, instruction: &Instruction) -> Emit<bool> {
        match instruction.code() {
            Code::Push_r64 => {
                let slot = self.stack_slot(instruction, STACK_BIT)?;
                let value = self.in_register(guest_number(instruction.op0_register()), RAX)?;
                self.asm.mr(Code::Mov_rm64_r64, slot, value)?;
                self.move_stack(-8)?;
            }
            Code::Pushq_imm8 | Code::Pushq_imm32 => {
                let slot = self.stack_slot(instruction, STACK_BIT)?;
                self.asm.mi(Code::Mov_rm64_imm32, slot, instruction.immediate(0) as i32)?;
                self.move_stack(-8)?;
            }
            Code::Pop_r64 if guest_number(instruction.op0_register()) != RSP => {
                let guest = guest_number(instruction.op0_register());
                let slot = self.stack_slot(instruction, STACK_BIT | 1 << guest)?;
                let into = home(guest).unwrap_or(RAX);
                self.asm.rm(Code::Mov_r64_rm64, into, slot)?;
                self.set_guest(guest, into)?;
                self.move_stack(8)?;
                self.registers_written(1 << guest);
            }
            Code::Leaveq => {
                let written = STACK_BIT | 1 << RBP;
                let slot = self.stack_slot(instruction, written)?;
                self.asm.rm(Code::Lea_r64_m, STACK, MemoryOperand::with_base_displ(Register::RBP, 8))?;
                self.asm.rm(Code::Mov_r64_rm64, Register::RBP, slot)?;
                self.registers_written(written);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The host's memory for what the instruction does to the stack; guest registers in `written` are going to change.
    fn stack_slot(&mut self, instruction: &Instruction, written: u16) -> Emit<MemoryOperand> {
        if self.would_lose_flags(written) {
            if self.is_covered(Part::Stack) { self.flags_to_host()? } else { self.flags_to_frame()? }
        }
        self.check_stack(instruction)
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
                let slot = self.check_stack(instruction)?;
                self.push_return_address(slot, next)?;
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
                if instruction.op0_kind() == OpKind::Register && guest_number(instruction.op0_register()) == RSP {
                    return Err(NotEncodable);
                }
                self.branch_target(instruction)?;
                self.account()?;
                self.step_unless_canonical()?;
                self.asm.mr(Code::Mov_rm64_r64, field(frame::TARGET), ADDRESS)?;
                let slot = self.check_stack(instruction)?;
                self.push_return_address(slot, next)?;
                self.asm.rm(Code::Mov_r64_rm64, ADDRESS, field(frame::TARGET))?;
                self.indirect(8)
            }
            FlowControl::Return if matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16) => {
                self.flags_to_frame()?;
                let slot = self.check_stack(instruction)?;
                let drop = if instruction.op_count() == 1 { i32::from(instruction.immediate16()) } else { 0 } + 8;
                self.asm.rm(Code::Mov_r64_rm64, ADDRESS, slot)?;
                self.asm.rm(Code::Lea_r64_m, STACK, MemoryOperand::with_base_displ(STACK, i64::from(drop)))?;
                self.indirect(-drop)
            }
            _ => Err(NotEncodable),
        }
    }

    /// Stores the return address and moves the stack pointer.
    fn push_return_address(&mut self, slot: MemoryOperand, next: u64) -> Emit {
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
        let access = operand_access(instruction, self.infos).ok_or(NotEncodable)?;
        let operand = self.check(instruction, access)?;
        self.asm.rm(Code::Mov_r64_rm64, ADDRESS, operand)
    }

    /// Leaves the call to the interpreter if the target in ADDRESS is not canonical: it faults before it pushes anything.
    fn step_unless_canonical(&mut self) -> Emit {
        self.asm.rr(Code::Mov_r64_rm64, RAX, ADDRESS)?;
        self.asm.ri(Code::Shl_rm64_imm8, RAX, 16)?;
        self.asm.ri(Code::Sar_rm64_imm8, RAX, 16)?;
        self.asm.rr(Code::Cmp_r64_rm64, RAX, ADDRESS)?;
        let stub = self.stub(Reason::Step, self.rip, 0);
        self.asm.jump_if(ConditionCode::ne, stub);
        Ok(())
    }

    /// Goes to the address in ADDRESS; the frame's flags are good. `undo` takes back what the instruction did to RSP.
    fn indirect(&mut self, undo: i32) -> Emit {
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
                self.leave_for(Reason::Goto, rip, 0)
            }
        }
    }

    /// Ends a block that runs into the next.
    pub(super) fn run_on(&mut self, next: u64, following: Option<u64>) -> Emit {
        // Behind instructions that the interpreter executed there may be nothing to count.
        if self.executed > 0 {
            self.account()?;
        }
        self.goto(next, following)
    }

    /// Ends a block before an instruction that the interpreter executes.
    pub(super) fn step(&mut self, rip: u64) -> Emit {
        let stub = self.stub(Reason::Step, rip, 0);
        self.asm.jump(stub);
        Ok(())
    }

    /// Ends a piece of a block before an instruction that the interpreter executes; the next piece comes right behind.
    pub(super) fn leave_alone(&mut self, rip: u64) {
        self.rip = rip;
        let (stub, number) = self.stub_alone();
        self.asm.jump(stub);
        self.resume_alone(number);
    }

    /// A stub for an exit that leaves this instruction to the interpreter, and the number to resume it by.
    pub(super) fn stub_alone(&mut self) -> (Label, u32) {
        let number = self.first_alone + self.alone.len() as u32;
        self.alone.push(Alone { rip: self.rip, count: 1 });
        (self.stub(Reason::Alone { number, resume: 0 }, self.rip, 0), number)
    }

    /// Code goes on here, with the flags in the frame, behind what the interpreter executes.
    pub(super) fn resume_alone(&mut self, wanted: u32) {
        let here = self.asm.position() as u32;
        for stub in self.stubs.iter_mut().rev() {
            if let Reason::Alone { number, resume } = &mut stub.reason
                && *number == wanted
            {
                *resume = here;
                return;
            }
        }
    }

    /// The interpreter executes the next instruction too.
    pub(super) fn one_more_alone(&mut self) -> Option<()> {
        self.alone.last_mut().map(|alone| alone.count += 1)
    }

    /// A jump to another region, made direct once that is there. The frame's flags are good.
    fn leave_for(&mut self, reason: Reason, rip: u64, adjust: i32) -> Emit {
        if !self.chain {
            return self.leave(Exit { reason, rip, adjust, link: None });
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
        self.leave(Exit { reason, rip, adjust, link: Some(link) })
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
                Reason::Goto | Reason::Crossed => {
                    self.flags_to_frame()?;
                    self.leave_for(stub.reason, stub.rip, stub.adjust)?;
                    continue;
                }
                Reason::Miss { access, window, .. } => {
                    let entries = if access.write { frame::WRITES } else { frame::READS };
                    self.asm.rm(Code::Add_r64_rm64, ADDRESS, table(RAX, entries))?;
                    self.asm.mr(Code::Mov_rm64_r64, field(frame::MISSED), ADDRESS)?;
                    if window {
                        self.leave_if_crossed(access, &stub)?;
                    }
                }
                Reason::Indirect { .. } => self.asm.mr(Code::Mov_rm64_r64, field(frame::MISSED), ADDRESS)?,
                Reason::Step | Reason::Alone { .. } => {}
            }
            self.flags_to_frame()?;
            let mut reason = stub.reason;
            if let Reason::Miss { resume, .. } | Reason::Alone { resume, .. } = &mut reason {
                *resume = self.asm.in_area(*resume as usize) as u32;
            }
            self.leave(Exit { reason, rip: stub.rip, adjust: stub.adjust, link: None })?;
        }
        Ok(())
    }

    /// Leaves for the block's rest with accesses apart if the window at the address in ADDRESS crosses pages.
    fn leave_if_crossed(&mut self, window: Access, stub: &Stub) -> Emit {
        let within = self.asm.label();
        self.asm.rr(Code::Mov_r32_rm32, Register::EAX, Register::R11D)?;
        self.asm.ri(Code::And_rm32_imm32, Register::EAX, 0xfff)?;
        self.asm.ri(Code::Cmp_rm32_imm32, Register::EAX, 0x1000 - window.size as i32)?;
        self.asm.jump_if(ConditionCode::be, within);
        self.flags_to_frame()?;
        // What was accounted for and not executed is given back; the rest accounts for itself.
        self.asm.mi(Code::Sub_rm64_imm32, field(frame::LEFT), stub.adjust)?;
        self.leave_for(Reason::Crossed, stub.rip, 0)?;
        self.asm.bind(within);
        self.flags = stub.flags;
        Ok(())
    }
}
