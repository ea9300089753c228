//! Instructions that compute: the guest's own, with its registers and its memory in the host's places.

use iced_x86::{Code, Instruction, MemoryOperand, Mnemonic, OpAccess, OpKind, Register};

use super::access::operand_access;
use super::asm::{NotEncodable, field};
use super::facts::{implicit_accumulator, is_computation, is_nothing, memory_operand, needs_avx};
use super::forms::generalize;
use super::lowering::{Emit, Lowering};
use super::recipe::{Effect, Recipe, STATUS, effect, lazy};
use super::region::Fate;
use super::registers::{ADDRESS, RAX, guest_number, home, is_high_byte, sized, slot};
use super::windows::Part;

/// An operand of the guest instruction that is a general register.
pub(super) struct Operand {
    pub(super) number: u32,
    pub(super) guest: usize,
    pub(super) register: Register,
    pub(super) read: bool,
    pub(super) written: bool,
}

impl Lowering<'_> {
    /// Translates an instruction that neither branches nor works on the stack. `fate` is that of the flags that it leaves.
    pub(super) fn compute(&mut self, instruction: &Instruction, fate: Fate) -> Emit {
        let dead = fate == Fate::Dead;
        if !is_computation(instruction) || needs_avx(instruction) && !self.avx {
            return Err(NotEncodable);
        }
        if lazy(instruction)
            && let Some(recipe @ Recipe::Again(_)) = Recipe::of(instruction)
        {
            self.flags_put_off(recipe);
            return Ok(());
        }
        match instruction.mnemonic() {
            Mnemonic::Lea => return self.lea(instruction),
            Mnemonic::Div | Mnemonic::Idiv => return self.divide(instruction),
            _ if is_nothing(instruction) => return Ok(()),
            _ => {}
        }
        let operands = self.operands(instruction);
        let implicit = implicit_accumulator(instruction);
        let overlaps = implicit && operands.iter().any(|operand| operand.guest == 0 && operand.written);
        if overlaps || self.hides_registers(instruction, implicit) {
            return Err(NotEncodable);
        }
        let written = operands.iter().filter(|o| o.written).fold(0, |mask, o| mask | 1 << o.guest)
            | if implicit { 1 | 1 << 2 } else { 0 };
        let effect = effect(instruction);
        let reads = instruction.rflags_read() & STATUS != 0;
        let needs_flags = reads || effect == Effect::Merges && !dead;
        let overwritten = effect == Effect::Writes || effect == Effect::Merges && dead;
        let loses_flags = !overwritten && self.would_lose_flags(written);
        let in_memory = memory_operand(instruction).is_some();
        let covered = self.is_covered(Part::Operand);
        if (needs_flags || loses_flags) && (!in_memory || covered) {
            self.flags_to_host()?;
        }
        let mut memory = None;
        if in_memory {
            if (needs_flags || loses_flags) && !covered {
                self.flags_to_frame()?;
            }
            let access = operand_access(instruction, self.infos).ok_or(NotEncodable)?;
            memory = Some(self.check(instruction, access)?);
        }
        if needs_flags {
            self.flags_to_host()?;
        }
        let kept = match (fate, effect, Recipe::of(instruction)) {
            (Fate::Spoiled, Effect::Writes, None) => Recipe::with_first_kept(instruction),
            _ => None,
        };
        if kept.is_some() {
            self.keep(guest_number(instruction.op0_register()))?;
        }
        self.emit_on_host(instruction, &operands, memory, implicit)?;
        self.registers_written(written);
        if effect != Effect::Keeps {
            let recipe = if effect == Effect::Writes { kept.or_else(|| Recipe::of(instruction)) } else { None };
            self.flags_written(recipe);
        }
        Ok(())
    }

    /// The general registers among the operands.
    fn operands(&mut self, instruction: &Instruction) -> Vec<Operand> {
        let info = self.infos.info(instruction);
        (0..instruction.op_count())
            .filter(|&i| instruction.op_kind(i) == OpKind::Register && instruction.op_register(i).is_gpr())
            .map(|number| {
                let register = instruction.op_register(number);
                let access = info.op_access(number);
                let written = !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None);
                // A write of one or two bytes keeps the others.
                let read = access != OpAccess::Write || register.size() < 4;
                Operand { number, guest: guest_number(register), register, read, written }
            })
            .collect()
    }

    /// Whether an instruction works on general registers that its encoding does not name, beside the accumulator and RDX
    /// if `implicit`.
    fn hides_registers(&mut self, instruction: &Instruction, implicit: bool) -> bool {
        let accumulator = if implicit { 1 | 1 << 2 } else { 0 };
        let explicit = (0..instruction.op_count())
            .map(|i| instruction.op_register(i))
            .filter(|register| register.is_gpr())
            .fold(accumulator, |mask: u16, register| mask | 1 << guest_number(register));
        // An address may be made of the very registers that the instruction also uses unnamed.
        let mut bare = *instruction;
        bare.set_memory_base(Register::None);
        bare.set_memory_index(Register::None);
        let used = self.infos.info(&bare).used_registers();
        used.iter().any(|used| used.register().is_gpr() && explicit >> guest_number(used.register()) & 1 == 0)
    }

    /// Emits the instruction with host registers, and memory at ADDRESS. Keeps the flags before it.
    fn emit_on_host(
        &mut self,
        instruction: &Instruction,
        operands: &[Operand],
        memory: Option<MemoryOperand>,
        implicit: bool,
    ) -> Emit {
        let mut host = *instruction;
        // There is one processor, so what it does is atomic.
        host.set_has_lock_prefix(false);
        host.set_has_rep_prefix(false);
        host.set_has_repne_prefix(false);
        generalize(&mut host);
        if let Some(memory) = memory {
            host.set_segment_prefix(Register::None);
            host.set_memory_base(memory.base);
            host.set_memory_index(memory.index);
            host.set_memory_index_scale(memory.scale);
            host.set_memory_displacement64(memory.displacement as u64);
            host.set_memory_displ_size(memory.displ_size);
        }
        if operands.iter().any(|operand| is_high_byte(operand.register)) {
            return self.emit_with_high_byte(host, operands, memory.is_some(), implicit);
        }
        let mut scratch = vec![];
        if !implicit {
            scratch.push(RAX);
        }
        if memory.is_none() {
            scratch.push(ADDRESS);
        }
        let mut loaded: Vec<(usize, Register)> = Vec::new();
        for operand in operands {
            let whole = match (home(operand.guest), loaded.iter().find(|(guest, _)| *guest == operand.guest)) {
                (Some(register), _) => register,
                (None, Some(&(_, register))) => register,
                (None, None) => {
                    let register = scratch.pop().ok_or(NotEncodable)?;
                    // One operand may read what another only writes.
                    if operands.iter().any(|other| other.guest == operand.guest && other.read) {
                        self.asm.rm(Code::Mov_r64_rm64, register, field(slot(operand.guest)))?;
                    }
                    loaded.push((operand.guest, register));
                    register
                }
            };
            host.set_op_register(operand.number, sized(whole, operand.register));
        }
        if implicit {
            self.asm.rr(Code::Mov_r64_rm64, RAX, Register::R13)?;
        }
        self.asm.instruction(&host)?;
        if implicit && instruction.mnemonic() != Mnemonic::Cdq && instruction.mnemonic() != Mnemonic::Cqo {
            self.asm.rr(Code::Mov_r64_rm64, Register::R13, RAX)?;
        }
        for (guest, register) in loaded {
            if operands.iter().any(|operand| operand.guest == guest && operand.written) {
                self.set_guest(guest, register)?;
            }
        }
        Ok(())
    }

    fn lea(&mut self, instruction: &Instruction) -> Emit {
        let register = instruction.op0_register();
        let guest = guest_number(register);
        if register.size() == 2 {
            return Err(NotEncodable);
        }
        if self.would_lose_flags(1 << guest) {
            self.flags_to_host()?;
        }
        let into = home(guest).unwrap_or(ADDRESS);
        self.effective_address(instruction, into, 0)?;
        if register.size() == 4 {
            self.asm.rr(Code::Mov_r32_rm32, into.full_register32(), into.full_register32())?;
        }
        self.set_guest(guest, into)?;
        self.registers_written(1 << guest);
        Ok(())
    }

    /// DIV and IDIV of 32 and 64 bits, if they surely do not overflow; else the interpreter sees to them.
    fn divide(&mut self, instruction: &Instruction) -> Emit {
        use super::lowering::Reason;
        use iced_x86::ConditionCode as C;
        let memory = instruction.op0_kind() == OpKind::Memory;
        let size = if memory { instruction.memory_size().size() } else { instruction.op0_register().size() };
        if size < 4 {
            return Err(NotEncodable);
        }
        let wide = size == 8;
        self.spoil_flags()?;
        self.account()?;
        let divisor = sized(ADDRESS, if wide { Register::RAX } else { Register::EAX });
        let load = if wide { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 };
        if memory {
            let access = operand_access(instruction, self.infos).ok_or(NotEncodable)?;
            let operand = self.check(instruction, access)?;
            self.asm.rm(load, divisor, operand)?;
        } else {
            let whole = self.in_register(guest_number(instruction.op0_register()), ADDRESS)?;
            self.asm.rr(load, divisor, sized(whole, divisor))?;
        }
        let step = self.stub(Reason::Step, self.rip, 0);
        let (cmp, low, high) = if wide {
            (Code::Cmp_r64_rm64, Register::RAX, Register::RDX)
        } else {
            (Code::Cmp_r32_rm32, Register::EAX, Register::EDX)
        };
        if instruction.mnemonic() == Mnemonic::Div {
            self.asm.rr(cmp, high, divisor)?;
            self.asm.jump_if(C::ae, step);
        } else {
            // The dividend is a sign-extended number, and the divisor neither 0 nor -1.
            self.asm.rr(Code::Mov_r64_rm64, RAX, Register::R13)?;
            let sar = if wide { Code::Sar_rm64_imm8 } else { Code::Sar_rm32_imm8 };
            self.asm.ri(sar, low, size as i32 * 8 - 1)?;
            self.asm.rr(cmp, low, high)?;
            self.asm.jump_if(C::ne, step);
            let lea = if wide { Code::Lea_r64_m } else { Code::Lea_r32_m };
            self.asm.rm(lea, low, MemoryOperand::with_base_displ(ADDRESS, 1))?;
            let compare = if wide { Code::Cmp_rm64_imm8 } else { Code::Cmp_rm32_imm8 };
            self.asm.ri(compare, low, 1)?;
            self.asm.jump_if(C::be, step);
        }
        self.asm.rr(Code::Mov_r64_rm64, RAX, Register::R13)?;
        let code = match (instruction.mnemonic(), wide) {
            (Mnemonic::Div, true) => Code::Div_rm64,
            (Mnemonic::Div, false) => Code::Div_rm32,
            (_, true) => Code::Idiv_rm64,
            (_, false) => Code::Idiv_rm32,
        };
        self.asm.r(code, divisor)?;
        self.asm.rr(Code::Mov_r64_rm64, Register::R13, RAX)?;
        self.flags_written(None);
        Ok(())
    }
}
