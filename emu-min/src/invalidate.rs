//! INVLPG and INVPCID: software drops cached translations (Intel SDM volume 2; volume 3, 5.10.4.1).

use iced_x86::Mnemonic;

use crate::control_register::get_register;
use crate::core::{CR4_PCIDE, Core};
use crate::op::{Op, R, Selected, end};
use crate::paging::{PCID, canonical};

impl Core {
    /// Drops the cached translations of a linear page, whatever its size, global or not, in the current address space.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        self.flushes.page += 1;
        if self.tlb.flush_page(linear) {
            self.forget_lookups();
        }
    }

    /// Goes from one process-context identifier to another, whose translations are dropped unless `keep`.
    pub(crate) fn switch_space(&mut self, from: u16, to: u16, keep: bool) {
        self.flushes.space += 1;
        self.tlb.switch(from, to, keep);
        self.forget_lookups();
    }

    /// Drops the translations of a process-context identifier, but for global ones.
    fn flush_space(&mut self, identifier: u16, current: u16) {
        if identifier == current {
            self.switch_space(current, current, false);
        } else {
            self.tlb.forget_space(identifier);
        }
    }

    /// Drops all translations but global ones.
    fn flush_spaces(&mut self, current: u16) {
        self.tlb.forget_spaces();
        self.switch_space(current, current, false);
    }
}

fn invlpg(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let address = core.linear_unchecked(op);
    core.flush_page(address);
    Ok(())
}

/// INVPCID: type in a register, descriptor (identifier, then linear address) in memory.
fn invpcid(core: &mut Core, op: &Op) -> R {
    core.require_ring0()?;
    let kind = get_register(core, op.dst);
    let at = core.linear(op, 16, false)?;
    let descriptor = core.load128(at)?;
    let (identifier, address) = (descriptor as u64, (descriptor >> 64) as u64);
    let tagged = core.cr4 & CR4_PCIDE != 0;
    let unusable = identifier & !PCID != 0 || (kind <= 1 && !tagged && identifier != 0);
    if kind > 3 || unusable || (kind == 0 && !canonical(address)) {
        return Err(core.gp());
    }
    let current = if tagged { core.cr3 & PCID } else { 0 };
    let (identifier, current) = (identifier as u16, current as u16);
    match kind {
        0 if identifier == current => core.flush_page(address),
        // For one page of another address space, all of it: to drop more than was asked is allowed.
        0 | 1 => core.flush_space(identifier, current),
        2 => core.flush_tlb(),
        _ => core.flush_spaces(current),
    }
    Ok(())
}

pub(crate) fn select(op: &Op) -> Selected {
    match op.mnemonic {
        Mnemonic::Invlpg => end!(invlpg),
        Mnemonic::Invpcid => end!(invpcid),
        _ => None,
    }
}
