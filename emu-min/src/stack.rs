//! PUSH, POP, ENTER, LEAVE, PUSHF, POPF and the stack primitives.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use crate::core::{Core, Mode, RBP, RSP, SS};
use crate::decode::reg_number;
use crate::flags::{self, AC, DF, ID, IF, IOPL, NT, RF, TF};
use crate::int::{Int, by_size};
use crate::op::{Form, Op, R, SEG_BASES, Selected, Trap, end, seq, store};

impl Core {
    /// Linear address of stack offset `sp`.
    #[inline(always)]
    fn stack_linear(&mut self, sp: u64, size: u64, write: bool) -> R<u64> {
        if self.mode == Mode::Bits64 {
            return Ok(sp);
        }
        self.legacy_linear(SEG_BASES + SS as u8, sp, size, write)
    }

    /// Replaces the part of RSP that is in use.
    #[inline(always)]
    pub(crate) fn set_sp(&mut self, sp: u64) {
        let mask = self.sp_mask;
        self.r[RSP] = if mask == 0xffff { self.r[RSP] & !mask | sp & mask } else { sp & mask };
    }

    #[inline(always)]
    pub(crate) fn add_sp(&mut self, bytes: u64) {
        let sp = self.r[RSP].wrapping_add(bytes);
        self.set_sp(sp);
    }

    #[inline(always)]
    pub(crate) fn push<T: Int>(&mut self, value: u64) -> R {
        let sp = self.r[RSP].wrapping_sub(T::SIZE) & self.sp_mask;
        let address = self.stack_linear(sp, T::SIZE, true)?;
        if self.store::<T>(address, value).is_err() {
            return Err(self.in_stack_segment());
        }
        self.set_sp(sp);
        Ok(())
    }

    /// Reads the stack `offset` bytes above its top.
    #[inline(always)]
    pub(crate) fn peek_stack<T: Int>(&mut self, offset: u64) -> R<u64> {
        let sp = self.r[RSP].wrapping_add(offset) & self.sp_mask;
        let address = self.stack_linear(sp, T::SIZE, false)?;
        match self.load::<T>(address) {
            Ok(value) => Ok(value),
            Err(Trap) => Err(self.in_stack_segment()),
        }
    }
}

fn push_r<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = T::get(core, op.dst);
    core.push::<T>(value)
}

fn push_i<T: Int>(core: &mut Core, op: &Op) -> R {
    core.push::<T>(op.imm)
}

fn push_m<T: Int>(core: &mut Core, op: &Op) -> R {
    let address = core.linear(op, T::SIZE, false)?;
    let value = core.load::<T>(address)?;
    core.push::<T>(value)
}

fn push_segment<T: Int>(core: &mut Core, op: &Op) -> R {
    let selector = core.seg[usize::from(op.dst) % 6].selector;
    core.push::<T>(u64::from(selector))
}

fn pop_r<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = core.peek_stack::<T>(0)?;
    core.add_sp(T::SIZE);
    T::set(core, op.dst, value);
    Ok(())
}

/// POP to memory: an address based on RSP is computed after the increment.
fn pop_m<T: Int>(core: &mut Core, op: &Op) -> R {
    let value = core.peek_stack::<T>(0)?;
    let old = core.r[RSP];
    core.add_sp(T::SIZE);
    let stored = core.linear(op, T::SIZE, true).and_then(|address| core.store::<T>(address, value));
    if stored.is_err() {
        core.r[RSP] = old;
    }
    stored
}

fn pop_segment<T: Int>(core: &mut Core, op: &Op) -> R {
    let selector = core.peek_stack::<T>(0)? as u16;
    let index = usize::from(op.dst) % 6;
    core.load_segment(index, selector)?;
    core.add_sp(T::SIZE);
    if index == SS {
        core.begin_shadow(op.n, true);
    }
    Ok(())
}

fn leave<T: Int>(core: &mut Core, _: &Op) -> R {
    let frame = core.r[RBP];
    let old = core.r[RSP];
    core.set_sp(frame);
    match core.peek_stack::<T>(0) {
        Ok(value) => {
            core.add_sp(T::SIZE);
            T::set(core, RBP as u8, value);
            Ok(())
        }
        Err(trap) => {
            core.r[RSP] = old;
            Err(trap)
        }
    }
}

/// ENTER: `imm` bytes of locals, nesting level in `aux`.
fn enter<T: Int>(core: &mut Core, op: &Op) -> R {
    let level = u64::from(op.aux & 31);
    let old = core.r[RSP];
    let result = enter_frame::<T>(core, op.imm, level);
    if result.is_err() {
        core.r[RSP] = old;
    }
    result
}

fn enter_frame<T: Int>(core: &mut Core, locals: u64, level: u64) -> R {
    let frame_pointer = T::get(core, RBP as u8);
    core.push::<T>(frame_pointer)?;
    let frame = core.r[RSP];
    for i in 1..level {
        let at = core.r[RBP].wrapping_sub(i * T::SIZE) & core.sp_mask;
        let address = core.stack_linear(at, T::SIZE, false)?;
        let Ok(outer) = core.load::<T>(address) else { return Err(core.in_stack_segment()) };
        core.push::<T>(outer)?;
    }
    if level > 0 {
        core.push::<T>(frame)?;
    }
    let sp = core.r[RSP].wrapping_sub(locals);
    let address = core.stack_linear(sp & core.sp_mask, T::SIZE, true)?;
    core.check_write(address, T::SIZE)?;
    core.set_sp(sp);
    T::set(core, RBP as u8, frame);
    Ok(())
}

/// PUSHA, PUSHAD: not in 64-bit mode.
fn push_all<T: Int>(core: &mut Core, _: &Op) -> R {
    let old = core.r[RSP];
    for register in 0..8_u8 {
        let value = if usize::from(register) == RSP { T::trunc(old) } else { T::get(core, register) };
        if let Err(trap) = core.push::<T>(value) {
            core.r[RSP] = old;
            return Err(trap);
        }
    }
    Ok(())
}

fn pop_all<T: Int>(core: &mut Core, _: &Op) -> R {
    let mut values = [0; 8];
    for (i, value) in values.iter_mut().rev().enumerate() {
        *value = core.peek_stack::<T>(i as u64 * T::SIZE)?;
    }
    core.add_sp(8 * T::SIZE);
    for (register, value) in values.into_iter().enumerate().filter(|(i, _)| *i != RSP) {
        T::set(core, register as u8, value);
    }
    Ok(())
}

fn pushf<T: Int>(core: &mut Core, _: &Op) -> R {
    let value = core.rflags() & !(flags::VM | flags::RF);
    core.push::<T>(value)
}

fn popf<T: Int>(core: &mut Core, _: &Op) -> R {
    let value = core.peek_stack::<T>(0)?;
    core.add_sp(T::SIZE);
    core.write_rflags::<T>(value, false);
    Ok(())
}

impl Core {
    /// Writes those bits of RFLAGS that POPF and IRET may change at the current privilege level; RF only if `resume`,
    /// else it is cleared.
    pub(crate) fn write_rflags<T: Int>(&mut self, value: u64, resume: bool) {
        let cpl = u64::from(self.cpl());
        let mut writable = flags::STATUS | TF | DF | NT;
        if T::BITS > 16 {
            writable |= AC | ID;
        }
        if cpl == 0 {
            writable |= IOPL;
        }
        if cpl <= (self.system_flags & IOPL) >> 12 {
            writable |= IF;
        }
        let value = if resume { value } else { value & !RF };
        let writable = writable | RF;
        let merged = (self.rflags() & !writable) | (value & writable);
        self.set_rflags(merged);
    }
}

fn select_push(ins: &Instruction, op: &mut Op) -> Selected {
    match op.form {
        Form::R if !ins.op0_register().is_gpr() => {
            op.dst = reg_number(ins.op0_register());
            by_size!(op.size, T => store!(push_segment::<T>))
        }
        Form::R => by_size!(op.size, T => store!(push_r::<T>)),
        Form::M => by_size!(op.size, T => store!(push_m::<T>)),
        _ => by_size!(op.size, T => store!(push_i::<T>)),
    }
}

fn select_pop(ins: &Instruction, op: &mut Op) -> Selected {
    match op.form {
        Form::R if !ins.op0_register().is_gpr() => by_size!(op.size, T => end!(pop_segment::<T>)),
        Form::R => by_size!(op.size, T => seq!(pop_r::<T>)),
        _ => by_size!(op.size, T => store!(pop_m::<T>)),
    }
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    if !ins.is_stack_instruction() {
        return None;
    }
    match op.mnemonic {
        M::Push => {
            // A pushed immediate or segment has the stack's operand size, not its own.
            if ins.op0_kind() != OpKind::Memory {
                op.size = ins.stack_pointer_increment().unsigned_abs() as u8;
            }
            select_push(ins, op)
        }
        M::Pop => {
            op.size = ins.stack_pointer_increment().unsigned_abs() as u8;
            select_pop(ins, op)
        }
        M::Leave => {
            op.size = match ins.code() {
                Code::Leavew => 2,
                Code::Leaved => 4,
                _ => 8,
            };
            by_size!(op.size, T => seq!(leave::<T>))
        }
        M::Enter => {
            // 1 level: the increment is not constant, but the frame pointer's size is the operand size.
            op.size = match ins.code() {
                Code::Enterw_imm16_imm8 => 2,
                Code::Enterd_imm16_imm8 => 4,
                _ => 8,
            };
            by_size!(op.size, T => store!(enter::<T>))
        }
        M::Pushf | M::Pushfd | M::Pushfq => by_size!(op.size, T => store!(pushf::<T>)),
        M::Popf | M::Popfd | M::Popfq => by_size!(op.size, T => end!(popf::<T>)),
        M::Pusha => store!(push_all::<u16>),
        M::Pushad => store!(push_all::<u32>),
        M::Popa => seq!(pop_all::<u16>),
        M::Popad => seq!(pop_all::<u32>),
        _ => None,
    }
}
