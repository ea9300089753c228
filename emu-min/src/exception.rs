//! Exceptions and interrupts: from a vector to the first instruction of its handler (Intel SDM volume 3, chapter 7).

use iced_x86::Mnemonic;

use crate::core::{CS, Core, EFER_LMA, Pending, RSP, SS as SS_INDEX};
use crate::flags::{IF, NT, RF, TF, VM};
use crate::op::{Op, R, Trap};
use crate::paging::canonical;
use crate::state::Segment;

pub(crate) const DE: u8 = 0;
pub(crate) const DB: u8 = 1;
pub(crate) const BP: u8 = 3;
pub(crate) const OF: u8 = 4;
pub(crate) const BR: u8 = 5;
pub(crate) const UD: u8 = 6;
pub(crate) const NM: u8 = 7;
pub(crate) const DF: u8 = 8;
pub(crate) const TS: u8 = 10;
pub(crate) const NP: u8 = 11;
pub(crate) const SS: u8 = 12;
pub(crate) const GP: u8 = 13;
pub(crate) const PF: u8 = 14;
pub(crate) const MF: u8 = 16;
pub(crate) const AC: u8 = 17;
pub(crate) const XM: u8 = 19;

/// A fault while a double fault was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TripleFault;

/// Where an event comes from; it decides about privilege checks and error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Fault,
    /// A debug trap: behind the instruction, as complete as an interrupt, and without a look at the gate's DPL.
    Trap,
    /// `int n`, `int3`, `into`: the gate's DPL counts.
    Software,
    External,
}

/// Raises #UD; if the cause is that the instruction is not implemented, counts it by mnemonic.
pub(crate) fn undefined(core: &mut Core, op: &Op) -> R {
    if !matches!(op.mnemonic, Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2) {
        let name = match op.mnemonic {
            Mnemonic::INVALID => "invalid".to_owned(),
            mnemonic => format!("{mnemonic:?}").to_lowercase(),
        };
        *core.undefined.entry(name).or_default() += 1;
    }
    Err(core.fault(UD))
}

fn contributory(vector: u8) -> bool {
    matches!(vector, DE | TS | NP | SS | GP)
}

impl Core {
    /// Delivers a fault whose RIP is that of the instruction.
    pub(crate) fn deliver_fault(&mut self, vector: u8, error: Option<u32>) -> Result<(), TripleFault> {
        let rip = self.rip;
        self.deliver(vector, error, Source::Fault, rip)
    }

    /// Delivers a software interrupt; RIP is still that of the instruction.
    pub(crate) fn deliver_soft(&mut self, vector: u8) -> Result<(), TripleFault> {
        let next = self.rip.wrapping_add(u64::from(self.trap_len));
        self.deliver(vector, None, Source::Software, next)
    }

    /// Delivers an external interrupt between two instructions.
    pub(crate) fn deliver_external(&mut self, vector: u8) -> Result<(), TripleFault> {
        let rip = self.rip;
        self.deliver(vector, None, Source::External, rip)
    }

    /// Delivers the debug trap after a single-stepped instruction.
    pub(crate) fn single_step_trap(&mut self) -> Result<(), TripleFault> {
        self.dr[4] |= 1 << 14; // DR6.BS
        let rip = self.rip;
        self.deliver(DB, None, Source::Trap, rip)
    }

    /// Delivers the debug trap of INT1; RIP is still that of the instruction.
    pub(crate) fn deliver_int1(&mut self) -> Result<(), TripleFault> {
        let next = self.rip.wrapping_add(u64::from(self.trap_len));
        self.deliver(DB, None, Source::Trap, next)
    }

    fn deliver(&mut self, vector: u8, error: Option<u32>, source: Source, rip: u64) -> Result<(), TripleFault> {
        let (mut vector, mut error, mut source, mut return_rip) = (vector, error, source, rip);
        self.shadow_until = 0;
        self.leave_block = false;
        loop {
            if source != Source::External
                && let Some(count) = self.exceptions.get_mut(usize::from(vector))
            {
                *count += 1;
            }
            let Err(Trap) = self.enter_handler(vector, error, source, return_rip) else {
                self.look_around();
                return Ok(());
            };
            // The first event's software or external nature is gone; what counts now is the instruction's own RIP.
            let Pending::Fault { vector: second, error: second_error } = self.pending else {
                return Err(TripleFault); // a descriptor table or stack outside RAM
            };
            if vector == DF && source == Source::Fault {
                return Err(TripleFault);
            }
            let faulted = source == Source::Fault;
            let double = faulted
                && ((contributory(vector) && contributory(second))
                    || (vector == PF && (contributory(second) || second == PF)));
            (vector, error) = if double { (DF, Some(0)) } else { (second, second_error) };
            source = Source::Fault;
            return_rip = self.rip;
        }
    }

    fn enter_handler(&mut self, vector: u8, error: Option<u32>, source: Source, rip: u64) -> R {
        if self.efer & EFER_LMA != 0 {
            self.enter_handler64(vector, error, source, rip)
        } else {
            self.enter_handler32(vector, error, source, rip)
        }
    }

    /// Reads a gate of `size` bytes and checks what all modes check.
    fn gate(&mut self, vector: u8, size: u64, source: Source) -> R<u64> {
        let external = u32::from(source != Source::Software);
        let code = u32::from(vector) * 8 + 2 + external;
        let offset = u64::from(vector) * size;
        if offset + size - 1 > u64::from(self.idtr.limit) {
            return Err(self.fault_code(GP, code));
        }
        let gate = self.load_as(self.idtr.base.wrapping_add(offset), 8, false)?;
        let kind = gate >> 40 & 0x1f;
        if kind != 14 && kind != 15 {
            return Err(self.fault_code(GP, code));
        }
        if source == Source::Software && ((gate >> 45 & 3) as u8) < self.cpl() {
            return Err(self.fault_code(GP, code));
        }
        if gate >> 47 & 1 == 0 {
            return Err(self.fault_code(NP, code));
        }
        Ok(gate)
    }

    /// The code segment that a gate names, checked; and the privilege level it leads to.
    fn gate_target(&mut self, gate: u64, source: Source) -> R<(Segment, u8)> {
        let external = u32::from(source != Source::Software);
        let selector = (gate >> 16) as u16;
        if selector & !3 == 0 {
            return Err(self.fault_code(GP, external));
        }
        let code = u32::from(selector & !3) + external;
        let segment = self.descriptor(selector, code)?;
        let long = self.efer & EFER_LMA != 0;
        let usable = segment.is_code_or_data()
            && segment.kind() & 8 != 0
            && segment.dpl() <= self.cpl()
            && (!long || (segment.long() && !segment.big()));
        if !usable {
            return Err(self.fault_code(GP, code));
        }
        if !segment.present() {
            return Err(self.fault_code(NP, code));
        }
        let conforming = segment.kind() & 4 != 0;
        let cpl = if conforming { self.cpl() } else { segment.dpl() };
        Ok((segment, cpl))
    }

    fn pushed_rflags(&self, source: Source) -> u64 {
        // RF is set in the image of a fault, so that an instruction breakpoint does not fire again.
        self.rflags() | if source == Source::Fault { RF } else { 0 }
    }

    fn enter_handler64(&mut self, vector: u8, error: Option<u32>, source: Source, rip: u64) -> R {
        let gate = self.gate(vector, 16, source)?;
        let high = self.load_as(self.idtr.base.wrapping_add(u64::from(vector) * 16 + 8), 8, false)?;
        let target = (gate & 0xffff) | (gate >> 48 << 16) | (high << 32);
        let (mut cs, cpl) = self.gate_target(gate, source)?;
        let ist = gate >> 32 & 7;
        let old_rsp = self.r[RSP];
        let mut rsp = if ist != 0 {
            self.tss_u64(28 + ist * 8)?
        } else if cpl < self.cpl() {
            self.tss_u64(4 + u64::from(cpl) * 8)?
        } else {
            old_rsp
        };
        if !canonical(rsp) {
            return Err(self.fault_code(SS, 0));
        }
        if !canonical(target) {
            return Err(self.fault_code(GP, 0));
        }
        rsp &= !15;
        let frame = [
            Some(u64::from(self.seg[SS_INDEX].selector)),
            Some(old_rsp),
            Some(self.pushed_rflags(source)),
            Some(u64::from(self.seg[CS].selector)),
            Some(rip),
            error.map(u64::from),
        ];
        let user = cpl == 3;
        for value in frame.into_iter().flatten() {
            rsp = rsp.wrapping_sub(8);
            self.store_as(rsp, 8, value, user)?;
        }
        if cpl < self.cpl() {
            let dpl = u16::from(cpl) << 5;
            self.seg[SS_INDEX] =
                Segment { selector: u16::from(cpl), base: 0, limit: u32::MAX, attributes: 0xc093 | dpl };
        }
        cs.selector = (cs.selector & !3) | u16::from(cpl);
        self.seg[CS] = cs;
        self.r[RSP] = rsp;
        self.finish_entry(gate, target);
        Ok(())
    }

    fn enter_handler32(&mut self, vector: u8, error: Option<u32>, source: Source, rip: u64) -> R {
        let gate = self.gate(vector, 8, source)?;
        let target = (gate & 0xffff) | (gate >> 48 << 16);
        let (mut cs, cpl) = self.gate_target(gate, source)?;
        let old_sp = self.r[RSP];
        let old_ss = self.seg[SS_INDEX];
        let inner = cpl < self.cpl();
        let (mut ss, mut sp) = (old_ss, old_sp);
        if inner {
            let base = self.tr.base.wrapping_add(4 + u64::from(cpl) * 8);
            sp = self.load_as(base, 4, false)?;
            let selector = self.load_as(base.wrapping_add(4), 2, false)? as u16;
            ss = self.descriptor(selector, u32::from(selector & !3))?;
            if !ss.present() || ss.dpl() != cpl || ss.kind() & 10 != 2 {
                return Err(self.fault_code(TS, u32::from(selector & !3)));
            }
        }
        let frame = [
            inner.then_some(u64::from(old_ss.selector)),
            inner.then_some(old_sp),
            Some(self.pushed_rflags(source)),
            Some(u64::from(self.seg[CS].selector)),
            Some(rip),
            error.map(u64::from),
        ];
        for value in frame.into_iter().flatten() {
            sp = sp.wrapping_sub(4) & if ss.big() { 0xffff_ffff } else { 0xffff };
            self.store_as(ss.base.wrapping_add(sp) & 0xffff_ffff, 4, value, cpl == 3)?;
        }
        cs.selector = (cs.selector & !3) | u16::from(cpl);
        self.seg[CS] = cs;
        self.seg[SS_INDEX] = ss;
        self.r[RSP] = sp;
        self.finish_entry(gate, target);
        Ok(())
    }

    fn finish_entry(&mut self, gate: u64, target: u64) {
        self.rip = target;
        self.system_flags &= !(TF | NT | RF | VM);
        if gate >> 40 & 1 == 0 {
            self.system_flags &= !IF; // an interrupt gate, not a trap gate
        }
        self.update_mode();
    }

    /// A quadword of the 64-bit TSS; #TS if it lies past the limit.
    fn tss_u64(&mut self, offset: u64) -> R<u64> {
        if offset + 7 > u64::from(self.tr.limit) {
            let code = u32::from(self.tr.selector & !3);
            return Err(self.fault_code(TS, code));
        }
        self.load_as(self.tr.base.wrapping_add(offset), 8, false)
    }
}
