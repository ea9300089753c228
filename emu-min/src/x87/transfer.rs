//! Instructions with a memory operand: what each form moves, loads, stores and conversions.

use super::host::{self, Load, Store};
use super::{C1, F80, X87};

/// What an instruction with a memory operand does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryForm {
    /// Reads so many bytes, and then [`X87::execute_load`].
    Load(u8),
    /// Writes so many bytes, those of [`X87::prepare_store`].
    Store(u8),
    /// FLDCW.
    LoadControl,
    /// FNSTCW.
    StoreControl,
    /// FNSTSW.
    StoreStatus,
    /// FLDENV.
    LoadEnvironment,
    /// FNSTENV.
    StoreEnvironment,
    /// FRSTOR.
    Restore,
    /// FNSAVE.
    Save,
}

/// The form of the opcode `fop` (the low three bits of D8-DF and a ModRM byte below 0xc0); `None` if it is no
/// instruction.
pub(crate) fn memory_form(fop: u16) -> Option<MemoryForm> {
    use MemoryForm::*;
    Some(match (fop >> 8 & 7, fop >> 3 & 7) {
        (0 | 2, _) | (1 | 3, 0) => Load(4),
        (4, _) | (5, 0) | (7, 5) => Load(8),
        (6, _) | (7, 0) => Load(2),
        (3, 5) | (7, 4) => Load(10),
        (1, 2 | 3) | (3, 1..=3) => Store(4),
        (5, 1..=3) | (7, 7) => Store(8),
        (7, 1..=3) => Store(2),
        (3, 7) | (7, 6) => Store(10),
        (1, 4) => LoadEnvironment,
        (1, 5) => LoadControl,
        (1, 6) => StoreEnvironment,
        (1, 7) => StoreControl,
        (5, 4) => Restore,
        (5, 6) => Save,
        (5, 7) => StoreStatus,
        _ => return None,
    })
}

/// What a store is to do: memory first, so that its fault leaves the unit as it was, then [`X87::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What goes to memory; `None` if an unmasked exception forbids it.
    pub(crate) bytes: Option<u128>,
    sw: u16,
    pop: bool,
}

impl X87 {
    /// Executes a form that is [`MemoryForm::Load`] with its operand in the low bytes of `operand`, zero-extended.
    pub(crate) fn execute_load(&mut self, fop: u16, operand: u128) {
        let (escape, op) = ((fop >> 8 & 7) as u8, (fop >> 3 & 7) as u8);
        match (escape, op) {
            (0 | 2 | 4 | 6, _) => self.arithmetic_with_memory(escape, op, operand as u64),
            (1, _) => self.convert_and_push(host::fld_m32, operand),
            (5, _) => self.convert_and_push(host::fld_m64, operand),
            (3, 0) => self.push_or_fault(F80::from_integer(i64::from(operand as i32))),
            (3, _) => self.push_or_fault(F80::from_bits(operand)),
            (_, 0) => self.push_or_fault(F80::from_integer(i64::from(operand as i16))),
            (_, 4) => self.convert_and_push(host::fbld, operand),
            _ => self.push_or_fault(F80::from_integer(operand as i64)),
        }
    }

    fn convert_and_push(&mut self, load: Load, operand: u128) {
        if self.is_used(7) {
            return self.push_or_fault(F80::ZERO);
        }
        let (value, status, pushed) = load(self.cw, operand);
        self.finish(status, C1);
        if pushed {
            self.push(value);
        }
    }

    /// Computes what a form that is [`MemoryForm::Store`] stores.
    pub(crate) fn prepare_store(&self, fop: u16) -> Stored {
        let (escape, op) = (fop >> 8 & 7, fop >> 3 & 7);
        let pop = !matches!((escape, op), (_, 2));
        let (store, indefinite): (Option<Store>, u128) = match (escape, op) {
            (1, _) => (Some(host::fstp_m32), 0xffc0_0000),
            (5, 2 | 3) => (Some(host::fstp_m64), 0xfff8 << 48),
            (3, 1) => (Some(host::fisttp_m32), 1 << 31),
            (5, _) => (Some(host::fisttp_m64), 1 << 63),
            (7, 1) => (Some(host::fisttp_m16), 1 << 15),
            (3, 2 | 3) => (Some(host::fistp_m32), 1 << 31),
            (7, 2 | 3) => (Some(host::fistp_m16), 1 << 15),
            (7, 6) => (Some(host::fbstp), 0xffff_c000 << 48),
            (7, _) => (Some(host::fistp_m64), 1 << 63),
            _ => (None, F80::INDEFINITE.to_bits()),
        };
        let mut after = *self;
        let bytes = if !self.is_used(0) {
            after.underflow().then_some(indefinite)
        } else if let Some(store) = store {
            let (bytes, status, stored) = store(self.cw, self.st(0));
            after.finish(status, C1);
            stored.then_some(bytes)
        } else {
            after.sw &= !C1;
            Some(self.st(0).to_bits())
        };
        Stored { bytes, sw: after.sw, pop: pop && bytes.is_some() }
    }

    /// Completes a store whose bytes are in memory.
    pub(crate) fn commit(&mut self, stored: Stored) {
        self.sw = stored.sw;
        if stored.pop {
            self.pop();
        }
    }
}
