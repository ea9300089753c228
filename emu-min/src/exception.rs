//! Exceptions and interrupts: from a vector to the first instruction of its handler (Intel SDM volume 3, chapter 7).

use iced_x86::Mnemonic;

use crate::core::{CS, Core, EFER_LMA, Pending, RSP, SS as SS_INDEX};
use crate::debug::BS;
use crate::delivery::{Delivery, EventSource as Source};
use crate::ea::within_limit;
use crate::flags::{IF, NT, RF, TF, VM};
use crate::op::{Op, R, Trap};
use crate::paging::canonical;
use crate::rights::{USER, USER_ALIGNED};
use crate::segment::from_descriptor;
use crate::state::Segment;

pub(crate) const DE: u8 = 0;
pub(crate) const DB: u8 = 1;
/// The vector of non-maskable interrupts.
const NMI: u8 = 2;
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

impl Source {
    /// The EXT bit of the error code of a fault during delivery (Intel SDM volume 3, 7.13).
    fn ext(self) -> u32 {
        u32::from(self != Self::Software)
    }
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

    /// Delivers a non-maskable interrupt between two instructions; others wait for IRET (Intel SDM volume 3, 7.7.1).
    pub(crate) fn deliver_nmi(&mut self) -> Result<(), TripleFault> {
        self.nmi_blocked = true;
        self.deliver_external(NMI)
    }

    /// Delivers the debug exception for conditions met, as in DR6, before the instruction at RIP.
    pub(crate) fn deliver_debug(&mut self, met: u64) -> Result<(), TripleFault> {
        self.set_debug_status(met);
        if met & BS != 0 {
            // Between the elements of a repetition AMD's processors push RF clear for a single step; Intel's manual
            // (volume 3, 18.3.1.1) has it set.
            self.system_flags &= !RF;
        }
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
        if vector == DB && matches!(source, Source::Fault | Source::Trap) {
            self.end_general_detect();
        }
        self.debug.delivered = Some(Delivery::new(source, rip));
        loop {
            if let Some(delivery) = &mut self.debug.delivered {
                delivery.note(vector, error);
            }
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
        let code = u32::from(vector) * 8 + 2 + source.ext();
        let offset = u64::from(vector) * size;
        if offset + size - 1 > u64::from(self.idtr.limit) {
            return Err(self.fault_code(GP, code));
        }
        let gate = self.load_as(self.idtr.base.wrapping_add(offset), 8, self.system_rights())?;
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
        let selector = (gate >> 16) as u16;
        if selector & !3 == 0 {
            return Err(self.fault_code(GP, source.ext()));
        }
        let code = u32::from(selector & !3) + source.ext();
        let mut segment = self.descriptor(selector, code)?;
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
        self.mark_accessed(&mut segment)?;
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
        let high = self.load_as(self.idtr.base.wrapping_add(u64::from(vector) * 16 + 8), 8, self.system_rights())?;
        let target = (gate & 0xffff) | (gate >> 48 << 16) | (high << 32);
        let (mut cs, cpl) = self.gate_target(gate, source)?;
        let ist = gate >> 32 & 7;
        let old_rsp = self.r[RSP];
        let mut rsp = if ist != 0 {
            self.tss_u64(28 + ist * 8, source)?
        } else if cpl < self.cpl() {
            self.tss_u64(4 + u64::from(cpl) * 8, source)?
        } else {
            old_rsp
        };
        if !canonical(rsp) {
            return Err(self.fault_code(SS, source.ext()));
        }
        if !canonical(target) {
            return Err(self.fault_code(GP, source.ext()));
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
        let rights = self.handler_rights(cpl);
        for value in frame.into_iter().flatten() {
            rsp = rsp.wrapping_sub(8);
            if !canonical(rsp) {
                return Err(self.fault_code(SS, source.ext()));
            }
            self.store_as(rsp, 8, value, rights)?;
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
            (ss, sp) = self.inner_stack32(cpl, source)?;
        }
        let frame = [
            inner.then_some(u64::from(old_ss.selector)),
            inner.then_some(old_sp),
            Some(self.pushed_rflags(source)),
            Some(u64::from(self.seg[CS].selector)),
            Some(rip),
            error.map(u64::from),
        ];
        let rights = self.handler_rights(cpl);
        for value in frame.into_iter().flatten() {
            sp = sp.wrapping_sub(4) & if ss.big() { 0xffff_ffff } else { 0xffff };
            if !within_limit(&ss, sp, 4) {
                let selector = if inner { u32::from(ss.selector & !3) } else { 0 };
                return Err(self.fault_code(SS, selector + source.ext()));
            }
            self.store_as(ss.base.wrapping_add(sp) & 0xffff_ffff, 4, value, rights)?;
        }
        cs.selector = (cs.selector & !3) | u16::from(cpl);
        self.seg[CS] = cs;
        self.seg[SS_INDEX] = ss;
        self.r[RSP] = sp;
        self.finish_entry(gate, target);
        Ok(())
    }

    /// The stack of an inner level, from the 32-bit TSS.
    fn inner_stack32(&mut self, cpl: u8, source: Source) -> R<(Segment, u64)> {
        let offset = 4 + u64::from(cpl) * 8;
        if offset + 5 > u64::from(self.tr.limit) {
            let code = u32::from(self.tr.selector & !3) + source.ext();
            return Err(self.fault_code(TS, code));
        }
        let base = self.tr.base.wrapping_add(offset);
        let sp = self.load_as(base, 4, self.system_rights())?;
        let selector = self.load_as(base.wrapping_add(4), 2, self.system_rights())? as u16;
        let code = u32::from(selector & !3) + source.ext();
        let Some(address) = self.descriptor_place(selector).filter(|_| selector & !3 != 0) else {
            return Err(self.fault_code(TS, code));
        };
        let ss = from_descriptor(selector, self.load_as(address, 8, self.system_rights())?);
        let writable = ss.is_code_or_data() && ss.kind() & 10 == 2;
        if (selector & 3) as u8 != cpl || ss.dpl() != cpl || !writable {
            return Err(self.fault_code(TS, code));
        }
        if !ss.present() {
            return Err(self.fault_code(SS, code));
        }
        Ok((ss, sp))
    }

    /// Rights of the stores to the stack of a handler at level `cpl`: no other than the supervisor's RFLAGS.AC lifts
    /// SMAP for them.
    fn handler_rights(&self, cpl: u8) -> u64 {
        match (cpl, self.user) {
            (3, _) => USER,
            (_, USER | USER_ALIGNED) => self.system_rights(),
            (_, own) => own,
        }
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
    fn tss_u64(&mut self, offset: u64, source: Source) -> R<u64> {
        if offset + 7 > u64::from(self.tr.limit) {
            let code = u32::from(self.tr.selector & !3) + source.ext();
            return Err(self.fault_code(TS, code));
        }
        self.load_as(self.tr.base.wrapping_add(offset), 8, self.system_rights())
    }
}
