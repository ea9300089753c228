//! The unit in the processor: from bytes to handlers, exceptions, memory, pointers.

use super::environment::{ENVIRONMENT16, ENVIRONMENT32, REGISTERS};
use super::{MemoryForm, memory_form, register_form_exists};
use crate::core::{CR0_EM, CR0_MP, CR0_NE, CR0_TS, CS, Core, RAX};
use crate::ea;
use crate::exception::{MF, NM, UD};
use crate::int::Int;
use crate::op::{LEGACY, Op, R, SEG_BASES, Selected, seq, store};

/// Finds the handler of an x87 instruction with the bytes `code`, and makes the operation's immediate its opcode: the
/// low three bits of D8-DF and the ModRM byte.
pub(crate) fn select(code: &[u8], op: &mut Op) -> Selected {
    let prefix = |byte: u8| match byte {
        0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf2 | 0xf3 => true,
        0x40..=0x4f => !op.has(LEGACY),
        _ => false,
    };
    let mut rest = code.iter().copied().skip_while(|byte| prefix(*byte));
    let escape = rest.next()?;
    if escape == 0x9b {
        return seq!(wait);
    }
    if escape & 0xf8 != 0xd8 {
        return None;
    }
    let fop = u16::from(escape & 7) << 8 | u16::from(rest.next()?);
    op.imm = u64::from(fop);
    if fop & 0xff >= 0xc0 { select_register(fop) } else { select_memory(fop) }
}

fn select_register(fop: u16) -> Selected {
    match fop {
        0x3e0..=0x3e4 => seq!(control),
        0x7e0 => seq!(status_to_ax),
        _ if register_form_exists(fop) => seq!(registers),
        _ => None,
    }
}

fn select_memory(fop: u16) -> Selected {
    match memory_form(fop)? {
        MemoryForm::Load(2) => seq!(load::<2>),
        MemoryForm::Load(4) => seq!(load::<4>),
        MemoryForm::Load(8) => seq!(load::<8>),
        MemoryForm::Load(_) => seq!(load::<10>),
        MemoryForm::Store(2) => store!(store_value::<2>),
        MemoryForm::Store(4) => store!(store_value::<4>),
        MemoryForm::Store(8) => store!(store_value::<8>),
        MemoryForm::Store(_) => store!(store_value::<10>),
        MemoryForm::LoadControl => seq!(load_control),
        MemoryForm::StoreControl => store!(store_control),
        MemoryForm::StoreStatus => store!(store_status),
        MemoryForm::LoadEnvironment => seq!(load_environment),
        MemoryForm::StoreEnvironment => store!(store_environment),
        MemoryForm::Restore => seq!(restore),
        MemoryForm::Save => store!(save),
    }
}

impl Core {
    /// Raises #NM if the system has the unit turned off.
    fn x87_on(&mut self) -> R {
        if self.cr0 & (CR0_EM | CR0_TS) != 0 { Err(self.fault(NM)) } else { Ok(()) }
    }

    /// What a waiting instruction raises. Without CR0.NE an exception goes out by FERR#, which is wired to nothing
    /// here, and the instruction executes.
    fn x87_waiting(&mut self) -> R {
        self.x87_on()?;
        self.x87_report()
    }

    fn x87_report(&mut self) -> R {
        if self.fpu.exception_pending() && self.cr0 & CR0_NE != 0 {
            return Err(self.fault(MF));
        }
        Ok(())
    }

    /// What an MMX instruction raises.
    pub(crate) fn mmx_waiting(&mut self) -> R {
        if self.cr0 & CR0_EM != 0 {
            return Err(self.fault(UD));
        }
        self.x87_waiting()
    }

    fn note_instruction(&mut self, op: &Op) {
        self.fpu.fip = op.rip;
        self.fpu.fcs = self.seg[CS].selector;
        self.fpu.fop = op.imm as u16 & 0x7ff;
    }

    fn note_operand(&mut self, op: &Op) {
        self.note_instruction(op);
        self.fpu.fdp = ea::offset(self, op);
        self.fpu.fds = self.seg[usize::from(op.seg - SEG_BASES) % 6].selector;
    }

    fn load_bytes(&mut self, linear: u64, bytes: &mut [u8]) -> R {
        self.check_alignment(linear, alignment(bytes.len()))?;
        for (i, chunk) in (0..).step_by(8).zip(bytes.chunks_mut(8)) {
            let size = chunk.len();
            let value = self.load_as(linear.wrapping_add(i), size as u64, self.user)?;
            chunk.copy_from_slice(&value.to_le_bytes()[..size]);
        }
        Ok(())
    }

    /// Stores nothing if any of the bytes cannot be.
    fn store_bytes(&mut self, linear: u64, bytes: &[u8]) -> R {
        self.check_alignment(linear, alignment(bytes.len()))?;
        if bytes.len() == 10 {
            // The significand is stored by itself: its page fault comes before a non-canonical end.
            self.check_write(linear, 8)?;
        }
        self.check_write(linear, bytes.len() as u64)?;
        for (i, chunk) in (0..).step_by(8).zip(bytes.chunks(8)) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            let (value, user) = (u64::from_le_bytes(value), self.user);
            self.store_as(linear.wrapping_add(i), chunk.len() as u64, value, user)?;
        }
        Ok(())
    }
}

/// What an operand must be aligned to where alignment is checked (Intel SDM volume 3, table 7-7).
const fn alignment(bytes: usize) -> u64 {
    match bytes {
        8 | 10 => 8,
        2 | ENVIRONMENT16 | 94 => 2,
        _ => 4,
    }
}

fn wait(core: &mut Core, _: &Op) -> R {
    if core.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS {
        return Err(core.fault(NM));
    }
    core.x87_report()
}

fn registers(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    core.note_instruction(op);
    core.fpu.execute_registers(op.imm as u16, &mut core.flags);
    Ok(())
}

/// FNINIT, FNCLEX and the three that do nothing any more.
fn control(core: &mut Core, op: &Op) -> R {
    core.x87_on()?;
    core.fpu.execute_registers(op.imm as u16, &mut core.flags);
    Ok(())
}

fn status_to_ax(core: &mut Core, _: &Op) -> R {
    core.x87_on()?;
    let status = u64::from(core.fpu.status());
    u16::set(core, RAX as u8, status);
    Ok(())
}

fn load<const BYTES: usize>(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    let address = core.linear(op, BYTES as u64, false)?;
    let operand = match BYTES {
        2 => u128::from(core.load::<u16>(address)?),
        4 => u128::from(core.load::<u32>(address)?),
        8 => u128::from(core.load::<u64>(address)?),
        _ => {
            let low = core.load::<u64>(address)?;
            u128::from(core.load::<u16>(address.wrapping_add(8))?) << 64 | u128::from(low)
        }
    };
    core.note_operand(op);
    core.fpu.execute_load(op.imm as u16, operand);
    Ok(())
}

fn store_value<const BYTES: usize>(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    let address = core.linear(op, BYTES as u64, true)?;
    let stored = core.fpu.prepare_store(op.imm as u16);
    if let Some(value) = stored.bytes {
        match BYTES {
            2 => core.store::<u16>(address, value as u64)?,
            4 => core.store::<u32>(address, value as u64)?,
            8 => core.store::<u64>(address, value as u64)?,
            _ => core.store_bytes(address, &value.to_le_bytes()[..10])?,
        }
    }
    if stored.bytes.is_none() {
        core.check_alignment(address, alignment(BYTES))?;
        core.check_write(address, BYTES.min(8) as u64)?;
        core.check_write(address, BYTES as u64)?;
    }
    core.note_operand(op);
    core.fpu.commit(stored);
    Ok(())
}

fn load_control(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    let address = core.linear(op, 2, false)?;
    let value = core.load::<u16>(address)? as u16;
    core.fpu.set_control(value);
    Ok(())
}

fn store_control(core: &mut Core, op: &Op) -> R {
    core.x87_on()?;
    let address = core.linear(op, 2, true)?;
    core.store::<u16>(address, u64::from(core.fpu.control()))
}

fn store_status(core: &mut Core, op: &Op) -> R {
    core.x87_on()?;
    let address = core.linear(op, 2, true)?;
    core.store::<u16>(address, u64::from(core.fpu.status()))
}

/// Whether the operand has the layout of 32-bit operand size: FNSTENV's is then of 28 bytes, FNSAVE's of 108.
fn wide(op: &Op) -> bool {
    !matches!(usize::from(op.size), ENVIRONMENT16 | 94)
}

fn load_environment(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    let mut bytes = [0; ENVIRONMENT32];
    let bytes = if wide(op) { &mut bytes[..] } else { &mut bytes[..ENVIRONMENT16] };
    let address = core.linear(op, bytes.len() as u64, false)?;
    core.load_bytes(address, bytes)?;
    core.fpu.load_environment(bytes, wide(op));
    Ok(())
}

fn store_environment(core: &mut Core, op: &Op) -> R {
    core.x87_on()?;
    let bytes = core.fpu.environment(wide(op));
    let address = core.linear(op, bytes.len() as u64, true)?;
    core.store_bytes(address, &bytes)?;
    core.fpu.mask_all();
    Ok(())
}

fn restore(core: &mut Core, op: &Op) -> R {
    core.x87_waiting()?;
    let mut bytes = [0; ENVIRONMENT32 + REGISTERS];
    let bytes = if wide(op) { &mut bytes[..] } else { &mut bytes[..ENVIRONMENT16 + REGISTERS] };
    let address = core.linear(op, bytes.len() as u64, false)?;
    core.load_bytes(address, bytes)?;
    core.fpu.restore(bytes, wide(op));
    Ok(())
}

fn save(core: &mut Core, op: &Op) -> R {
    core.x87_on()?;
    let bytes = core.fpu.image(wide(op));
    let address = core.linear(op, bytes.len() as u64, true)?;
    core.store_bytes(address, &bytes)?;
    core.fpu.initialise();
    Ok(())
}
