//! Port input and output.

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::{Awaited, Core, ES, RAX, RCX, RDI, RDX, RSI};
use crate::exit::Exit;
use crate::flags::{DF, IOPL};
use crate::int::{Int, by_size};
use crate::op::{Op, R, REP, REPNE, SEG_BASES, Selected, end};
use crate::string::{address_mask, set_masked, string_linear};

impl Core {
    /// #GP unless IOPL or the TSS's I/O bitmap allows the port (Intel SDM volume 1, 20.5).
    fn check_port(&mut self, port: u16, size: u64) -> R {
        let cpl = u64::from(self.cpl());
        if cpl <= (self.system_flags & IOPL) >> 12 {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        if !self.tr.present() || limit < 103 {
            return Err(self.gp());
        }
        let base = self.load_as(self.tr.base.wrapping_add(102), 2, self.system_rights())?;
        let offset = base + u64::from(port) / 8;
        // The processor reads two bytes, so that a port range may straddle them.
        if offset + 1 > limit {
            return Err(self.gp());
        }
        let bits = self.load_as(self.tr.base.wrapping_add(offset), 2, self.system_rights())? >> (port % 8);
        if bits & ((1 << size) - 1) != 0 {
            return Err(self.gp());
        }
        Ok(())
    }

    /// Completes the read that [`Exit::IoIn`] asked for.
    pub(crate) fn complete_in(&mut self, value: u32) {
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Accumulator { size } => by_size!(size, T => T::set(self, RAX as u8, u64::from(value))),
            Awaited::String { size, rep, addr_bits, next_rip } => {
                let mask = u64::MAX >> (64 - addr_bits);
                let di = self.r[RDI] & mask;
                let base = self.r[usize::from(SEG_BASES) + ES];
                // Writability was checked before the exit; a destination outside RAM loses the value.
                let size = u64::from(size);
                if self.store_as(di.wrapping_add(base), size, u64::from(value), self.user).is_err() {
                    self.mmio.clear();
                }
                self.leave_block = false;
                let delta = if self.system_flags & DF != 0 { size.wrapping_neg() } else { size };
                set_masked(self, RDI, di.wrapping_add(delta), mask);
                let count = if rep { (self.r[RCX] & mask).wrapping_sub(1) } else { 0 };
                if rep {
                    set_masked(self, RCX, count, mask);
                }
                if count & mask == 0 {
                    self.rip = next_rip;
                } else {
                    self.interrupt_repetition();
                }
                self.end_step(false);
                self.end_debugged();
            }
            other => self.awaited = other,
        }
    }
}

fn port(core: &Core, op: &Op) -> u16 {
    if op.aux == PORT_IN_DX { core.r[RDX] as u16 } else { op.imm as u16 }
}

/// `aux` of an operation whose port is in DX rather than immediate.
const PORT_IN_DX: u8 = 1;

fn input<T: Int>(core: &mut Core, op: &Op) -> R {
    let port = port(core, op);
    core.check_port(port, T::SIZE)?;
    core.note_port(port, T::SIZE);
    core.device_io += 1;
    let size = T::SIZE as u8;
    T::set(core, RAX as u8, 0);
    core.awaited = Awaited::Accumulator { size };
    Err(core.exit_after(Exit::IoIn { port, size }))
}

fn output<T: Int>(core: &mut Core, op: &Op) -> R {
    let port = port(core, op);
    core.check_port(port, T::SIZE)?;
    core.note_port(port, T::SIZE);
    core.device_io += 1;
    let value = T::get(core, RAX as u8) as u32;
    Err(core.exit_after(Exit::IoOut { port, size: T::SIZE as u8, value }))
}

fn input_string<T: Int>(core: &mut Core, op: &Op) -> R {
    let mask = address_mask(op);
    let rep = op.flags & (REP | REPNE) != 0;
    let port = core.r[RDX] as u16;
    core.check_port(port, T::SIZE)?;
    if rep && core.r[RCX] & mask == 0 {
        return Ok(());
    }
    let di = core.r[RDI] & mask;
    let address = string_linear::<T>(core, op, SEG_BASES + ES as u8, di, true)?;
    core.check_write(address, T::SIZE)?;
    core.note_port(port, T::SIZE);
    core.device_io += 1;
    let size = T::SIZE as u8;
    core.awaited = Awaited::String { size, rep, addr_bits: mask.count_ones(), next_rip: op.next_rip() };
    Err(core.exit_again(Exit::IoIn { port, size }))
}

fn output_string<T: Int>(core: &mut Core, op: &Op) -> R {
    let mask = address_mask(op);
    let rep = op.flags & (REP | REPNE) != 0;
    let count = core.r[RCX] & mask;
    let port = core.r[RDX] as u16;
    core.check_port(port, T::SIZE)?;
    if rep && count == 0 {
        return Ok(());
    }
    let si = core.r[RSI] & mask;
    let address = string_linear::<T>(core, op, op.seg, si, false)?;
    let value = core.load::<T>(address)? as u32;
    core.accesses += 1;
    core.note_port(port, T::SIZE);
    core.device_io += 1;
    let delta = if core.system_flags & DF != 0 { T::SIZE.wrapping_neg() } else { T::SIZE };
    set_masked(core, RSI, si.wrapping_add(delta), mask);
    let exit = Exit::IoOut { port, size: T::SIZE as u8, value };
    if rep {
        set_masked(core, RCX, count - 1, mask);
        if count > 1 {
            // The element is complete: what it read from outside RAM is not the next one's.
            core.mmio.clear();
            core.interrupt_repetition();
            return Err(core.exit_again(exit));
        }
    }
    Err(core.exit_after(exit))
}

pub(crate) fn select(ins: &Instruction, op: &mut Op) -> Selected {
    use Mnemonic as M;
    match op.mnemonic {
        M::In => {
            op.aux = u8::from(ins.op1_kind() == OpKind::Register);
            op.size = ins.op0_register().size() as u8;
            by_size!(op.size, T => end!(input::<T>))
        }
        M::Out => {
            op.aux = u8::from(ins.op0_kind() == OpKind::Register);
            op.size = ins.op1_register().size() as u8;
            by_size!(op.size, T => end!(output::<T>))
        }
        M::Insb => end!(input_string::<u8>),
        M::Insw => end!(input_string::<u16>),
        M::Insd => end!(input_string::<u32>),
        M::Outsb => end!(output_string::<u8>),
        M::Outsw => end!(output_string::<u16>),
        M::Outsd => end!(output_string::<u32>),
        _ => None,
    }
}
